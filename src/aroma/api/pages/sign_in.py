"""Signing in with a browser: the token is kept in a cookie that scripts cannot read and other sites cannot send.

The cookie opens what is read by GET and nothing else: who writes sends ``Authorization: Bearer TOKEN``, so no other
site can make a browser write.
"""

from __future__ import annotations

from http.cookies import CookieError, SimpleCookie
from typing import Annotated, Final
from urllib.parse import parse_qs, urlencode, urlsplit

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from aroma.api.pages.rendering import answer, render
from aroma.api.problems import ProblemError

router = APIRouter(include_in_schema=False)
COOKIE: Final = "aroma_token"
SIGN_IN: Final = "/sign-in"
OPEN: Final = frozenset({SIGN_IN, "/page.css"})
_LONGEST_BODY: Final = 4_096
_SECONDS: Final = 12 * 3_600


def bearer_of(cookies: bytes) -> bytes:
    """Return the ``Authorization`` header that a ``Cookie`` header stands for; empty where it has no token."""
    try:
        found = SimpleCookie(cookies.decode("latin-1")).get(COOKIE)
    except CookieError:
        return b""
    return b"" if found is None else f"Bearer {found.value}".encode("latin-1", "replace")


def way_in(path: str, query: bytes, *, refused: bool) -> RedirectResponse:
    """Return the way to the form, which leads back to the page that was asked for."""
    wanted = f"{path}?{query.decode('latin-1')}" if query else path
    asked = {"next": wanted, **({"refused": "1"} if refused else {})}
    return RedirectResponse(f"{SIGN_IN}?{urlencode(asked)}", status_code=303, headers={"Cache-Control": "no-store"})


@router.get(SIGN_IN)
async def form(
    next: Annotated[str, Query(max_length=2_000)] = "/",  # noqa: A002 - the name in the address
    refused: Annotated[str, Query(max_length=1)] = "",
) -> Response:
    """The form."""
    return answer(render("sign_in.html", next=_own(next), refused=bool(refused)), 401 if refused else 200)


@router.post(SIGN_IN)
async def sign_in(request: Request) -> Response:
    """Keep the token and go on to the page; whether it is good shows there.

    Raises:
        ProblemError: The form came from another site, or is none.
    """
    origin = request.headers.get("origin")
    if origin not in {None, "null"} and urlsplit(str(origin)).netloc != request.headers.get("host"):
        raise ProblemError(403, "this form was sent by another site")
    body = await request.body()
    if len(body) > _LONGEST_BODY:
        raise ProblemError(413, f"a form of more than {_LONGEST_BODY:,} bytes is none of ours")
    said = parse_qs(body.decode("latin-1"))
    token, wanted = said.get("token", [""])[0].strip(), said.get("next", ["/"])[0]
    going = RedirectResponse(_own(wanted), status_code=303)
    if token and token.isascii() and token.isprintable():
        going.set_cookie(
            COOKIE, token, max_age=_SECONDS, httponly=True, samesite="strict", secure=request.url.scheme == "https"
        )
    else:
        going.delete_cookie(COOKIE)
    return going


def _own(wanted: str) -> str:
    """Return a page of this server: what leads elsewhere becomes the first page."""
    parts = urlsplit(wanted)
    is_ours = not parts.scheme and not parts.netloc and wanted.startswith("/") and not wanted.startswith(("//", "/\\"))
    return wanted if is_ours and wanted.isprintable() else "/"
