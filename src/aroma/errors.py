"""The one tree of errors.

Each message names the file, line, identifier or setting at fault and says what to do. Commands turn an
``AromaError`` into one line on standard error and its exit code; anything else is a defect.
"""

from __future__ import annotations

from pathlib import Path

EXIT_FAILED = 1
EXIT_WRONG_USE = 2
EXIT_GATE = 3


class AromaError(Exception):
    """Base of all errors that a user can cause or meet; ``exit_code`` is what the command ends with."""

    exit_code: int = EXIT_FAILED

    def details(self) -> dict[str, object]:
        """Return what a program needs beside the message; it stands in the error object of ``--json``."""
        return {}


class UsageError(AromaError):
    """A command, option, parameter or name that does not fit."""

    exit_code = EXIT_WRONG_USE


class InputFileError(AromaError):
    """A file that cannot be read as what it should be.

    Args:
        problem: What is wrong, without the place.
        file: The file at fault.
        line: One-based line in the decompressed text, where one is at fault.
        expected: What a good file has there.
    """

    exit_code = EXIT_WRONG_USE

    def __init__(self, problem: str, *, file: Path | str, line: int | None = None, expected: str | None = None) -> None:
        self.problem, self.file, self.line, self.expected = problem, str(file), line, expected
        place = f"{file}, line {line}" if line is not None else str(file)
        super().__init__(f"{place}: {problem}" + (f"; expected {expected}" if expected else ""))


class IdentifierError(UsageError):
    """An identifier or gene name that is malformed, unknown or ambiguous."""


class CurationError(UsageError):
    """An assertion, retraction, revocation or review that does not fit the graph or what was entered before."""


class CurationLogError(AromaError):
    """A curation log that was changed by hand, lost lines, or cannot be written."""


class GateStoppedError(AromaError):
    """One or more gates stopped a release; ``gates`` are their names, for ``--accept``."""

    exit_code = EXIT_GATE

    def __init__(self, message: str, *, gates: tuple[str, ...]) -> None:
        self.gates = gates
        super().__init__(message)

    def details(self) -> dict[str, object]:
        """Return the names of the gates that stopped."""
        return {"gates": list(self.gates)}


class ReleaseError(AromaError):
    """A release that is unknown, damaged or cannot be published."""


class LockHeldError(AromaError):
    """Another process holds a lock that this one needs."""


class StoreUnavailableError(AromaError):
    """The database cannot be reached, is too old, refuses the password, or is publishing."""


class QueryError(UsageError):
    """A query that is refused (it would write), malformed, or took too long."""


class MigrationError(AromaError):
    """A migration that was edited after it ran, is missing, or failed."""


class DownloadError(AromaError):
    """A provider's file that could not be fetched whole."""


class ExportError(AromaError):
    """An export that cannot be written."""


class SnapshotError(AromaError):
    """A snapshot that is missing, cut off, damaged, or of another release or layout."""


class ModelError(AromaError):
    """A model that cannot be trained, saved, loaded, or that gives what is no prediction."""


class LedgerError(AromaError):
    """A ledger of runs that cannot be opened, read or written."""


class ServerAnswerError(AromaError):
    """A server's answer that is no success, or none at all.

    Args:
        message: What the server said.
        status: HTTP status; None where nothing answered.
        problem: The problem details (RFC 9457) as sent: ``type``, ``reason``, ``nearest`` and others.
    """

    def __init__(self, message: str, *, status: int | None = None, problem: dict[str, object] | None = None) -> None:
        self.status, self.problem = status, problem or {}
        super().__init__(message)
