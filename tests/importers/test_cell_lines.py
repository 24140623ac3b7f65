"""Cell lines: the bundled table, and a lab's own in its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from aroma.errors import InputFileError
from aroma.importers.cell_lines import CellLineImporter
from tests.support.genes import read


def test_the_bundled_table_has_perturbqas_four_lines() -> None:
    assert CellLineImporter.bundled is not None
    batch = read(CellLineImporter(), CellLineImporter.bundled)
    assert batch.nodes is not None
    assert batch.descriptions is not None
    assert dict(batch.nodes.select("symbol", "id").rows()) == {
        "K562": "Cellosaurus:CVCL_0004",
        "HepG2": "Cellosaurus:CVCL_0027",
        "Jurkat": "Cellosaurus:CVCL_0065",
        "RPE1": "Cellosaurus:CVCL_4388",
    }
    assert batch.descriptions.height == 4
    assert all(text.endswith(".") for text in batch.descriptions["text"])
    assert batch.rejects.is_empty()


def test_a_labs_own_table_needs_only_accession_and_name(tmp_path: Path) -> None:
    path = tmp_path / "cell_lines_lab.tsv"
    path.write_text("accession\tname\nCVCL_0030\tHeLa\nHeLa\tHeLa\nCVCL_0031\t\nCVCL_0030\tagain\n")
    batch = read(CellLineImporter(), path)
    assert batch.nodes is not None
    assert batch.nodes.select("id", "symbol", "synonyms").rows() == [("Cellosaurus:CVCL_0030", "HeLa", [])]
    assert batch.rejects.select("line", "reason").rows() == [
        (3, "accession is not CVCL_ and 4 signs"),
        (4, "no name"),
        (5, "accession stands on an earlier line"),
    ]
    assert batch.descriptions is not None
    assert batch.descriptions.is_empty()


def test_a_table_without_names_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cell_lines.tsv"
    path.write_text("accession\tdescription\nCVCL_0030\tx\n")
    with pytest.raises(InputFileError, match="no column name"):
        read(CellLineImporter(), path)
