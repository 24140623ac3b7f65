"""Reading one provider's files in a test, and the gene names of the bundled sample."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from aroma.importers.base import ImportBatch, ImportContext, Importer
from aroma.importers.discover import provider_file
from aroma.importers.hgnc import HgncImporter
from aroma.kgstore import schema
from aroma.kgstore.resolver import GeneResolver

SAMPLES = Path(str(files("aroma"))) / "samples"


def read(importer: Importer, *paths: Path, resolver: GeneResolver | None = None) -> ImportBatch:
    """Read ``paths`` as discovery would hand them over."""
    found = tuple(
        provider_file(importer, kind, path)
        for path in paths
        for kind in importer.files
        if kind.pattern.fullmatch(path.name)
    )
    assert len(found) == len(paths)
    return importer.read(found, ImportContext(resolver or GeneResolver(schema.empty("gene_names"), {})))


def hgnc_sample() -> ImportBatch:
    """Read the bundled HGNC sample."""
    return read(HgncImporter(), *sorted((SAMPLES / "hgnc").iterdir()))


def sample_resolver() -> GeneResolver:
    """Return the resolver over the bundled HGNC sample."""
    batch = hgnc_sample()
    assert batch.nodes is not None
    assert batch.gene_names is not None
    return GeneResolver.from_tables(batch.nodes, batch.gene_names)
