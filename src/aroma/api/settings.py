"""What a server is told when it starts, checked before anything is opened."""

from __future__ import annotations

import ipaddress
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from aroma.errors import UsageError

TOKEN_VARIABLE: Final = "AROMA_TOKEN"  # noqa: S105 - a variable's name
SETTINGS_VARIABLE: Final = "AROMA_SERVE_SETTINGS"
_SHORTEST_TOKEN: Final = 16


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may cost.

    Attributes:
        body_bytes: Largest request body.
        batch_pairs: Most pairs (or names) of one request.
        seconds: Time for an answer.
        batch_seconds: Time for a streamed answer.
        header_seconds: Time for the request line and headers to arrive.
        body_seconds: Time for the body to arrive.
        stall_seconds: Time that a client may let a stream wait.
        requests: Requests answered at once; more get 503.
        connections: Open connections; more get 503.
        rate: Requests a second of one token (or address, without one); 0 for no limit. More get 429.
        burst: Requests of one caller that may come at once.
        failures: Requests a second of one address that nobody vouches for; more get 429 instead of 401.
    """

    body_bytes: int = 8 * 2**20
    batch_pairs: int = 10_000
    seconds: float = 20.0
    batch_seconds: float = 600.0
    header_seconds: float = 10.0
    body_seconds: float = 20.0
    stall_seconds: float = 20.0
    requests: int = 128
    connections: int = 1_000
    rate: float = 0.0
    burst: int = 50
    failures: float = 5.0


@dataclass(frozen=True, slots=True)
class Settings:
    """How a server answers.

    Attributes:
        home: Where releases are.
        token: Bearer token that requests must carry; None for none.
        outcomes: Version of measured outcomes, ``none`` to show none; None for the latest stored, where there is one.
        withhold: Outcomes that no request may see (``aroma.retrieval.withhold.read_withhold``).
        uri: Database for Cypher and text search.
        limits: See ``Limits``.
        texts: A lab's own descriptions, in place of the composed ones.
    """

    home: Path
    token: str | None = None
    outcomes: str | None = None
    withhold: tuple[str, ...] = ()
    uri: str | None = None
    limits: Limits = field(default_factory=Limits)
    texts: Path | None = None

    def to_environment(self) -> dict[str, str]:
        """Return variables from which a worker process makes the same settings."""
        said = {**asdict(self), "home": str(self.home), "texts": str(self.texts) if self.texts else None, "token": None}
        return {SETTINGS_VARIABLE: json.dumps(said), TOKEN_VARIABLE: self.token or ""}

    @classmethod
    def from_environment(cls) -> Settings:
        """Return the settings that ``to_environment`` wrote.

        Raises:
            UsageError: There are none; servers are started by ``aroma serve``.
        """
        try:
            said = json.loads(os.environ[SETTINGS_VARIABLE])
        except (KeyError, ValueError) as error:
            raise UsageError(f"{SETTINGS_VARIABLE} is not set; start the server by aroma serve") from error
        said["limits"] = Limits(**said["limits"])
        said["home"], said["withhold"] = Path(said["home"]), tuple(said["withhold"])
        said["texts"] = Path(said["texts"]) if said["texts"] else None
        return cls(**{**said, "token": os.environ.get(TOKEN_VARIABLE) or None})


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach a host name or address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def check_exposure(host: str, token: str | None, *, has_tokens: bool = False) -> None:
    """Refuse to listen where others can reach without a token.

    Args:
        host: Address to listen on.
        token: The server's own token.
        has_tokens: The home has tokens.

    Raises:
        UsageError: No token and no loopback address, or a token that is too short or no plain text.
    """
    if token is not None:
        if len(token) < _SHORTEST_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
            raise UsageError(
                f"{TOKEN_VARIABLE} must be at least {_SHORTEST_TOKEN} printable ASCII characters without blanks"
            )
    elif not has_tokens and not is_loopback(host):
        raise UsageError(
            f"listening on {host} lets other machines in: make a token (aroma tokens create NAME), or set "
            f"{TOKEN_VARIABLE} to a secret, or listen on 127.0.0.1"
        )
