"""What the bearer of a request may do: read, curate, operate.

Routes that write call ``require`` before anything else; what a token may do is decided here and nowhere else.
"""

from __future__ import annotations

from typing import Literal

from starlette.requests import Request

Scope = Literal["read", "curate", "operate"]


def require(request: Request, scope: Scope) -> None:
    """Let a request pass that may do what ``scope`` names.

    The guard has checked the server's token before any route is reached. That one token, or the absence of one on a
    loopback address, allows everything.

    Args:
        request: As the route got it.
        scope: What the route does.

    Raises:
        ProblemError: 403, the token lacks the scope.
    """
