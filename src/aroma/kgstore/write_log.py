"""The log of writes: who changed what, when, by which door, and what became of it; one JSON object a line.

``audit/writes.jsonl`` in the home. It is only added to: a line is one write to a file opened for appending, and flushed
to the disk before the change is answered. So lines of several processes do not mix, and a client that was told of a
change finds it here.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from aroma.kgstore.home import Home

_LONGEST: Final = 2_000


def _now() -> str:
    return datetime.now(tz=UTC).isoformat(timespec="milliseconds")


@dataclass(frozen=True, slots=True)
class Write:
    """One attempted change.

    Attributes:
        who: Name of the token, or user of the command line.
        token: Id of the token; empty where there was none.
        route: Method and route of the API, or the command.
        what: What was to be changed, in a few words.
        outcome: HTTP status, or ``done``.
        request: Request or run id.
        scope: Scope that was needed.
        when: ISO 8601, UTC.
    """

    who: str
    token: str
    route: str
    what: str
    outcome: str
    request: str = ""
    scope: str = ""
    when: str = field(default_factory=_now)


def write_log(home: Home) -> Path:
    """Return where the log is."""
    return home.path / "audit" / "writes.jsonl"


def add_write(home: Home, write: Write) -> None:
    """Append one line, durable before this returns.

    Raises:
        OSError: It cannot be written.
    """
    path = write_log(home)
    path.parent.mkdir(parents=True, exist_ok=True)
    said = {name: value[:_LONGEST] for name, value in asdict(write).items()}
    line = json.dumps(said, ensure_ascii=False).encode() + b"\n"
    handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        end = os.lseek(handle, 0, os.SEEK_END)
        if end and os.pread(handle, 1, end - 1) != b"\n":
            line = b"\n" + line  # a crash cut the line before: it stays as it is, ours begins anew
        if os.write(handle, line) < len(line):  # the disk took a part; readers leave the cut line out
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        os.fsync(handle)
    finally:
        os.close(handle)


def read_writes(home: Home) -> Iterator[Write]:
    """Yield the lines of the log, the oldest first; a line that a crash cut off is left out."""
    try:
        lines = write_log(home).read_bytes().splitlines()
    except FileNotFoundError:
        return
    for line in lines:
        try:
            yield Write(**json.loads(line))
        except (ValueError, TypeError):
            continue


def command_user() -> str:
    """Return who runs a command, for the log."""
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return f"uid {os.getuid()}"
