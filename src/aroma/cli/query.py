"""``aroma query``: a saved query or free Cypher over the published release or an older one; reads only."""

from __future__ import annotations

import csv
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from aroma.cli.options import HomeOption, JsonOption, UriOption
from aroma.cli.output import console, print_json, print_table, progress
from aroma.errors import ExportError, UsageError

if TYPE_CHECKING:
    from aroma.kgstore.query_service import Answer

LimitOption = Annotated[int, typer.Option(help="Most rows; said on standard error when rows were cut.")]


class Format(StrEnum):
    """How rows are shown."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


def register(app: typer.Typer) -> None:
    """Add ``query`` to the command."""
    app.command("query")(query)


def query(
    name: Annotated[str | None, typer.Argument(help="A saved query; see --list.", show_default=False)] = None,
    cypher: Annotated[str | None, typer.Option(help="Free Cypher that only reads.", show_default=False)] = None,
    file: Annotated[Path | None, typer.Option(help="File with free Cypher.", show_default=False)] = None,
    show_list: Annotated[bool, typer.Option("--list", help="List the saved queries.")] = False,
    param: Annotated[list[str] | None, typer.Option(help="NAME=VALUE; may be repeated.", show_default=False)] = None,
    queries: Annotated[
        Path | None, typer.Option(help="Directory of your own queries (else AROMA_QUERIES).", show_default=False)
    ] = None,
    as_of: Annotated[str | None, typer.Option(help="Ask this release instead.", show_default=False)] = None,
    format_: Annotated[Format, typer.Option("--format", help="table, json or csv.")] = Format.TABLE,
    limit: LimitOption = 10_000,
    timeout: Annotated[float, typer.Option(help="Seconds.")] = 30.0,
    explain: Annotated[bool, typer.Option(help="Do not run it; show how the engine would answer.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write the rows to this CSV file.", show_default=False)] = None,
    home: HomeOption = None,
    uri: UriOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask the graph, by a saved query's NAME or in Cypher; a text that could write is refused."""
    from aroma.kgstore.home import GraphTarget, Home
    from aroma.kgstore.query_service import Question, run_query

    shown = Format.JSON if as_json else format_
    if show_list:
        _show_list(queries, shown)
        return
    text = _read_text(file) if file is not None else cypher
    if file is not None and cypher is not None:
        raise UsageError("give --cypher or --file, not both")
    given = dict(_split(pair) for pair in param or [])
    question = Question(name, text, given, queries, as_of, limit, timeout, explain)
    answer = run_query(Home.locate(home), GraphTarget.locate(uri), question)
    for note in answer.notes:
        progress(note)
    if explain and shown is not Format.JSON:
        console().print(answer.text, markup=False)
        if answer.result.plan:
            console().print(f"\n{answer.result.plan}", markup=False)
        progress(f"{answer.engine} accepts this query; parameters: {dict(answer.parameters)}")
        return
    if out is not None:
        _write_csv(answer, out)
    if out is None or shown is Format.JSON:
        _show(answer, shown)


def _write_csv(answer: Answer, out: Path) -> None:
    """Write rows whole or not at all: beside the file, then renamed."""
    beside = out.with_name(f".{out.name}.partial")
    try:
        with beside.open("w", encoding="utf-8", newline="") as stream:
            _csv_rows(answer, stream)
        beside.replace(out)
    except OSError as error:
        raise ExportError(f"--out {out}: cannot be written ({error.strerror}); choose another place") from error
    progress(f"{len(answer.result.rows):,} rows from release {answer.release} in {out}")


def _csv_rows(answer: Answer, stream: TextIO) -> None:
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(answer.result.columns)
    writer.writerows([_csv_cell(value) for value in row] for row in answer.result.rows)


def _show(answer: Answer, shown: Format) -> None:
    result = answer.result
    if shown is Format.JSON:
        print_json(
            {
                "query": answer.query,
                "release": answer.release,
                "engine": answer.engine,
                "text": answer.text,
                "parameters": answer.parameters,
                "columns": result.columns,
                "rows": result.records(),
                "truncated": result.truncated,
                "plan": result.plan,
                "seconds": round(result.seconds, 4),
                "notes": answer.notes,
            }
        )
    elif shown is Format.CSV:
        _csv_rows(answer, sys.stdout)
    else:
        print_table("", result.columns, result.rows)
        progress(f"{len(result.rows):,} rows from release {answer.release} ({answer.engine}, {result.seconds:.2f} s)")


def _show_list(directory: Path | None, shown: Format) -> None:
    from aroma.kgstore.saved_queries import load_queries

    found = load_queries(directory).values()
    if shown is Format.JSON:
        for one in found:
            parameters = [
                {"name": p.name, "type": p.type, "default": p.default, "example": p.example, "meaning": p.meaning}
                for p in one.parameters
            ]
            columns = [{"name": column, "meaning": meaning} for column, meaning in one.columns]
            said = {"name": one.name, "answers": one.answers, "notes": one.notes}
            print_json({**said, "parameters": parameters, "columns": columns, "file": one.file.name})
        return
    rows = []
    for one in found:
        takes = [p.name if p.default is None else f"{p.name}={p.default}" for p in one.parameters]
        rows.append((one.name, one.answers, takes))
    print_table("", ("query", "answers", "parameters"), rows)
    console().print("For example: aroma query edge-provenance --param subject=TULP1 --param object=GO:0016358")


def _csv_cell(value: object) -> object:
    if isinstance(value, list):
        return ";".join("" if item is None else str(item) for item in value)
    return value


def _split(pair: str) -> tuple[str, str]:
    name, separator, value = pair.partition("=")
    if not separator or not name.strip():
        raise UsageError(f"--param {pair!r} is not NAME=VALUE; for example: --param gene=TULP1")
    return name.strip(), value


def _read_text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--file {file}: cannot be read as UTF-8 text ({error})") from error
