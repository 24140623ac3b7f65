"""Reading text files line by line, vectorised, so that every reject can name its line.

Files are gzip or plain, told apart by their first bytes. A damaged file is an ``InputFileError``; a bad line is a
row of the rejects table.
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Final

import polars as pl

from aroma.errors import InputFileError
from aroma.importers.receipts import read_receipt
from aroma.kgstore import schema

BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_GZIP_MAGIC: Final = b"\x1f\x8b"
_SHOWN: Final = 300


@dataclass(frozen=True)
class TextFile:
    """A decompressed provider file.

    Attributes:
        path: Where it is.
        sha256: Of the bytes on disk, hex.
        size: Bytes on disk.
        data: Decompressed bytes, without a byte order mark.
    """

    path: Path
    sha256: str
    size: int
    data: bytes

    @property
    def name(self) -> str:
        """File name without directory."""
        return self.path.name

    @property
    def retrieved_at(self) -> str:
        """When the file was fetched (its receipt), else last written, ISO 8601, UTC."""
        receipt = read_receipt(self.path)
        if receipt is not None and receipt.sha256 == self.sha256:
            return receipt.retrieved_at
        return datetime.fromtimestamp(self.path.stat().st_mtime, tz=UTC).isoformat(timespec="seconds")

    @cached_property
    def lines(self) -> pl.DataFrame:
        """All lines: ``line`` (Int64, one-based) and ``text`` (String, without line end).

        Bytes that are not UTF-8 become U+FFFD, which ``well_formed`` rejects.
        """
        text = self.data.decode("utf-8", errors="replace")
        rows = pl.Series("text", text.split("\n"), dtype=pl.String)
        if len(rows) and rows[-1] == "":
            rows = rows.head(len(rows) - 1)
        frame = pl.DataFrame({"text": rows}).with_columns(pl.col("text").str.strip_suffix("\r"))
        return frame.select(pl.int_range(1, pl.len() + 1, dtype=pl.Int64).alias("line"), "text")

    def head(self, lines: int = 40) -> list[str]:
        """Return the first lines without decoding the rest."""
        return self.data[: 400 * lines].decode("utf-8", errors="replace").split("\n")[:lines]


def open_text(path: Path) -> TextFile:
    """Read and decompress a file whole.

    Raises:
        InputFileError: Missing, unreadable, empty, truncated gzip, or an HTML page.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InputFileError(f"cannot be read ({error.strerror})", file=path) from error
    data = _decompress(raw, path).removeprefix(BYTE_ORDER_MARK)
    if not data.strip():
        raise InputFileError("the file is empty", file=path, expected="a provider's file with rows")
    if data[:200].lstrip().lower().startswith((b"<!doctype html", b"<html", b"<?xml")):
        raise InputFileError(
            "the file is a web page, not data",
            file=path,
            line=1,
            expected="the provider's file; download it again",
        )
    return TextFile(path, hashlib.sha256(raw).hexdigest(), len(raw), data)


def _decompress(raw: bytes, path: Path) -> bytes:
    if not raw.startswith(_GZIP_MAGIC):
        return raw
    try:
        return gzip.decompress(raw)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        line = _readable_lines(raw) + 1
        raise InputFileError(
            f"the gzip stream is damaged or cut off ({error})",
            file=path,
            line=line,
            expected="a whole file; download it again",
        ) from error


def _readable_lines(raw: bytes) -> int:
    try:
        return zlib.decompressobj(wbits=31).decompress(raw).count(b"\n")
    except zlib.error:
        return 0


@dataclass(frozen=True, slots=True)
class SplitLines:
    """Rows that split into the expected columns, and those that did not.

    Attributes:
        rows: ``line`` (Int64) and one String column a name.
        rejects: ``line``, ``reason``, ``text``.
    """

    rows: pl.DataFrame
    rejects: pl.DataFrame


def split_columns(
    lines: pl.DataFrame, names: Sequence[str], *, separator: str = "\t", optional_tail: int = 0
) -> SplitLines:
    """Split ``lines`` (``line``, ``text``) at ``separator`` into the columns ``names``.

    Args:
        lines: As ``TextFile.lines``, header and comment lines already taken out.
        names: Column names in file order.
        separator: Literal separator.
        optional_tail: How many of the last columns a line may lack (they become null).
    """
    wanted = len(names)
    undecodable = pl.col("text").str.contains("\ufffd", literal=True) | pl.col("text").str.contains(
        "\x00", literal=True
    )
    count = pl.col("text").str.count_matches(separator, literal=True) + 1
    wrong = ~count.is_between(wanted - optional_tail, wanted)
    reason = (
        pl.when(undecodable)
        .then(pl.lit("bytes that are not UTF-8 text"))
        .when(wrong)
        .then(pl.format("{} columns instead of {}", count, pl.lit(str(wanted))))
    )
    judged = lines.with_columns(reason.alias("reason"))
    good = judged.filter(pl.col("reason").is_null())
    fields = pl.col("text").str.split_exact(separator, wanted - 1).struct.rename_fields(list(names))
    rows = good.select("line", fields.alias("fields")).unnest("fields")
    return SplitLines(rows, _shown(judged.filter(pl.col("reason").is_not_null())))


def reject_where(rows: pl.DataFrame, reasons: Iterable[tuple[pl.Expr, str]]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Part ``rows`` into those that pass and rejects (``line``, ``reason``, ``text``); the first reason counts.

    Args:
        rows: Has ``line`` and String columns.
        reasons: Pairs of a condition that is true for bad rows (null counts as bad) and a short reason.
    """
    verdict = pl.lit(None, dtype=pl.String)
    for condition, reason in reversed(list(reasons)):
        verdict = pl.when(condition.fill_null(value=True)).then(pl.lit(reason)).otherwise(verdict)
    judged = rows.with_columns(verdict.alias("_reason"))
    good = judged.filter(pl.col("_reason").is_null()).drop("_reason")
    bad = judged.filter(pl.col("_reason").is_not_null())
    shown = pl.concat_str(
        [pl.col(name).cast(pl.String) for name in rows.columns if name != "line"], separator="\t", ignore_nulls=True
    )
    return good, _shown(bad.select("line", pl.col("_reason").alias("reason"), shown.alias("text")))


def _shown(rejects: pl.DataFrame) -> pl.DataFrame:
    return rejects.select("line", "reason", pl.col("text").str.slice(0, _SHOWN))


def rejects_table(parts: Iterable[pl.DataFrame], *, provider: str, import_run: str, file: str) -> pl.DataFrame:
    """Join the rejects of one file into rows of the release's rejects table."""
    frame = pl.concat([pl.DataFrame(schema={"line": pl.Int64, "reason": pl.String, "text": pl.String}), *parts])
    constants = {"provider": provider, "import_run": import_run, "file": file}
    return schema.conform("rejects", frame.with_columns(pl.lit(value).alias(key) for key, value in constants.items()))
