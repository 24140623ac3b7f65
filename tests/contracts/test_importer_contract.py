"""The exam of every importer: registered ones sit it without a line of their own, given a sample file.

A new provider: one module with an ``Importer`` in ``aroma.importers.registry`` (or an entry point of its own package)
and one sample in ``tests/samples/<provider>/``. What fails here says what is missing.
"""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from aroma.errors import InputFileError
from aroma.importers.base import ProviderFile
from aroma.importers.discover import human_pattern, matches
from aroma.importers.registry import importers
from aroma.kgstore import schema
from tests.support.importer_samples import (
    TABLES,
    Sampled,
    all_nodes,
    all_sampled,
    comparable,
    copied,
    has_sample,
    how_to_add,
    plain_bytes,
    sample_files,
    sample_folder,
    text_lines,
)

PROVIDERS = tuple(importers())
FILES = tuple(dict.fromkeys((name, file.kind) for name in PROVIDERS if has_sample(name) for file in sample_files(name)))
STANZAS = (".obo", ".fasta")
"""Formats in which one record takes several lines."""

each_provider = pytest.mark.parametrize("provider", PROVIDERS)
each_file = pytest.mark.parametrize(("provider", "kind"), FILES)


def sampled(provider: str) -> Sampled:
    assert has_sample(provider), how_to_add(provider)
    return all_sampled()[provider]


def is_table(path: Path) -> bool:
    return not path.name.removesuffix(".gz").endswith(STANZAS)


def by_run(one: Sampled) -> dict[str, ProviderFile]:
    """Sample files by the id of their import run."""
    names = {file.path.name: file for file in one.files}
    return {run: names[name] for run, name in one.batch.runs.select("id", "file").iter_rows()}


@each_provider
def test_card_is_complete(provider: str) -> None:
    importer = importers()[provider]
    card = importer.card
    for field in ("name", "title", "homepage", "licence", "licence_url"):
        assert getattr(card, field), f"{type(importer).__name__}.card.{field} is empty"
    assert card.name == provider
    assert card.homepage.startswith("https://"), "card.homepage is the provider's web address"
    assert card.licence_url.startswith("https://"), "card.licence_url is where the licence can be read"
    assert isinstance(card.commercial_use, bool)
    assert importer.parser_version, "parser_version starts at '1'"
    assert importer.files, "files names at least one FileKind"
    kinds = [kind.kind for kind in importer.files]
    assert len(kinds) == len(set(kinds)), f"two kinds of file have one name: {kinds}"
    assert (importer.read.__doc__ or "").strip(), "read() says in its docstring what it makes of the files"


@each_provider
def test_sample_is_there_and_named_as_the_provider_names_it(provider: str) -> None:
    importer = importers()[provider]
    folder = sample_folder(provider)
    assert folder is not None or importer.bundled is not None, how_to_add(provider)
    files = sample_files(provider)
    for kind in importer.files:
        if kind.required and not kind.group:
            assert kind.kind in {file.kind for file in files}, (
                f"no sample of {provider}'s kind {kind.kind!r}: add a file named {human_pattern(kind)} to {folder}"
            )
    for file in files:
        fits = [kind.kind for kind in importer.files if matches(kind, file.path.name)]
        assert fits == [file.kind], f"{file.path.name} fits the patterns of {fits}; make them exclude each other"
        assert file.path.stat().st_size < 200_000, f"{file.path} is large for a sample; a few dozen rows are enough"


@each_provider
def test_tables_have_the_schemas_columns(provider: str) -> None:
    batch = sampled(provider).batch
    assert batch.provider == provider
    for name in TABLES:
        frame = getattr(batch, name)
        table = "import_runs" if name == "runs" else name
        if frame is None:
            continue
        spec = schema.TABLES[table]
        assert dict(frame.schema) == spec.columns, f"{name}: build it with schema.conform({table!r}, frame)"
        repeated = frame.group_by(spec.key).len().filter(pl.col("len") > 1)
        assert repeated.is_empty(), f"{name}: the key {spec.key} is not unique: {repeated.head(3).rows()}"
    assert batch.runs.height == len(sampled(provider).files), "one import run a file"
    assert set(batch.runs["provider"]) == {provider}


