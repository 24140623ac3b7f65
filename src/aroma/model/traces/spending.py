"""What questions cost: an estimate before the first, and a purse that stops before the last coin."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from typing import Any, Final

from aroma.errors import UsageError

PRICE_IN_VARIABLE: Final = "AROMA_LLM_PRICE_IN"
PRICE_OUT_VARIABLE: Final = "AROMA_LLM_PRICE_OUT"
_MILLION: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Prices:
    """What a million tokens cost, in the currency that the prices are given in."""

    per_million_in: float = 0.0
    per_million_out: float = 0.0

    def cost(self, tokens_in: float, tokens_out: float) -> float:
        """Return the cost of so many tokens."""
        return (tokens_in * self.per_million_in + tokens_out * self.per_million_out) / _MILLION


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run will ask and cost.

    Attributes:
        questions: To be asked now.
        answered: Answered by earlier runs.
        tokens_in: Of all questions to be asked.
        tokens_out: Expected of the answers.
        cost: Expected.
        most_cost: If every answer is as long as it may be.
        sampled: Rows that the estimate was made from.
    """

    questions: int
    answered: int
    tokens_in: int
    tokens_out: int
    cost: float
    most_cost: float
    sampled: int

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return asdict(self)


class Purse:
    """Counts what was spent and what questions under way may still cost; never lets the limit be passed.

    Args:
        prices: Of tokens.
        limit: Most to be spent, earlier runs included; None for no limit.
        tokens_in: Spent by earlier runs.
        tokens_out: Spent by earlier runs.
    """

    def __init__(self, prices: Prices, limit: float | None, tokens_in: int = 0, tokens_out: int = 0) -> None:
        self._prices, self._limit = prices, limit
        self.spent = prices.cost(tokens_in, tokens_out)
        self._held = 0.0

    def take(self, tokens_in: int, most_out: int) -> float | None:
        """Hold what a question may cost at most; None where that would pass the limit."""
        cost = self._prices.cost(tokens_in, most_out)
        if self._limit is not None and self.spent + self._held + cost > self._limit:
            return None
        self._held += cost
        return cost

    def pay(self, held: float, tokens_in: int, tokens_out: int) -> None:
        """Put what a question did cost in the place of what was held for it."""
        self._held -= held
        self.spent += self._prices.cost(tokens_in, tokens_out)


def read_prices(per_million_in: float | None = None, per_million_out: float | None = None) -> Prices:
    """Return prices from options, else from the settings, else nothing.

    Raises:
        UsageError: A setting or option is no price.
    """
    return Prices(_price(per_million_in, PRICE_IN_VARIABLE), _price(per_million_out, PRICE_OUT_VARIABLE))


def _price(given: float | None, variable: str) -> float:
    said = given if given is not None else os.environ.get(variable, "0")
    try:
        price = float(said)
    except ValueError as error:
        raise UsageError(f"{variable}={said!r}: expected the price of a million tokens, such as 0.55") from error
    if not 0 <= price < float("inf"):
        raise UsageError(f"price {said!r} ({variable}): expected 0 or more")
    return price
