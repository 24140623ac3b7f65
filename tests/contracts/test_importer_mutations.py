"""Sample files damaged at random: an error that names the file, or counted rejects with the other rows kept.

Each case is made from its seed alone. ``AROMA_MUTATIONS`` is how many a provider gets (200; ``make test-full``: 2,000);
``AROMA_MUTATION_SEED=string:17`` runs that one again.
"""

from __future__ import annotations

import gzip
import os
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from aroma.errors import InputFileError
from aroma.importers.base import ImportBatch
from aroma.importers.registry import importers
from aroma.kgstore import schema
from tests.support.importer_samples import TABLES, Sampled, all_sampled, copied, has_sample, how_to_add, plain_bytes

MUTATIONS = int(os.environ.get("AROMA_MUTATIONS", "200"))
ONLY = os.environ.get("AROMA_MUTATION_SEED", "")
PROVIDERS = tuple(importers())
NUMBERS = (b"-1", b"0", b"1e9", b"NaN", b"99999999999999999999", b"", b"1.5", b"\xd9\xa1\xd9\xa2", b"0x1F")
JUNK = (b"\x00", b"\xff\xfe", b"\xc3", b"\xed\xa0\x80", b'"', b"\x1f", b"\r", b"\t\t\t", b"\\N", "\u2028".encode())


@dataclass
class Mutant:
    """A damaged file: its bytes, and the original lines (zero-based) that were not touched; None for the whole."""

    data: bytes
    touched: frozenset[int] | None
    how: str


Edit = Callable[[random.Random, list[bytes], int], list[bytes]]
"""From the line at an index to the lines that stand in its place."""


def _separator(line: bytes) -> bytes:
    return next((mark for mark in (b"\t", b",", b" ") if mark in line), b" ")


def _fields(change: Callable[[random.Random, list[bytes]], list[bytes]]) -> Edit:
    def edit(rng: random.Random, lines: list[bytes], index: int) -> list[bytes]:
        mark = _separator(lines[index])
        return [mark.join(change(rng, lines[index].split(mark)))]

    return edit


def _delete_field(rng: random.Random, fields: list[bytes]) -> list[bytes]:
    del fields[rng.randrange(len(fields))]
    return fields


def _duplicate_field(rng: random.Random, fields: list[bytes]) -> list[bytes]:
    place = rng.randrange(len(fields))
    return [*fields[:place], fields[place], *fields[place:]]


def _swap_fields(rng: random.Random, fields: list[bytes]) -> list[bytes]:
    one, other = rng.randrange(len(fields)), rng.randrange(len(fields))
    fields[one], fields[other] = fields[other], fields[one]
    return fields


def _empty_field(rng: random.Random, fields: list[bytes]) -> list[bytes]:
    fields[rng.randrange(len(fields))] = b""
    return fields


def _number(rng: random.Random, fields: list[bytes]) -> list[bytes]:
    places = [place for place, field in enumerate(fields) if any(48 <= byte <= 57 for byte in field)] or [0]
    fields[rng.choice(places)] = rng.choice(NUMBERS)
    return fields


def _junk_field(rng: random.Random, fields: list[bytes]) -> list[bytes]:
    fields[rng.randrange(len(fields))] = bytes(rng.randrange(256) for _ in range(rng.randrange(1, 30))).replace(
        b"\n", b""
    )
    return fields


def _flip(rng: random.Random, lines: list[bytes], index: int) -> list[bytes]:
    line = bytearray(lines[index] or b" ")
    for _ in range(rng.randrange(1, 4)):
        line[rng.randrange(len(line))] ^= 1 << rng.randrange(8)
    return [bytes(line)]


def _insert(rng: random.Random, lines: list[bytes], index: int) -> list[bytes]:
    line = lines[index]
    place = rng.randrange(len(line) + 1)
    return [line[:place] + rng.choice(JUNK) + line[place:]]


def _long(rng: random.Random, lines: list[bytes], index: int) -> list[bytes]:
    return [lines[index] + rng.choice((b"A", b"\t", b"|", b";", b"(")) * rng.choice((5_000, 100_000))]


def _cut(rng: random.Random, lines: list[bytes], index: int) -> list[bytes]:
    return [lines[index][: rng.randrange(len(lines[index]) + 1)]]


def _split(rng: random.Random, lines: list[bytes], index: int) -> list[bytes]:
    place = rng.randrange(len(lines[index]) + 1)
    return [lines[index][:place], lines[index][place:]]


def _other_line(rng: random.Random, lines: list[bytes], index: int) -> list[bytes]:
    return [rng.choice(lines)]


EDITS: tuple[tuple[str, Edit], ...] = (
    ("flip bits", _flip),
    ("insert bytes", _insert),
    ("delete a field", _fields(_delete_field)),
    ("duplicate a field", _fields(_duplicate_field)),
    ("swap fields", _fields(_swap_fields)),
    ("empty a field", _fields(_empty_field)),
    ("change a number", _fields(_number)),
    ("junk in a field", _fields(_junk_field)),
    ("very long line", _long),
    ("cut a line", _cut),
    ("split a line", _split),
    ("delete a line", lambda _rng, _lines, _index: []),
    ("blank line", lambda _rng, lines, index: [lines[index], b""]),
    ("duplicate a line", lambda _rng, lines, index: [lines[index], lines[index]]),
    ("another line in its place", _other_line),
)


def _of_lines(rng: random.Random, data: bytes) -> Mutant:
    lines = data.split(b"\n")
    touched = frozenset(rng.randrange(len(lines)) for _ in range(rng.choice((1, 1, 1, 2, 5))))
    done = []
    made: list[bytes] = []
    for index, line in enumerate(lines):
        if index not in touched:
            made.append(line)
            continue
        name, edit = rng.choice(EDITS)
        done.append(f"{name} (line {index + 1})")
        made += edit(rng, lines, index)
    return Mutant(b"\n".join(made), touched, ", ".join(done))


