"""Many assertions and retractions from a table; rows that do not fit are kept beside it, with the reason."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import polars as pl

from aroma.errors import CurationError, InputFileError, UsageError
from aroma.kgstore.curation_desk import REJECTED, Asked, enter_many
from aroma.kgstore.home import Home
from aroma.kgstore.user_tables import read_user_table

_REQUIRED: Final = {"reason": ("comment", "why")}
_OPTIONAL: Final[dict[str, tuple[str, ...]]] = {
    "kind": ("action",),
    "subject": ("from",),
    "relation": ("predicate",),
    "object": ("to",),
    "provider": (),
    "statement": (),
    "references": ("reference", "pmid"),
    "date": (),
    "curator": ("orcid",),
}
_COLUMNS: Final = (*_OPTIONAL, *_REQUIRED)


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What became of a file.

    Attributes:
        counts: Rows by status.
        entries: Ids of the entries, row by row; those there already are among them.
        notes: Line and what a curator should know of it.
        rejected: Line and why the row does not fit.
        rejects_file: Where those rows are; None where there is none, or after a dry run.
    """

    counts: dict[str, int]
    entries: list[str]
    notes: list[tuple[int, str]]
    rejected: list[tuple[int, str]]
    rejects_file: Path | None

    def as_dict(self) -> dict[str, object]:
        """Return it for ``--json``."""
        return {
            "counts": self.counts,
            "entries": self.entries,
            "notes": [{"line": line, "note": note} for line, note in self.notes],
            "rejected": [{"line": line, "reason": reason} for line, reason in self.rejected],
            "rejects_file": str(self.rejects_file) if self.rejects_file else None,
        }


def import_file(
    home: Home, path: Path, *, curator: str = "", dry_run: bool = False, rejects: Path | None = None
) -> ImportReport:
    """Enter every row that fits; the same file again enters nothing twice.

    Args:
        home: Whose log.
        path: Columns ``reason``, ``subject``, ``relation``, ``object``; ``kind`` (assert where empty), ``provider``,
            ``statement``, ``references`` (separated by ``;`` or ``|``), ``date``, ``curator``.
        curator: ORCID for rows without one.
        dry_run: Check only.
        rejects: Where rows that do not fit go; None is ``<name>.rejects.csv`` beside the file.

    Raises:
        InputFileError: The file cannot be read as a table, or lacks a column.
        CurationLogError: The log is damaged or cannot be written; nothing was entered.
        ReleaseError: Nothing is published.
    """
    table = read_user_table(path, required=_REQUIRED, optional=_OPTIONAL, line="line")
    rows = table.to_dicts()
    outcomes = enter_many(home, [_asked(row, curator) for row in rows], dry_run=dry_run)
    rejected = [(row, one.problem) for row, one in zip(rows, outcomes, strict=True) if one.status == REJECTED]
    kept = None
    if rejected and not dry_run:
        kept = rejects or path.with_name(f"{path.name.partition('.')[0]}.rejects.csv")
        _write(table, rejected, kept)
    return ImportReport(
        dict(Counter(one.status for one in outcomes)),
        [one.entry.id for one in outcomes if one.entry is not None],
        [(int(row["line"]), note) for row, one in zip(rows, outcomes, strict=True) for note in one.notes],
        [(int(row["line"]), problem) for row, problem in rejected],
        kept,
    )


def _asked(row: dict[str, Any], curator: str) -> Asked | UsageError:
    said = {name: str(row[name]) for name in _COLUMNS if row.get(name) is not None}
    kind = said.pop("kind", "assert").lower()
    if kind not in {"assert", "retract"}:
        return CurationError(f"kind {kind!r} is neither assert nor retract; revoke and review one by one")
    references = said.pop("references", "").replace("|", ";").split(";")
    if who := said.pop("curator", curator):
        return Asked(kind, who, said.pop("reason", ""), references=references, **said)
    return CurationError("no curator: fill the column curator, or give --curator ORCID")


def _write(table: pl.DataFrame, rejected: list[tuple[dict[str, Any], str]], path: Path) -> None:
    rows = [{**row, "rejected_because": problem} for row, problem in rejected]
    try:
        pl.DataFrame(rows, schema={**table.schema, "rejected_because": pl.String()}).write_csv(path)
    except OSError as error:
        raise InputFileError(f"rejected rows cannot be written ({error.strerror})", file=path) from error
