"""Access tokens of a home: who may read, curate or operate through the API, until when, and revoked or not.

A token is ``aroma_<id>_<secret>``. The secret is 256 random bits and shown once; ``tokens.json`` (readable by its owner
alone) keeps its SHA-256. A slow hash would add nothing: it makes guessing dear where secrets are short, and nobody
guesses 256 bits. Changes are made under a lock and replace the file in one rename, so a running server that looks at
the file's identity sees them with its next request.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Literal, get_args

import filelock

from aroma.errors import ReleaseError, UsageError
from aroma.kgstore.home import Home
from aroma.kgstore.publications import write_durably

Scope = Literal["read", "curate", "operate"]
SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)
"""From the least to the most: who may curate may read, who may operate may curate."""
_SHAPE: Final = re.compile(r"aroma_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._@-]{0,63}")
_PERIOD: Final = re.compile(r"([1-9][0-9]{0,4})([hdw])")
_HOURS: Final = {"h": 1, "d": 24, "w": 168}
_LOCK_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Token:
    """One token, as it is kept.

    Attributes:
        id: Public part, 12 hexadecimal digits.
        name: Who or what it was made for.
        scope: What it allows.
        sha256: Of the secret part, hex.
        created_at: ISO 8601, UTC.
        expires_at: ISO 8601, UTC; None for never.
        revoked_at: ISO 8601, UTC; None while it is good.
        last_used: Date of its last request, ISO 8601, UTC.
    """

    id: str
    name: str
    scope: Scope
    sha256: str
    created_at: str
    expires_at: str | None = None
    revoked_at: str | None = None
    last_used: str | None = None

    def state(self, now: datetime) -> Literal["good", "expired", "revoked"]:
        """Tell whether the token is good at a time (with its zone)."""
        if self.revoked_at is not None:
            return "revoked"
        if self.expires_at is not None and now >= datetime.fromisoformat(self.expires_at):
            return "expired"
        return "good"


def allows(given: Scope, wanted: Scope) -> bool:
    """Tell whether a scope includes another."""
    return SCOPES.index(given) >= SCOPES.index(wanted)


def tokens_file(home: Home) -> Path:
    """Return where a home's tokens are kept."""
    return home.path / "tokens.json"


def read_tokens(home: Home) -> tuple[Token, ...]:
    """Return all tokens, the oldest first, those that are no longer good among them.

    Raises:
        ReleaseError: The file is damaged; nobody is let in by guessing what it said.
    """
    path = tokens_file(home)
    try:
        rows = json.loads(path.read_text())
        tokens = tuple(Token(**row) for row in rows)
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, TypeError) as error:
        raise ReleaseError(f"{path}: not a list of tokens ({error}); restore it from a backup") from error
    if any(token.scope not in SCOPES for token in tokens):
        raise ReleaseError(f"{path}: a token's scope is none of {', '.join(SCOPES)}; restore it from a backup")
    return tokens


