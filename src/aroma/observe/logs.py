"""Structured logs: one JSON object a line on standard error, with the ids of the request and the run it belongs to."""

from __future__ import annotations

import json
import logging
import os
import secrets
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final

from aroma.errors import UsageError
from aroma.observe.tracing import trace_id

LOG_VARIABLE: Final = "AROMA_LOG"
RUN_VARIABLE: Final = "AROMA_RUN_ID"
_FORMS: Final = ("text", "json")
_TEXT: Final = "%(asctime)s %(levelname)s %(message)s"
_NOTHING: Final[Mapping[str, object]] = MappingProxyType({})
_bound: ContextVar[Mapping[str, object]] = ContextVar("aroma_log_fields", default=_NOTHING)


@contextmanager
def bound(**fields: object) -> Iterator[None]:
    """Put fields such as ``request_id`` or ``run_id`` into every line that is logged in the body, in its threads too.

    A thread sees them where it is started with the context of who started it (``contextvars.copy_context``).
    """
    before = _bound.set({**_bound.get(), **fields})
    try:
        yield
    finally:
        _bound.reset(before)


class JsonFormatter(logging.Formatter):
    """Writes a record as one JSON object; a record's ``fields`` and what is ``bound`` become its members."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        said: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, tz=UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **_bound.get(),
            **getattr(record, "fields", {}),
        }
        if trace := trace_id():
            said["trace_id"] = trace
        if record.exc_info:
            said["traceback"] = self.formatException(record.exc_info)
        return json.dumps(said, ensure_ascii=True, default=str)


def is_json() -> bool:
    """Tell whether ``AROMA_LOG`` asks commands and workers for JSON lines.

    Raises:
        UsageError: It names no form of log.
    """
    form = os.environ.get(LOG_VARIABLE, "").strip().lower() or "text"
    if form not in _FORMS:
        raise UsageError(f"{LOG_VARIABLE}={form!r} is no form of log; there are: {', '.join(_FORMS)}")
    return form == "json"


def set_up(level: str = "info", *, text: bool = False) -> None:
    """Send the logs of this program, and of the server beneath it, to standard error.

    Args:
        level: The least that is shown.
        text: Lines for people instead of JSON.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(_TEXT) if text else JsonFormatter())
    for name in ("aroma", "uvicorn"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level.upper())
    logging.getLogger("uvicorn.access").handlers.clear()
    logging.getLogger("uvicorn.access").propagate = False


def run_id() -> str:
    """Return the id of this command: ``AROMA_RUN_ID`` where whoever started it gave one, else a new one.

    It is put into the environment, so that processes that the command starts log under the same id.
    """
    return os.environ.setdefault(RUN_VARIABLE, secrets.token_hex(6))