@each_provider
def test_sample_yields_something(provider: str) -> None:
    batch = sampled(provider).batch
    frames = [batch.nodes, batch.edges, batch.gene_names, batch.outcomes]
    assert any(frame is not None and frame.height for frame in frames), "nothing of the sample is accepted"
    assert batch.runs["accepted"].sum() > 0


@each_provider
def test_provenance_is_complete(provider: str) -> None:
    one = sampled(provider)
    runs = set(one.batch.runs["id"])
    for name in ("nodes", "edges"):
        frame = getattr(one.batch, name)
        if frame is None:
            continue
        for column in ("provider", "provider_release", "licence"):
            assert frame[column].null_count() == 0, f"{name}.{column} is missing in some rows"
        assert set(frame["provider"]) <= {provider}
    for name in ("nodes", "statements", "rejects", "unresolved", "gene_names"):
        frame = getattr(one.batch, name)
        if frame is not None:
            unknown = set(frame["import_run"].drop_nulls()) - runs
            assert not unknown, f"{name}.import_run names runs that are not in runs: {unknown}"


@each_provider
def test_every_statement_is_a_line_of_its_file(provider: str) -> None:
    one = sampled(provider)
    statements = one.batch.statements
    if statements is None:
        return
    texts = {run: text_lines(file.path) for run, file in by_run(one).items()}
    wanted = statements.select("id", "import_run", "line", "original_subject", "original_object")
    for key, run, line, subject, target in wanted.iter_rows():
        lines = texts[run]
        assert 1 <= line <= len(lines), f"statement {key}: the file has {len(lines)} lines"
        assert key == f"{run}:{line}" or key.startswith(f"{run}:{line}."), f"statement {key} is not '<run>:<line>'"
        text = _record(lines, line)
        for original in (subject, target):
            assert original, f"statement {key} lacks the provider's own identifier"
            local = original.partition(":")[2]  # "UniProtKB:O00294" stands as two columns in GAF, as one in Reactome
            assert original in text or (local and local in text), (
                f"statement {key}: {original!r} does not stand in line {line}: {text[:200]!r}"
            )


def _record(lines: list[str], line: int) -> str:
    """Return the line, with those of its stanza that stand before it where the file has stanzas."""
    start = line - 1
    if any(text.startswith(("[Term]", "[Typedef]")) for text in lines):
        while start > 0 and lines[start - 1].strip():
            start -= 1
    return "\n".join(lines[start:line])


@each_provider
def test_edges_and_statements_say_the_same(provider: str) -> None:
    batch = sampled(provider).batch
    if batch.edges is None:
        assert batch.statements is None or batch.statements.is_empty(), "statements without edges"
        return
    assert batch.statements is not None, "edges without statements"
    for name in ("evidence", "references", "qualifiers"):
        parallel = (pl.col(name).list.len() == pl.col("statements").list.len()).all()
        assert batch.edges.select(parallel).item(), f"edges.{name} is not parallel to edges.statements"
    told = batch.edges.explode("statements").select("subject", "relation", "object", pl.col("statements").alias("id"))
    known = batch.statements.select("subject", "relation", "object", "id")
    assert sorted(told.rows()) == sorted(known.rows()), "use kgstore.assemble.edges_from_statements"


@each_provider
def test_every_end_of_an_edge_is_a_node_of_the_right_label(provider: str) -> None:
    edges = sampled(provider).batch.edges
    if edges is None:
        return
    labels = dict(all_nodes([one.batch for one in all_sampled().values()]).select("id", "label").iter_rows())
    for subject, relation, target in edges.select("subject", "relation", "object").iter_rows():
        ends = schema.RELATION_ENDS[schema.Relation(relation)]
        for end, allowed in ((subject, ends.subjects), (target, ends.objects)):
            assert end in labels, (
                f"{subject} {relation} {target}: {end} is no node of the samples; if it is a gene, use one that the "
                "sample of hgnc has, or add it there"
            )
            assert labels[end] in allowed, f"{subject} {relation} {target}: {end} is a {labels[end]}, not {allowed}"
        if ends.symmetric:
            assert subject < target, f"{relation} is symmetric: {subject} {target} is stored smaller id first"


