"""Formats that models load, from the bundled samples, read by the real packages where there are any."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest

from aroma.errors import UsageError
from aroma.kgstore.home import Home
from aroma.kgstore.outcomes import load_outcomes
from aroma.retrieval.exports.base import ExportOptions, open_source
from aroma.retrieval.exports.gene_vectors import gene_embeddings, gene_symbols
from aroma.retrieval.gene_kernels import GeneKernels
from aroma.retrieval.snapshot import open_snapshot
from aroma.retrieval.structural import structural_vectors
from aroma.retrieval.withhold import Withhold
from tests.support.peers import ask_peer

Export = Callable[..., Any]
FEW = ExportOptions(dim=4)


def outcome_options(home: Home, **asked: Any) -> ExportOptions:
    return ExportOptions(outcomes=load_outcomes(home), dim=4, k=3, **asked)


def test_structural_vectors_repeat_and_hold_the_similarities_of_the_kernels(sample_home: Home) -> None:
    kernels = GeneKernels(open_snapshot(sample_home))
    with pytest.raises(UsageError, match=r"--dim 100000: this release gives vectors of 1 to (\d+) numbers"):
        structural_vectors(kernels, 100_000)
    made = structural_vectors(kernels, 8)
    again = structural_vectors(kernels, 8)
    assert np.array_equal(made.vectors, again.vectors)
    assert made.vectors.dtype == np.float32
    assert (np.linalg.norm(made.vectors, axis=1) > 0).all()
    assert not set(made.genes.tolist()) & set(made.faint.tolist())
    finer = structural_vectors(kernels, 14)
    sums = np.sum([kernel.matrix(finer.genes) for kernel in kernels.all], axis=0)
    near, far = (
        np.abs(one.vectors @ one.vectors.T - sums[np.ix_(at, at)]).mean()
        for one, at in ((finer, np.arange(len(finer.genes))), (made, np.searchsorted(finer.genes, made.genes)))
    )
    assert near < far, "more columns come closer to the kernels' similarities"


def test_state_is_loaded_by_its_data_module(export: Export, sample_home: Home) -> None:
    found = export("state", "genes.pt", sample_home, options=FEW)
    said = ask_peer(
        r"""
        import json, sys, torch
        from pathlib import Path
        import anndata, numpy as np, scipy.sparse as sp
        from cell_load.data_modules.perturbation_dataloader import PerturbationDataModule
        place = Path(sys.argv[2]); place.mkdir(exist_ok=True)
        genes = sorted(torch.load(sys.argv[1], weights_only=True))
        cells = anndata.AnnData(sp.csr_matrix(np.ones((8, 5), dtype="float32")))
        cells.obs["gene"] = ["non-targeting"] * 4 + [genes[0]] * 2 + [genes[1]] * 2
        cells.obs["gem_group"] = "1"
        cells.obs["cell_type"] = "K562"
        for column in cells.obs:
            cells.obs[column] = cells.obs[column].astype("category")
        cells.write_h5ad(place / "own.h5ad")
        (place / "own.toml").write_text(f'[datasets]\nown = "{place}"\n[training]\nown = "train"\n')
        module = PerturbationDataModule(str(place / "own.toml"), num_workers=0, perturbation_features_file=sys.argv[1])
        module.setup()
        maps = module.pert_onehot_map
        print(json.dumps({"genes": genes, "maps": len(maps), "first": maps[genes[0]].tolist(),
                          "control": maps["non-targeting"].tolist(), "dim": module.get_var_dims()["pert_dim"],
                          "zeros": sum(not maps[gene].any() for gene in genes)}))
        """,
        found.out,
        found.out.parent / "cells",
    )
    embeddings = gene_embeddings(open_source(sample_home), FEW)
    assert said["genes"] == sorted(embeddings.symbols)
    assert said["dim"] == 4
    assert said["control"] == [0.0] * 4, "the one name that STATE adds"
    assert said["maps"] == len(said["genes"]) + 1
    assert said["zeros"] == 0
    row = embeddings.symbols.to_list().index(said["genes"][0])
    assert said["first"] == embeddings.matrix[row].tolist()
    assert found.card["rows"] == {"genes": len(embeddings.ids)}


def test_genept_is_a_dictionary_of_lists_with_the_same_numbers(export: Export, sample_home: Home) -> None:
    loaded = json.loads(export("genept", "genes.json", sample_home, options=FEW).out.read_text())
    embeddings = gene_embeddings(open_source(sample_home), FEW)
    assert sorted(loaded) == sorted(embeddings.symbols)
    matrix = np.array([loaded[symbol] for symbol in embeddings.symbols], dtype=np.float32)
    assert np.allclose(matrix, embeddings.matrix, rtol=1e-6)


def test_vectors_for_commercial_use_know_no_complex(export: Export, sample_home: Home) -> None:
    free = export("genept", "free.json", sample_home, options=FEW, commercial_only=True)
    assert "corum" not in {row["provider"] for row in free.card["providers"]}
    assert any("kernels left out" in note and "complex" in note for note in free.card["notes"])
    assert any("kernels go, pathway, string" in note for note in free.card["notes"])


def test_perturbed_genes_without_a_vector_are_counted(export: Export, sample_home: Home) -> None:
    outcomes = load_outcomes(sample_home)
    strange = outcomes.with_columns(pl.lit("HGNC:99999999").alias("perturbation_gene"))
    options = ExportOptions(outcomes=pl.concat([outcomes, strange]), dim=4)
    card = export("genept", "genes.json", sample_home, options=options).card
    total = outcomes["perturbation_gene"].drop_nulls().n_unique() + 1
    assert any(f"of {total} perturbed genes of the outcomes have no vector" in note for note in card["notes"])
    assert any("outcomes are of PerturbQA, whose licence is not in this release" in note for note in card["notes"])


def test_gears_builds_its_network_from_the_files(export: Export, sample_home: Home) -> None:
    found = export("gears", home=sample_home, options=ExportOptions(k=100_000))
    said = ask_peer(
        """
        import json, os, pickle, sys
        from pathlib import Path
        import anndata, numpy as np, pandas as pd, scipy.sparse as sp
        data = Path(sys.argv[1])
        # what docs/how-to/export-for-models.md tells a user to do
        gene2go = {gene: set(terms) for gene, terms in json.loads((data / "gene2go.json").read_text()).items()}
        pickle.dump(gene2go, open(data / "gene2go_all.pkl", "wb"))
        pickle.dump((data / "genes.txt").read_text().split(), open(data / "essential_all_data_pert_genes.pkl", "wb"))
        from gears import PertData
        from gears.utils import GeneSimNetwork, get_similarity_network, get_GO_edge_list
        pert_data = PertData(str(data))
        genes = sorted(gene2go)
        cells = anndata.AnnData(sp.csr_matrix(np.random.default_rng(0).random((4, len(genes))).astype("float32")))
        cells.obs["condition"] = ["ctrl", "ctrl", genes[0] + "+ctrl", genes[1] + "+ctrl"]
        cells.obs["cell_type"] = "K562"
        cells.var["gene_name"] = genes
        pert_data.adata = cells
        pert_data.set_pert_genes()
        edges = get_similarity_network("go", cells, 0.4, 100_000, str(data), "own", "simulation", 1, 0.75, None,
                                       default_pert_graph=True, pert_list=list(pert_data.pert_names))
        network = GeneSimNetwork(edges, list(pert_data.pert_names), pert_data.node_map_pert)
        theirs = {(s, t): score for g in genes[:25] for s, t, score in get_GO_edge_list((g, gene2go))}
        ours = {(row.source, row.target): row.importance for row in edges.itertuples() if row.source in genes[:25]}
        print(json.dumps({"nodes": len(pert_data.pert_names), "edges": network.edge_index.shape[1],
                          "loops": int((edges.source == edges.target).sum()), "same": ours.keys() == theirs.keys(),
                          "difference": max(abs(score - theirs[pair]) for pair, score in ours.items())}))
        """,
        found.out,
    )
    assert said["nodes"] == said["loops"] == found.card["rows"]["genes"]
    assert said["edges"] == found.card["rows"]["edges"]
    assert said["same"], "the edges that GEARS' own code makes of the same terms"
    assert said["difference"] < 1e-6


def test_txpert_files_have_the_columns_and_names_that_it_reads(export: Export, sample_home: Home) -> None:
    found = export("txpert", home=sample_home)
    go = pl.read_csv(found.out / "go" / "go_top_50.csv")
    string = pl.read_parquet(found.out / "string" / "v11.5.parquet")
    assert go.columns == ["source", "target", "importance"]
    assert string.columns == ["regulator", "target", "weight"]
    assert (go["source"] != go["target"]).all()
    turned = string.select(pl.col("target").alias("regulator"), pl.col("regulator").alias("target"), "weight")
    assert turned.sort("regulator", "target").equals(string.sort("regulator", "target"))
    assert string["weight"].is_between(0, 1).all()
    assert any("holds STRING" in note for note in found.card["notes"])


def test_vcworld_lists_are_symbols_nearest_first(export: Export, sample_home: Home) -> None:
    found = export("vcworld", home=sample_home, options=outcome_options(sample_home))
    gene_sim = json.loads((found.out / "gene_sim.json").read_text())
    drug_sim = json.loads((found.out / "drug_sim.json").read_text())
    graph = json.loads((found.out / "gene_graph.json").read_text())
    assert gene_sim
    assert all(0 < len(near) <= 3 and gene not in near for gene, near in gene_sim.items())
    perturbed = load_outcomes(sample_home).select(id="perturbation_gene").unique()
    symbols = gene_symbols(open_source(sample_home)).join(perturbed, on="id")["symbol"]
    assert drug_sim
    assert set(drug_sim) <= set(symbols)
    assert all(gene in graph[other]["direct_neighbors"] for gene in graph for other in graph[gene]["direct_neighbors"])
    rows = [pl.read_csv(path) for path in sorted(found.out.glob("*_DE.csv"))]
    assert rows[0].columns == ["pert", "gene", "label", "split"]
    written = pl.concat(rows)
    assert written.height == found.card["rows"]["outcomes"]
    kernels = GeneKernels(snapshot := open_snapshot(sample_home))
    numbers = {
        snapshot.nodes.symbols[node]: node for node in range(len(snapshot.nodes.ids)) if snapshot.nodes.symbols[node]
    }
    gene, near = next((one, other) for one, other in gene_sim.items() if len(other) > 1)
    at = np.array([numbers[symbol] for symbol in near], dtype=np.int32)
    means = np.mean([kernel.similarity(numbers[gene], at) for kernel in kernels.all], axis=0)
    assert (np.diff(means) <= 1e-6).all()


@pytest.mark.parametrize("name", ["cellhermes", "vcworld"])
def test_a_withheld_label_changes_no_byte(export: Export, sample_home: Home, name: str) -> None:
    outcomes = load_outcomes(sample_home)
    hidden = outcomes["perturbation_gene"].drop_nulls()[0]
    is_hidden = pl.col("perturbation_gene").eq_missing(hidden)
    turned = outcomes.with_columns(pl.when(is_hidden).then((pl.col("label") + 1) % 3).otherwise("label").alias("label"))
    assert not turned.equals(outcomes)
    made = [
        export(
            name,
            f"out{number}",
            sample_home,
            options=ExportOptions(outcomes=table, withhold=Withhold(perturbations=frozenset({hidden}))),
        )
        for number, table in enumerate((outcomes, turned))
    ]
    assert made[0].card["files"] == made[1].card["files"]
    count = outcomes.filter(is_hidden).height
    assert f"{count} outcomes are withheld and nowhere in this export" in made[0].card["notes"]


def test_cellhermes_answers_come_from_the_edges(export: Export, sample_home: Home) -> None:
    found = export("cellhermes", home=sample_home, options=outcome_options(sample_home))
    info = json.loads((found.out / "dataset_info.json").read_text())
    sets = {name: [json.loads(line) for line in (found.out / one["file_name"]).open()] for name, one in info.items()}
    graph = sets.pop("aroma_graph")
    assert {"instruction", "input", "output"} <= set(graph[0])
    statements = set(open_source(sample_home).table("statements")["id"])
    assert all(set(row["statements"]) <= statements and row["statements"] for row in graph)
    outcomes = load_outcomes(sample_home)
    assert sets.keys() == {f"aroma_outcomes_{split}" for split in outcomes["split"].unique()}
    assert {row["output"] for rows in sets.values() for row in rows} <= {"down", "not significant", "up"}
    assert all(row["split"] in name for name, rows in sets.items() for row in rows)
    assert not any(line["relation"] == "NOT_ANNOTATED_TO" for line in graph)


def test_pyg_rebuilds_the_graph_from_plain_tensors(export: Export, sample_home: Home) -> None:
    found = export("pyg", home=sample_home)
    said = ask_peer(
        """
        import json, sys, torch
        from torch_geometric.data import Data, HeteroData
        out = sys.argv[1]
        hetero = HeteroData.from_dict(torch.load(out + "/hetero.pt", weights_only=True))
        data = Data.from_dict(torch.load(out + "/homogeneous.pt", weights_only=True))
        hetero.validate(); data.validate()
        print(json.dumps({"nodes": [hetero.num_nodes, data.num_nodes], "edges": [hetero.num_edges, data.num_edges],
            "types": [list(kind) for kind in hetero.edge_types], "named": data.edge_types,
            "scored": [kind[1] for kind in hetero.edge_types if "edge_attr" in hetero[kind]],
            "first": [hetero["Gene", "INTERACTS_WITH", "Gene"].edge_index[:, 0].tolist(),
                      int(hetero["Gene", "INTERACTS_WITH", "Gene"].edge[0])]}))
        """,
        found.out,
    )
    nodes, edges = (pl.read_parquet(found.out / f"{name}.parquet") for name in ("nodes", "edges"))
    source = open_source(sample_home)
    assert said["nodes"] == [source.nodes().height] * 2
    assert said["edges"] == [source.edges().height] * 2
    assert said["types"] == said["named"]
    assert said["scored"] == ["INTERACTS_WITH"]
    (one, other), edge = said["first"]
    genes = nodes.filter(pl.col("label") == "Gene").sort("index")["id"]
    assert edges.filter(pl.col("edge") == edge).select("subject", "object").row(0) == (genes[one], genes[other])
