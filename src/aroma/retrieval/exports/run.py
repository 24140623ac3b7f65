"""Running an export: written beside its place, put there in one rename, with a card that says what it is."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import polars as pl

from aroma.errors import ExportError, UsageError
from aroma.kgstore.home import Home
from aroma.kgstore.releases import now
from aroma.retrieval.columns import file_sha256
from aroma.retrieval.exports.base import Exporter, ExportOptions, ExportSource, open_source
from aroma.retrieval.exports.registry import exporter

CARD: Final = "export.json"
"""Name of the card in a directory; beside a single file it is the file's name and ``.export.json``."""


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """One export.

    Attributes:
        format: Name of the format.
        out: Where it goes: a file or a directory, as the format has it.
        view: Preset name; None takes the format's default.
        release: Id, beginning of one, sequence number; None for the published one.
        commercial_only: Leave out providers whose licence forbids commercial use.
        overwrite: Replace an earlier export at ``out``.
        options: What the format needs beyond that.
        command: What was typed, for the card.
    """

    format: str
    out: Path
    view: str | None = None
    release: str | None = None
    commercial_only: bool = False
    overwrite: bool = False
    options: ExportOptions = field(default_factory=ExportOptions)
    command: str = ""


def run_export(home: Home, request: ExportRequest) -> dict[str, Any]:
    """Write an export and its card; nothing is at ``out`` before everything is written.

    Returns:
        The card.

    Raises:
        UsageError: No such format or view, or something is at ``out`` that may not be replaced.
        ReleaseError: No such release, or damaged tables.
        ExportError: The place cannot be written.
    """
    format_ = exporter(request.format)
    out = request.out.expanduser().absolute()
    _check_place(out, overwrite=request.overwrite)
    source = open_source(
        home, request.release, view=request.view or format_.default_view, commercial_only=request.commercial_only
    )
    beside = out.parent / f".{out.name}.{os.getpid()}.partial"
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir()
        files = format_.write(source, beside / out.name, request.options)
        card = _card(format_, source, request, files, beside / out.name)
        _put_in_place(beside, out, card)
    except (OSError, pl.exceptions.ComputeError) as error:
        said = getattr(error, "strerror", None) or error
        raise ExportError(f"{out}: cannot be written ({said}); free space or choose another place") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return card


def card_path(out: Path) -> Path:
    """Return where the card of the export at ``out`` stands."""
    return out / CARD if out.is_dir() else out.with_name(f"{out.name}.{CARD}")


def _check_place(out: Path, *, overwrite: bool) -> None:
    if not out.exists():
        return
    if not overwrite:
        raise UsageError(f"{out} is there already; give another --out, or --overwrite to replace it")
    if out.is_dir() and not (out / CARD).is_file():
        raise UsageError(f"{out} is a directory without {CARD}, so no export, and is not replaced; give another --out")


def _put_in_place(beside: Path, out: Path, card: dict[str, Any]) -> None:
    made, old = beside / out.name, beside / "replaced"
    text = json.dumps(card, indent=1, ensure_ascii=False) + "\n"
    card_file = made / CARD if made.is_dir() else beside / f"{out.name}.{CARD}"
    card_file.write_text(text, encoding="utf-8")
    if out.exists():
        card_path(out).unlink(missing_ok=True)
        out.rename(old)
    made.rename(out)
    if card_file.exists():
        card_file.replace(card_path(out))


def _card(
    format_: Exporter, source: ExportSource, request: ExportRequest, files: Iterable[Path], made: Path
) -> dict[str, Any]:
    definition = source.kept_definition()
    used = source.licences.filter(pl.col("provider").is_in(sorted(source.ledger.providers)))
    binding = used.filter(~pl.col("commercial_use").fill_null(value=False))
    return {
        "format": format_.name,
        "summary": format_.summary,
        "release": source.release,
        "view": {"name": definition.name, "id": definition.id, "definition": definition.model_dump(mode="json")},
        "licence": "commercial" if request.commercial_only else "any",
        "licence_notes": [*_left_out(source), *_binding(binding)],
        "left_out": list(source.left_out),
        "rows": source.ledger.rows,
        "notes": source.ledger.notes,
        "providers": used.to_dicts(),
        "outcomes": None if request.options.outcomes is None else request.options.outcomes.height,
        "files": [_file(path, made) for path in files],
        "command": request.command,
        "written_at": now(),
    }


def _left_out(source: ExportSource) -> list[str]:
    notes = []
    for provider in source.left_out:
        row = source.licence_of(provider)
        licence = f"its licence {row['licence']} forbids commercial use" if row else "its licence is not known"
        counts = ", ".join(f"{source.count_left_out(table, provider):,} {table}" for table in ("edges", "nodes"))
        notes.append(f"{row['title'] if row else provider} is left out: {licence} ({counts} of the release)")
    return notes


def _binding(binding: pl.DataFrame) -> list[str]:
    return [
        f"{row['title']}'s licence {row['licence']} forbids commercial use, and binds this export and what is made of "
        "it; --licence commercial leaves it out"
        for row in binding.iter_rows(named=True)
    ]


def _file(path: Path, made: Path) -> dict[str, Any]:
    name = path.relative_to(made).as_posix() if made.is_dir() else path.name
    return {"name": name, "bytes": path.stat().st_size, "sha256": file_sha256(path)}