def create_token(home: Home, name: str, scope: Scope, *, expires: str | None = None) -> tuple[Token, str]:
    """Make a token and return it with the text that its bearer sends; the text cannot be had again.

    Args:
        home: Whose API it opens.
        name: Who or what it is for; one good token a name.
        scope: What it allows.
        expires: After how long it ends: ``90d``, ``12h``, ``4w``; None for never.

    Raises:
        UsageError: A name, scope or period that does not fit, or a good token of that name.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"token name {name!r} does not fit; use up to 64 letters, digits, blanks and . _ @ -")
    if scope not in SCOPES:
        raise UsageError(f"scope {scope!r} is none; there are: {', '.join(SCOPES)}")
    now = datetime.now(tz=UTC)
    ends = None if expires is None else _text(now + parse_period(expires))
    secret = secrets.token_urlsafe(32)
    token = Token(secrets.token_hex(6), name, scope, _hash(secret), _text(now), ends)
    with _changing(home) as tokens:
        if any(other.name == name and other.state(now) == "good" for other in tokens):
            raise UsageError(f"a token named {name!r} is in use; revoke it first, or choose another name")
        _write(home, (*tokens, token))
    return token, f"aroma_{token.id}_{secret}"


def revoke_token(home: Home, named: str) -> Token:
    """End a token now, by its id or by the name of a good one; revoking it again changes nothing.

    Raises:
        UsageError: There is none.
    """
    now = datetime.now(tz=UTC)
    with _changing(home) as tokens:
        fits = [token for token in tokens if token.id == named]
        fits = fits or [token for token in tokens if token.name == named and token.state(now) == "good"]
        if not fits:
            raise UsageError(f"no token has the id, and no good one the name {named!r}; see: aroma tokens list")
        found = fits[0]
        if found.revoked_at is None:
            found = replace(found, revoked_at=_text(now))
            _write(home, tuple(found if token.id == found.id else token for token in tokens))
    return found


def parse_period(text: str) -> timedelta:
    """Return a period written as ``12h``, ``90d`` or ``4w``.

    Raises:
        UsageError: It is none.
    """
    match = _PERIOD.fullmatch(text)
    if not match:
        raise UsageError(f"period {text!r} is not understood; write hours, days or weeks as 12h, 90d or 4w")
    return timedelta(hours=int(match[1]) * _HOURS[match[2]])


class TokenBook:
    """The tokens of a home as a server sees them: the file is read again when it is another one.

    Args:
        home: Whose tokens.
        clock: The present time, UTC.
    """

    def __init__(self, home: Home, clock: Callable[[], datetime] = lambda: datetime.now(tz=UTC)) -> None:
        self._home, self._clock = home, clock
        self._path = tokens_file(home)
        self._seen: tuple[int, int, int] | None = None
        self._tokens: dict[str, Token] = {}
        self._lock = threading.Lock()
        self._used: dict[str, str] = {}

    @property
    def is_empty(self) -> bool:
        """True where no token was ever made; one that was revoked still closes the door."""
        self._look()
        return not self._tokens

    def find(self, bearer: str) -> Token | None:
        """Return the good token of a bearer's text, or None; takes the same time however wrong it is.

        Raises:
            ReleaseError: The file is damaged.
        """
        self._look()
        match = _SHAPE.fullmatch(bearer)
        token = self._tokens.get(match[1]) if match else None
        given = _hash(match[2]) if match else _hash("")
        same = hmac.compare_digest(given, token.sha256 if token else "0" * 64)
        return token if token and same and token.state(self._clock()) == "good" else None

    def is_first_today(self, token: Token) -> bool:
        """Tell whether a use of the token is to be written down: its first today in this process."""
        today = self._clock().date().isoformat()
        if today in {token.last_used, self._used.get(token.id)}:
            return False
        self._used[token.id] = today
        return True

    def note_use(self, token: Token) -> None:
        """Write down that a token was used today.

        Raises:
            OSError: The file cannot be written.
        """
        today = self._clock().date().isoformat()
        with _changing(self._home) as tokens:
            _write(self._home, tuple(replace(one, last_used=today) if one.id == token.id else one for one in tokens))

    def _look(self) -> None:
        try:
            stat = self._path.stat()
        except FileNotFoundError:
            if self._seen is not None:  # the file went: what it said stays in force, so that its loss opens no door
                self._tokens = {name: replace(one, revoked_at=one.created_at) for name, one in self._tokens.items()}
            return
        identity = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
        if identity != self._seen:
            with self._lock:
                self._tokens = {token.id: token for token in read_tokens(self._home)}
                self._seen = identity


@contextmanager
def _changing(home: Home) -> Iterator[tuple[Token, ...]]:
    home.locks.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(home.locks / "tokens.lock", timeout=_LOCK_SECONDS, is_singleton=False):
            yield read_tokens(home)
    except filelock.Timeout as error:
        raise ReleaseError(f"{home.locks / 'tokens.lock'} was held for {_LOCK_SECONDS:g} s; try again") from error


def _write(home: Home, tokens: tuple[Token, ...]) -> None:
    write_durably(tokens_file(home), json.dumps([asdict(token) for token in tokens], indent=1), mode=0o600)


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")
