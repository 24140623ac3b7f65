"""Versions of provider files: their natural order, and the pins by which a user chooses one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from aroma.errors import UsageError

UNDATED: Final = "undated"

_TOKEN = re.compile(r"\d+|[a-z]+", re.IGNORECASE)


def version_key(version: str) -> tuple[tuple[int, int, str], ...]:
    """Return a key that sorts versions naturally: 12.0.union > 12.0 > 11.5 > 11; dates by date; undated first."""
    if version == UNDATED:
        return ()
    tokens = _TOKEN.findall(plain(version))
    return tuple((1, int(token), "") if token.isdigit() else (0, 0, token.lower()) for token in tokens)


def plain(version: str) -> str:
    """Return ``version`` without a leading ``v``."""
    return re.sub(r"^v(?=\d)", "", version.strip())


def parse_pins(texts: Iterable[str]) -> dict[str, str]:
    """Parse ``PROVIDER=VERSION`` and ``PROVIDER.KIND=VERSION``.

    Raises:
        UsageError: A pin of another form, or two that contradict each other.
    """
    pins: dict[str, str] = {}
    for text in texts:
        target, separator, version = (part.strip() for part in text.partition("="))
        if not (target and separator and version):
            raise UsageError(
                f"pin {text!r} is not understood; write PROVIDER=VERSION, such as gene_ontology=2021-12-15"
            )
        if pins.get(target, version) != version:
            raise UsageError(f"{target} is pinned to both {pins[target]} and {version}; give one")
        pins[target] = version
    return pins


def pins_for(provider: str, pins: Mapping[str, str]) -> tuple[str | None, dict[str, str]]:
    """Return the pin of the whole provider, if any, and those of single kinds by kind."""
    prefix = f"{provider}."
    kinds = {target.removeprefix(prefix): version for target, version in pins.items() if target.startswith(prefix)}
    return pins.get(provider), kinds
