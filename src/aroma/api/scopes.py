"""What the bearer of a request may do: read, curate, operate.

Routes that write call ``require`` before anything else; what a token may do is decided here and nowhere else. A request
that called it for more than reading is a write: the guard puts it into the log of writes before it is answered.
"""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request

from aroma.api.callers import Caller
from aroma.api.problems import ProblemError
from aroma.kgstore.tokens import Scope, allows

__all__ = ["Scope", "WriteAsked", "caller_of", "require"]


@dataclass(slots=True)
class WriteAsked:
    """A write that a request wants: the scope that it needs, and what is to be changed."""

    scope: Scope
    what: str = ""


def caller_of(request: Request) -> Caller:
    """Return who sent a request."""
    caller: Caller = request.state.caller
    return caller


def require(request: Request, scope: Scope, what: str = "") -> Caller:
    """Let a request pass that may do what ``scope`` names, and return who sent it.

    The guard has found out the caller before any route is reached. ``AROMA_TOKEN``, or the absence of any token on a
    loopback address, allows everything.

    Args:
        request: As the route got it.
        scope: What the route does.
        what: What is to be changed, in a few words, for the log of writes.

    Raises:
        ProblemError: 403, the token lacks the scope.
    """
    caller = caller_of(request)
    if scope != "read":
        request.state.write = WriteAsked(scope, what)
    if not allows(caller.scope, scope):
        raise ProblemError(
            403,
            f"token {caller.name!r} may {caller.scope}, this needs {scope}: aroma tokens create NAME --scope {scope}",
        )
    return caller
