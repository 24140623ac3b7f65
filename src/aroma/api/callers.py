"""Who asks: the bearer of a token, or whoever is on this machine where no token was ever made."""

from __future__ import annotations

import hmac
import logging
from dataclasses import dataclass
from typing import Final

from aroma.errors import ReleaseError
from aroma.kgstore.home import Home
from aroma.kgstore.tokens import Scope, Token, TokenBook

_log = logging.getLogger("aroma.api")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request.

    Attributes:
        name: Of the token; ``AROMA_TOKEN`` for the server's own, ``local`` without any.
        token: Id of the token, or empty.
        scope: What may be done.
        first_today: The token, where its use is still to be written down.
    """

    name: str
    token: str
    scope: Scope
    first_today: Token | None = None


_SERVER: Final = Caller("AROMA_TOKEN", "", "operate")
_LOCAL: Final = Caller("local", "", "operate")


class Door:
    """Tells who a request is from.

    Args:
        home: Whose tokens open.
        server_token: The token of the server's environment; it allows everything.
    """

    def __init__(self, home: Home, server_token: str | None) -> None:
        self.book = TokenBook(home)
        self._server_token = server_token.encode() if server_token else None

    @property
    def is_open(self) -> bool:
        """True where no token was ever made: such a server listens on this machine only.

        Raises:
            ReleaseError: The file of tokens is damaged.
        """
        return self._server_token is None and self.book.is_empty

    def caller(self, authorization: bytes) -> Caller | None:
        """Return who sent an ``Authorization`` header, or None where nobody that may come in.

        Raises:
            ReleaseError: The file of tokens is damaged.
        """
        scheme, _, given = authorization.partition(b" ")
        given = given.strip()
        if scheme.lower() == b"bearer" and given:
            if self._server_token is not None and hmac.compare_digest(given, self._server_token):
                return _SERVER
            token = self.book.find(given.decode("latin-1"))
            if token is not None:
                first = token if self.book.is_first_today(token) else None
                return Caller(token.name, token.id, token.scope, first)
        return _LOCAL if self.is_open else None

    def note_use(self, token: Token) -> None:
        """Write down that a token was used today; where that cannot be, it is logged and the request goes on."""
        try:
            self.book.note_use(token)
        except (OSError, ReleaseError) as error:
            _log.warning("the use of token %s could not be written down: %s", token.id, error)