def _of_the_whole(rng: random.Random, data: bytes) -> Mutant:
    lines = data.split(b"\n")
    shuffled = [lines[0], *rng.sample(lines[1:], len(lines) - 1)]
    packed = bytearray(gzip.compress(data, mtime=0))
    packed[rng.randrange(len(packed))] ^= 1 << rng.randrange(8)
    whole = gzip.compress(data, mtime=0)
    kinds = {
        "cut off": data[: rng.randrange(len(data))],
        "cut off gzip": whole[: rng.randrange(len(whole))],
        "bit flipped in gzip": bytes(packed),
        "CRLF": data.replace(b"\n", b"\r\n"),
        "CR": data.replace(b"\n", b"\r"),
        "byte order mark": b"\xef\xbb\xbf" + data,
        "UTF-16": data.decode(errors="replace").encode("utf-16"),
        "lines in another order": b"\n".join(shuffled),
        "twice": data + data,
        "without header": b"\n".join(lines[1:]),
        "header only": lines[0] + b"\n",
        "other separator": data.replace(b"\t", b",") if b"\t" in data else data.replace(b" ", b"\t"),
    }
    name = rng.choice(sorted(kinds))
    return Mutant(kinds[name], None, name)


def mutate(rng: random.Random, data: bytes) -> Mutant:
    """Damage a file: mostly single lines, sometimes the whole."""
    return _of_the_whole(rng, data) if rng.random() < 0.2 else _of_lines(rng, data)


def _seeds(provider: str) -> list[str]:
    if ONLY:
        return [ONLY] if ONLY.startswith(f"{provider}:") else []
    return [f"{provider}:{number}" for number in range(MUTATIONS)]


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("provider", PROVIDERS)
def test_damaged_files_give_an_error_or_counted_rejects(provider: str, tmp_path: Path) -> None:
    assert has_sample(provider), how_to_add(provider)
    one = all_sampled()[provider]
    originals = {file.path: plain_bytes(file.path) for file in one.files}
    failures = [failure for seed in _seeds(provider) if (failure := _failure(seed, one, originals, tmp_path))]
    assert not failures, f"{len(failures)} of {MUTATIONS}; run one again with AROMA_MUTATION_SEED:\n" + "\n".join(
        failures[:20]
    )


def _failure(seed: str, one: Sampled, originals: dict[Path, bytes], directory: Path) -> str | None:
    """Run one case; return what is wrong with how the importer took it, or None."""
    rng = random.Random(seed)
    victim = rng.choice(sorted(originals))
    mutant = mutate(rng, originals[victim])
    files = copied(one.files, directory, {victim: mutant.data})
    place = f"{seed}, {victim.name}, {mutant.how}"
    try:
        batch = one.importer.read(files, one.context)
    except InputFileError as error:
        return None if str(directory) in str(error) else f"{place}: the error names no file: {error}"
    except Exception as error:
        if ONLY:
            raise
        return f"{place}: {type(error).__name__}: {str(error)[:200]}"
    problem = _table_problem(batch) or _lost_rows(one, batch, victim, mutant)
    return f"{place}: {problem}" if problem else None


def _table_problem(batch: ImportBatch) -> str | None:
    """Return how the tables break the contract, or None."""
    for name in TABLES:
        frame = getattr(batch, name)
        if frame is None:
            continue
        spec = schema.TABLES["import_runs" if name == "runs" else name]
        if dict(frame.schema) != spec.columns:
            return f"{name} has other columns or types"
        if frame.select(spec.key).is_duplicated().any():
            return f"{name}: its key {spec.key} is not unique"
    rejected = {run: count for run, count in batch.runs.select("id", "rejected").iter_rows() if count}
    if rejected != dict(Counter(batch.rejects["import_run"])):
        return "the counts of rejects do not fit the rejects table"
    return None


def _lost_rows(one: Sampled, batch: ImportBatch, victim: Path, mutant: Mutant) -> str | None:
    """Return a complaint when good rows were lost with the bad ones.

    Each damaged line may cost itself and one other (a duplicate of it, or the record of several lines it was in).
    """
    if mutant.touched is None or 0 in mutant.touched or one.batch.statements is None or batch.statements is None:
        return None
    run = one.batch.runs.row(by_predicate=_run_of(victim), named=True)["id"]
    before = one.batch.statements
    lines = set(before.filter(before["import_run"] == run)["line"])
    damaged = {line for line in lines if line - 1 in mutant.touched}
    if victim.name.removesuffix(".gz").endswith((".obo", ".fasta")):
        return None
    told = Counter(_said(batch.statements))
    missing = Counter(_said(before.filter(before["import_run"] == run)))
    lost = sum((missing - told).values())
    per_line = max(Counter(before["line"]).values(), default=1)
    allowed = per_line * 2 * max(len(mutant.touched), len(damaged))
    return f"{lost} good statements are lost" if lost > allowed else None


def _run_of(path: Path):
    import polars as pl

    return pl.col("file") == path.name


def _said(statements) -> list[tuple[object, ...]]:
    return statements.select("relation", "original_subject", "original_object", "evidence", "reference").rows()


def test_a_hundred_seeds_damage_the_file_in_many_ways() -> None:
    data = b"a\tb\n" + b"1\tx\n" * 50
    made = [mutate(random.Random(f"check:{number}"), data) for number in range(300)]
    assert sum(mutant.data != data for mutant in made) > 270
    assert {name for name, _ in EDITS} <= {name.rsplit(" (line", 1)[0] for one in made for name in one.how.split(", ")}
