"""Coverage of PerturbQA's real training rows, with HGNC's real names."""

from __future__ import annotations

from pathlib import Path

import pytest

from aroma.importers.hgnc import HgncImporter
from aroma.kgstore.coverage import coverage
from aroma.kgstore.resolver import GeneResolver
from tests.support.genes import read

SHARED = Path(__file__).parents[3] / "shared"


@pytest.mark.real_data
@pytest.mark.skipif(not (SHARED / "perturbqa").is_dir(), reason="../shared is not there")
def test_perturbqas_names_are_nearly_all_known() -> None:
    batch = read(HgncImporter(), *sorted((SHARED / "kgdata" / "hgnc").iterdir()))
    assert batch.nodes is not None
    assert batch.gene_names is not None
    found = coverage(SHARED / "perturbqa", GeneResolver.from_tables(batch.nodes, batch.gene_names))
    assert (found.rows, found.rows_resolved) == (498438, 497817)
    assert (found.names, found.names_resolved) == (10611, 10608)
    assert len(found.once_anothers) == 61
    assert {row["name"]: row["reason"] for row in found.unresolved} == {
        "QARS": "ambiguous",
        "AC118549.1": "unknown",
        "GATD3B": "withdrawn",
    }
