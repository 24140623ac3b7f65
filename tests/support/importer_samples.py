"""The sample files of every importer, and reading them the way that a build does."""

from __future__ import annotations

import gzip
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import polars as pl

import aroma
from aroma.importers.base import ImportBatch, ImportContext, Importer, ProviderFile
from aroma.importers.discover import discover, provider_file
from aroma.importers.registry import importers, reading_order
from aroma.kgstore import schema
from aroma.kgstore.resolver import GeneResolver

PACKAGE_SAMPLES = Path(aroma.__file__).parent / "samples"
TEST_SAMPLES = Path(__file__).parent.parent / "samples"
FOLDERS = {"gene_ontology": "go"}
"""Providers whose samples stand in a folder of another name."""

TABLES = ("runs", "rejects", "nodes", "edges", "statements", "gene_names", "descriptions", "sequences", "unresolved")
_OF_THE_FILE = {"file", "bytes", "sha256", "retrieved_at"}
_HASH = re.compile(r"\.[0-9a-f]{12}\b")


def sample_folder(provider: str) -> Path | None:
    """Return the folder that holds a provider's sample files."""
    for root in (PACKAGE_SAMPLES, TEST_SAMPLES):
        for name in (provider, FOLDERS.get(provider, provider)):
            if (root / name).is_dir():
                return root / name
    return None


def how_to_add(provider: str) -> str:
    """Say what a newcomer has to add."""
    return (
        f"the importer {provider!r} has no sample: write a small file in the provider's own format, named as the "
        f"provider names it, to tests/samples/{provider}/ (or src/aroma/samples/{provider}/ if the demo reads it)"
    )


def has_sample(provider: str) -> bool:
    """Tell whether a provider has sample files."""
    return sample_folder(provider) is not None or importers()[provider].bundled is not None


@cache
def sample_files(provider: str) -> tuple[ProviderFile, ...]:
    """Return the sample files that a build would read."""
    importer = importers()[provider]
    folder = sample_folder(provider)
    if folder is not None:
        return discover(folder, importers={provider: importer}).selected[provider]
    if importer.bundled is not None:
        kind = importer.files[0]
        return (provider_file(importer, kind, importer.bundled),)
    raise AssertionError(how_to_add(provider))


@dataclass(frozen=True)
class Sampled:
    """One provider's samples as read: the importer, what it got, what it gave."""

    importer: Importer
    files: tuple[ProviderFile, ...]
    context: ImportContext
    batch: ImportBatch


@cache
def all_sampled() -> Mapping[str, Sampled]:
    """Read every provider's samples in a build's order."""
    read: dict[str, Sampled] = {}
    resolver = GeneResolver(schema.empty("gene_names"), {})
    for name in reading_order(importers()):
        importer = importers()[name]
        batches = [one.batch for one in read.values()]
        nodes = {one.batch.provider: one.batch.nodes for one in read.values() if one.batch.nodes is not None}
        context = ImportContext(resolver, nodes=nodes)
        if not has_sample(name):
            continue  # its own tests say so
        files = sample_files(name)
        batch = importer.read(files, context)
        read[name] = Sampled(importer, files, context, batch)
        if batch.gene_names is not None:
            resolver = resolver_of([*batches, batch])
    return read


def resolver_of(batches: list[ImportBatch]) -> GeneResolver:
    """Return a resolver over the names of ``batches``, as a build makes it."""
    names = pl.concat([batch.gene_names for batch in batches if batch.gene_names is not None])
    nodes = all_nodes(batches)
    genes = nodes.filter((pl.col("label") == str(schema.Label.GENE)) & pl.col("symbol").is_not_null())
    return GeneResolver(names, dict(genes.select("id", "symbol").iter_rows()))


def all_nodes(batches: list[ImportBatch]) -> pl.DataFrame:
    """Return the nodes of all batches."""
    return pl.concat([schema.empty("nodes"), *(batch.nodes for batch in batches if batch.nodes is not None)])


def copied(
    files: tuple[ProviderFile, ...], directory: Path, replaced: Mapping[Path, bytes]
) -> tuple[ProviderFile, ...]:
    """Copy ``files`` into ``directory``, with other bytes for some."""
    moved = []
    for file in files:
        path = directory / file.path.name
        if file.path in replaced:
            path.write_bytes(replaced[file.path])
        else:
            shutil.copyfile(file.path, path)
        moved.append(ProviderFile(path, file.kind, file.version, file.version_found))
    return tuple(moved)


def plain_bytes(path: Path) -> bytes:
    """Return a file's text, decompressed where it is gzip."""
    raw = path.read_bytes()
    return gzip.decompress(raw) if raw.startswith(b"\x1f\x8b") else raw


def text_lines(path: Path) -> list[str]:
    """Return a file's lines without line ends."""
    return [line.removesuffix("\r") for line in plain_bytes(path).decode().removesuffix("\n").split("\n")]


def comparable(batch: ImportBatch) -> dict[str, list[str]]:
    """Return every table's rows as sorted text, without what names the file's bytes (hash, name, time)."""
    tables = {name: getattr(batch, name) for name in (*TABLES, "outcomes")}
    return {
        name: sorted(
            _HASH.sub("", row) for row in frame.drop(set(frame.columns) & _OF_THE_FILE).write_ndjson().splitlines()
        )
        for name, frame in tables.items()
        if frame is not None
    }