@each_provider
def test_no_row_is_lost_unseen(provider: str) -> None:
    one = sampled(provider)
    files = by_run(one)
    for run in one.batch.runs.iter_rows(named=True):
        told = run["accepted"] + run["rejected"] + run["unresolved"] + run["set_aside"]
        assert run["rows_read"] == told
        if not is_table(files[run["id"]].path):
            assert 0 < run["rows_read"] <= len(text_lines(files[run["id"]].path))
            continue
        rows = [text for text in text_lines(files[run["id"]].path) if text.strip() and text[0] not in "#!"]
        assert run["rows_read"] in {len(rows), len(rows) - 1}, (
            f"{run['file']} has {len(rows)} lines (one may be the header), but {run['rows_read']} are accounted for"
        )
    rejects = Counter(one.batch.rejects["import_run"])
    assert {run: count for run, count in one.batch.runs.select("id", "rejected").iter_rows() if count} == dict(rejects)


@each_provider
def test_reading_twice_gives_the_same_tables(provider: str) -> None:
    one = sampled(provider)
    again = one.importer.read(one.files, one.context)
    for name in (*TABLES, "outcomes"):
        first, second = getattr(one.batch, name), getattr(again, name)
        assert (first is None) == (second is None)
        assert first is None or first.equals(second), f"{name} differs when the same file is read again"
    assert dict(one.batch.reports) == dict(again.reports)


def _gzipped(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


def _crlf(data: bytes) -> bytes:
    return data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def _without_last_line_end(data: bytes) -> bytes:
    return data.removesuffix(b"\n").removesuffix(b"\r")


def _with_byte_order_mark(data: bytes) -> bytes:
    return b"\xef\xbb\xbf" + data


@each_provider
@pytest.mark.parametrize("other", [_gzipped, _crlf, _without_last_line_end, _with_byte_order_mark])
def test_how_the_text_is_stored_does_not_matter(provider: str, other: Callable[[bytes], bytes], tmp_path: Path) -> None:
    one = sampled(provider)
    changed = {file.path: other(plain_bytes(file.path)) for file in one.files}
    batch = one.importer.read(copied(one.files, tmp_path, changed), one.context)
    assert comparable(batch) == comparable(one.batch)


def _empty(data: bytes) -> bytes:
    return b""


def _truncated_gzip(data: bytes) -> bytes:
    whole = gzip.compress(data)
    return whole[: len(whole) * 2 // 3]


def _page(data: bytes) -> bytes:
    return b"<!DOCTYPE html>\n<html><body>503 Service Unavailable</body></html>\n"


def _prose(data: bytes) -> bytes:
    return b"This is a letter, not data.\nIt has some lines,\nand none of them is a row.\n" * 5


def _binary(data: bytes) -> bytes:
    return bytes(range(256)) * 20


@each_file
@pytest.mark.parametrize("bad", [_empty, _truncated_gzip, _page, _prose, _binary])
def test_what_is_not_the_providers_file_is_refused(
    provider: str, kind: str, bad: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    _refused(provider, kind, bad, tmp_path)


_OTHER_SPECIES = (
    (b"Homo sapiens", b"Mus musculus"),
    (b"\tHuman\t", b"\tMouse\t"),
    (b"R-HSA-", b"R-MMU-"),
    (b"taxon:9606", b"taxon:10090"),
    (b"9606.ENSP", b"10090.ENSMUSP"),
    (b"OX=9606", b"OX=10090"),
    (b"\t9606\t", b"\t10090\t"),
)


def _mouse(data: bytes) -> bytes:
    for ours, theirs in _OTHER_SPECIES:
        data = data.replace(ours, theirs)
    return data


@each_file
def test_another_species_only_is_refused(provider: str, kind: str, tmp_path: Path) -> None:
    (path,) = [file.path for file in sample_files(provider) if file.kind == kind][:1]
    data = plain_bytes(path)
    marked = sum(any(ours in line for ours, _ in _OTHER_SPECIES) for line in data.splitlines())
    if marked < len(data.splitlines()) / 10:
        pytest.skip("this file does not name a species")
    _refused(provider, kind, _mouse, tmp_path)


def _refused(provider: str, kind: str, bad: Callable[[bytes], bytes], tmp_path: Path) -> None:
    one = sampled(provider)
    victim = next(file.path for file in one.files if file.kind == kind)
    files = copied(one.files, tmp_path, {victim: bad(plain_bytes(victim))})
    with pytest.raises(InputFileError) as caught:
        one.importer.read(files, one.context)
    assert str(tmp_path / victim.name) in str(caught.value), "the message names the file"
