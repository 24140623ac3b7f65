"""Sample files that importers are tried on, and small variations of them."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from aroma.importers.base import ImportBatch, ImportContext, Importer, ImportOptions, ProviderFile
from aroma.importers.hgnc import HgncImporter
from aroma.kgstore import schema
from aroma.kgstore.resolver import GeneResolver

ROOT = Path(__file__).parents[2]
BUNDLED = ROOT / "src" / "aroma" / "samples"
SAMPLES = ROOT / "tests" / "samples"
REAL = ROOT / ".." / "shared" / "kgdata"


def as_file(importer: Importer, path: Path) -> ProviderFile:
    """Recognise a file by its name, as a build does."""
    for kind in importer.files:
        match = kind.pattern.fullmatch(path.name) or kind.pattern.fullmatch(path.name.removesuffix(".gz"))
        if match:
            return ProviderFile(path, kind.kind, match.groupdict().get("version") or "undated", "file name")
    raise AssertionError(f"{path.name} is no file of {importer.card.name}")


@cache
def resolver() -> GeneResolver:
    """Resolver over the bundled HGNC sample."""
    return resolver_of(BUNDLED / "hgnc")


@cache
def resolver_of(directory: Path) -> GeneResolver:
    """Resolver over the HGNC files of a directory."""
    hgnc = HgncImporter()
    paths = [
        path
        for path in sorted(directory.iterdir())
        if re.match(r"(hgnc_complete_set|withdrawn)\..*(txt|gz)$", path.name)
    ]
    files = tuple(as_file(hgnc, path) for path in paths)
    batch = hgnc.read(files, ImportContext(GeneResolver(schema.empty("gene_names"), {})))
    assert batch.nodes is not None
    assert batch.gene_names is not None
    return GeneResolver.from_tables(batch.nodes, batch.gene_names)


def read(
    importer: Importer, *paths: Path, genes: GeneResolver | None = None, **options: tuple[str, ...]
) -> ImportBatch:
    """Read files with an importer as a build does: choose, then read."""
    files = importer.select(tuple(as_file(importer, path) for path in paths))
    return importer.read(files, ImportContext(genes or resolver(), ImportOptions(**options)))


def gene(symbol: str) -> str:
    """Node id of a gene of the sample."""
    found = resolver().resolve(symbol).gene
    assert found is not None, symbol
    return found


def run_of(batch: ImportBatch, kind: str) -> dict[str, object]:
    """The import run of one file kind as a dictionary."""
    (row,) = (row for row in batch.runs.iter_rows(named=True) if row["kind"] == kind)
    return row


def adds_up(batch: ImportBatch) -> bool:
    """Every row that was read is accepted, rejected, unresolved or set aside, and each reject is kept."""
    totals = all(
        row["rows_read"] == row["accepted"] + row["rejected"] + row["unresolved"] + row["set_aside"]
        for row in batch.runs.iter_rows(named=True)
    )
    kept = all(
        batch.rejects.filter(batch.rejects["import_run"] == row["id"]).height == row["rejected"]
        for row in batch.runs.iter_rows(named=True)
    )
    return totals and kept
