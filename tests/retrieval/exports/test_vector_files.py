"""Exports of vector sets: the numbers of the set, one protein a gene, licences that stay."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import polars as pl
import pytest

from aroma.errors import IdentifierError, UsageError
from aroma.kgstore.home import Home
from aroma.kgstore.publications import require_published
from aroma.kgstore.releases import load_tables
from aroma.kgstore.tables import ReleaseTables
from aroma.retrieval.exports.base import ExportOptions, open_source
from aroma.retrieval.exports.gene_vectors import gene_symbols
from aroma.retrieval.snapshot import open_snapshot
from aroma.retrieval.structural_set import write_structural_set
from tests.support.homes import home_of_tables
from tests.support.vectors import make_vectors

Export = Callable[..., Any]
VECTORS = {"HGNC:12426": [1.5, -2.25, 0.1], "HGNC:18": [0.5, 0.25, 3e-7], "GO:0006914": [1, 1, 1], "HGNC:20": "no text"}
TULP1, AAMP = VECTORS["HGNC:12426"], VECTORS["HGNC:18"]


@pytest.fixture
def home(export_home: Home, tmp_path: Path) -> Home:
    """The small release with vectors of two genes and a term, by an encoder that CORUM went into."""
    shutil.copytree(export_home.path, tmp_path / "home")
    found = Home(tmp_path / "home")
    licences = {"corum": "CC BY-NC 4.0"}
    make_vectors(found, require_published(found).release, VECTORS, name="toy", kind="text", licences=licences)
    return found


def options(encoder: str = "toy") -> ExportOptions:
    return ExportOptions(encoder=encoder)


def test_parquet_has_ids_symbols_and_the_very_numbers(export: Export, home: Home):
    made = export("vectors-parquet", "genes.parquet", home, options=options())
    table = pl.read_parquet(made.out)
    assert table.schema == {"id": pl.String, "symbol": pl.String, "vector": pl.Array(pl.Float32, 3)}
    assert dict(zip(table["symbol"], table["vector"].to_numpy().tolist(), strict=True)) == {
        "TULP1": np.float32(TULP1).tolist(), "AAMP": np.float32(AAMP).tolist(),
    }  # fmt: skip
    assert made.card["rows"] == {"genes": 2}
    assert any("3 genes of the release have no vector and are left out" in note for note in made.card["notes"])


def test_anndata_goes_into_varm_with_unknown_genes_as_nan(export: Export, home: Home):
    made = export("vectors-anndata", "genes.h5ad", home, options=options())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        vectors = anndata.read_h5ad(made.out)
        cells = anndata.AnnData(np.ones((2, 3)), var=pd.DataFrame(index=["AAMP", "NOTAGENE", "TULP1"]))
    cells.varm["toy"] = vectors.to_df().reindex(cells.var_names).to_numpy()
    assert np.allclose(cells.varm["toy"][[0, 2]], [AAMP, TULP1])
    assert np.isnan(cells.varm["toy"][1]).all()
    assert vectors.obs.loc["TULP1", "id"] == "HGNC:12426"
    assert (vectors.uns["encoder"], vectors.uns["licences"]) == ("toy", {"corum": "CC BY-NC 4.0"})


def test_gene_benchmark_reads_the_csv_as_its_encoder_does(export: Export, home: Home):
    made = export("gene-benchmark", "genes.csv", home, options=options())
    model = pd.read_csv(made.out, index_col="symbol")
    asked = ["TULP1", "NOTAGENE", "AAMP"]
    found = model.loc[[name for name in asked if name in model.index]].reindex(asked).to_numpy()
    assert np.allclose(found[[0, 2]], [TULP1, AAMP], rtol=1e-6)
    assert np.isnan(found[1]).all()


def test_genept_takes_a_vector_set(export: Export, home: Home):
    loaded = json.loads(export("genept", "genes.json", home, options=options()).out.read_text())
    assert loaded.keys() == {"TULP1", "AAMP"}
    assert np.allclose(loaded["AAMP"], AAMP, rtol=1e-6)


@pytest.mark.parametrize("name", ["vectors-parquet", "vectors-anndata", "gene-benchmark", "genept"])
def test_corum_binds_the_vectors_that_it_went_into(export: Export, home: Home, name: str):
    made = export(name, f"{name}.out", home, options=options())
    assert "corum" in {row["provider"] for row in made.card["providers"]}
    assert any("forbids commercial use" in note for note in made.card["licence_notes"])
    with pytest.raises(UsageError, match="embeddings toy were made of corum"):
        export(name, f"{name}.free", home, options=options(), commercial_only=True)
    with pytest.raises(IdentifierError, match="did you mean 'toy'"):
        export(name, f"{name}.none", home, options=options("tyo"))


def test_of_several_proteins_the_longest_speaks_for_a_gene(export: Export, export_home: Home, tmp_path: Path):
    tables = load_tables(export_home, require_published(export_home).release)
    encodes = tables["edges"].filter(pl.col("relation") == "ENCODES")
    proteins = [f"UniProtKB:P0000{number}" for number in range(3)]
    more = pl.concat([encodes.with_columns(pl.lit(protein).alias("object")) for protein in proteins])
    node = tables["nodes"].filter(pl.col("label") == "Protein")
    named = pl.concat([node.with_columns(pl.lit(protein).alias("id")) for protein in proteins])
    sequence = {proteins[0]: "MK", proteins[1]: "MKV", proteins[2]: "MKL", "UniProtKB:O00294": "MKVLA"}
    empty = tables["sequences"]
    rows = pl.DataFrame({"protein": list(sequence), "residues": list(sequence.values())})
    sequences = pl.concat([empty.clear(), rows], how="diagonal_relaxed").select(empty.columns)
    frames = {name: tables[name] for name in tables.frames}
    frames |= {"edges": pl.concat([tables["edges"], more]), "nodes": pl.concat([tables["nodes"], named])}
    home = home_of_tables(
        tmp_path / "more", ReleaseTables.of({**frames, "sequences": sequences.cast(dict(empty.schema))})
    )
    vectors: Any = {protein: [float(place + 1), 0.0] for place, protein in enumerate(proteins)}
    release = require_published(home).release
    make_vectors(home, release, {**vectors, "UniProtKB:O00294": "a stop (*)"}, name="reader", kind="protein")
    made = export("vectors-parquet", "genes.parquet", home, options=options("reader"))
    table = pl.read_parquet(made.out)
    assert table["symbol"].to_list() == ["TULP1"]
    assert table["vector"].to_list() == [[2.0, 0.0]], "the longest that has a vector; of two, the first by id"
    assert any("(1 genes) that of the longest" in note for note in made.card["notes"])
    assert gene_symbols(open_source(home)).height > 1


def test_the_graphs_own_set_is_taken_where_there_is_one_that_may_be_used(
    export: Export, sample_home: Home, tmp_path: Path
):
    shutil.copytree(sample_home.path, tmp_path / "samples")
    home = Home(tmp_path / "samples")
    made = write_structural_set(open_snapshot(home), dim=5)
    asked = ExportOptions(encoder="graph-svd", dim=4)
    table = pl.read_parquet(export("vectors-parquet", "own.parquet", home, options=asked).out)
    assert np.array_equal(table["vector"].to_numpy(), made.of(table["id"])[0]), "the set, of five numbers"
    free = pl.read_parquet(export("vectors-parquet", "free.parquet", home, options=asked, commercial_only=True).out)
    assert free["vector"].dtype == pl.Array(pl.Float32, 4), "made here, without CORUM's kernel"
