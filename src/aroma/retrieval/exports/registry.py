"""Which formats there are. Names map to classes that are imported when first needed."""

from __future__ import annotations

import difflib
from importlib import import_module
from typing import Final, cast

from aroma.errors import UsageError
from aroma.retrieval.exports.base import Exporter

FORMATS: Final[dict[str, str]] = {
    "biolink-jsonl": "aroma.retrieval.exports.kgx:BiolinkJsonl",
    "cellhermes": "aroma.retrieval.exports.cellhermes:CellHermes",
    "gears": "aroma.retrieval.exports.go_graph:Gears",
    "gene-benchmark": "aroma.retrieval.exports.vector_files:GeneBenchmark",
    "genept": "aroma.retrieval.exports.state:GenePT",
    "kgx": "aroma.retrieval.exports.kgx:Kgx",
    "neo4j-admin": "aroma.retrieval.exports.neo4j_admin:Neo4jAdmin",
    "networkx": "aroma.retrieval.exports.networkx:NetworkX",
    "pyg": "aroma.retrieval.exports.pyg:PyG",
    "rdf": "aroma.retrieval.exports.rdf:Rdf",
    "state": "aroma.retrieval.exports.state:State",
    "txpert": "aroma.retrieval.exports.go_graph:TxPert",
    "vectors-anndata": "aroma.retrieval.exports.vector_files:VectorsAnnData",
    "vectors-parquet": "aroma.retrieval.exports.vector_files:VectorsParquet",
    "vcworld": "aroma.retrieval.exports.vcworld:VCWorld",
}
"""Name of a format to ``module:Class``; the modules import without any extra."""


def exporter(name: str) -> Exporter:
    """Return the exporter of a format.

    Raises:
        UsageError: There is no such format; the message names the nearest one.
    """
    if name not in FORMATS:
        near = difflib.get_close_matches(name, FORMATS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(FORMATS))}"
        raise UsageError(f"no export format is called {name!r}; {hint}")
    module, _, class_name = FORMATS[name].partition(":")
    return cast("Exporter", getattr(import_module(module), class_name)())


def exporters() -> list[Exporter]:
    """Return all exporters, sorted by name."""
    return [exporter(name) for name in sorted(FORMATS)]
