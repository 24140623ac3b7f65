"""The vectors that interaction modules read: of the right nodes, and never a number in place of nothing."""

from __future__ import annotations

import shutil

import numpy as np
import polars as pl
import pytest

pytest.importorskip("torch")

import torch

from aroma.errors import ModelError, UsageError
from aroma.jobs.asking import Wish, plan_wish
from aroma.kgstore.home import Home
from aroma.kgstore.schema import Relation
from aroma.kgstore.tables import read_table
from aroma.model.aroma.modalities import ModalityBank
from aroma.model.embeddings.batches import window_starts
from aroma.model.embeddings.composition import CompositionEncoder
from aroma.model.embeddings.items import items_of
from aroma.model.embeddings.runs import embeddings_ledger, work_on_items
from aroma.model.ground import Ground
from aroma.retrieval.subgraphs import k_hop_nodes
from aroma.retrieval.vector_store import find_vector_set
from tests.support.tiny_aroma import options_of
from tests.support.vectors import make_vectors

GENES = ("TP53", "RPL11", "PSMA1", "YAP1")


@pytest.fixture(scope="module")
def genes(aroma_ground) -> dict[str, str]:
    return {name: aroma_ground.resolver.resolve(name).gene for name in GENES}


@pytest.mark.parametrize("view", ["gene-kg", "path-kg"])
@pytest.mark.parametrize("hops", [0, 1, 2])
def test_graph_modalities_have_the_gene_and_its_nodes_nearest_first(aroma_ground, genes, view, hops):
    bank = ModalityBank.open(aroma_ground, options_of(hops=hops, modalities=(view,), neighbours=10))
    vectors = find_vector_set(aroma_ground.home, aroma_ground.release, f"gat:{view}")
    graph = aroma_ground.snapshot.view(view)
    ones, others = [genes["TP53"], genes["YAP1"]], [genes["RPL11"], genes["PSMA1"]]
    batch = bank.batch(ones, others)[view]
    for place, gene in enumerate(others):
        centre = graph.local(aroma_ground.snapshot.nodes.ids.find(gene))
        nodes, far = k_hop_nodes(graph.csr, centre, hops, 10)
        ids = [aroma_ground.snapshot.nodes.ids[int(graph.to_release[node])] for node in nodes]
        expected, known = vectors.of(ids)
        assert known.all()
        assert ids[0] == gene
        mask = batch.target_mask[place].numpy()
        assert mask.sum() == len(nodes)
        np.testing.assert_array_equal(batch.target[place].numpy()[mask], expected)
        assert batch.target_hops[place].numpy()[mask].tolist() == far.tolist()
    assert batch.present.tolist() == [True, True]
    assert batch.perturbation.dtype == torch.float32


def test_proteins_of_a_gene_are_those_that_it_encodes(aroma_ground, bank, genes):
    edges = read_table(aroma_ground.home.release(aroma_ground.release), "edges", ["subject", "relation", "object"])
    encoded = edges.filter(relation=str(Relation.ENCODES), subject=genes["TP53"])["object"].sort().to_list()
    vectors = find_vector_set(aroma_ground.home, aroma_ground.release, "composition")
    expected, known = vectors.of(encoded)
    batch = bank.batch([genes["TP53"]], [genes["TP53"]])["protein"]
    assert known.any()
    np.testing.assert_array_equal(batch.perturbation[0][batch.perturbation_mask[0]].numpy(), expected[known])


def test_residue_windows_are_taken_where_the_set_has_them(aroma_home, aroma_ground, tmp_path):
    home = Home(tmp_path / "home")
    shutil.copytree(aroma_home.path, home.path)
    ledger = embeddings_ledger(home)
    run = plan_wish(home, ledger, Wish("protein", options={"windows": 16})).run
    work_on_items(home, ledger, run.id)
    items, _ = items_of(home, aroma_ground.release, "protein")
    longest = max(items, key=lambda item: len(item.text))
    edges = read_table(home.release(aroma_ground.release), "edges", ["subject", "relation", "object"])
    gene = edges.filter(relation=str(Relation.ENCODES), object=longest.id)["subject"][0]
    starts = window_starts(len(longest.text), 16, 4)
    assert len(starts) > 9  # more than one digit: windows stand in the order of their numbers
    expected = CompositionEncoder().encode([longest.text[start : start + 16] for start in starts]).vectors
    options = options_of(encoders={"protein": "composition:windows-16"}, modalities=("protein",))
    batch = ModalityBank.open(Ground(home), options).batch([gene], [None])["protein"]
    np.testing.assert_allclose(batch.perturbation[0].numpy(), expected, atol=1e-6)
    assert batch.present.tolist() == [False]


def test_what_is_unknown_has_a_mask_and_no_number(bank, genes):
    batches = bank.batch([None, "HGNC:0", genes["TP53"]], [genes["TP53"], genes["TP53"], None])
    for batch in batches.values():
        assert batch.perturbation_mask.any(1).tolist() == [False, False, True]
        assert batch.target_mask.any(1).tolist() == [True, True, False]
        assert batch.present.tolist() == [False, False, False]


def test_a_gene_without_a_vector_of_its_own_is_not_made_of_its_neighbours(aroma_home, aroma_ground, genes, tmp_path):
    home = Home(tmp_path / "home")
    shutil.copytree(aroma_home.path, home.path)
    ids = [name for name in aroma_ground.snapshot.nodes.ids if name != genes["TP53"]]
    said = {name: [1.0, 2.0] for name in ids} | {genes["TP53"]: "not embedded"}
    make_vectors(home, aroma_ground.release, said, name="holes")
    bank = ModalityBank.open(Ground(home), options_of(encoders={"gene-kg": "holes"}, modalities=("gene-kg",)))
    batch = bank.batch([genes["TP53"]], [genes["RPL11"]])["gene-kg"]
    assert (batch.perturbation_mask.any().item(), batch.target_mask.any().item()) == (False, True)


def test_neighbours_are_capped_and_the_same_in_any_company(aroma_ground, genes):
    few = ModalityBank.open(aroma_ground, options_of(neighbours=3))
    batch = few.batch([genes["TP53"]], [genes["RPL11"]])
    assert max(one.perturbation.shape[1] for one in batch.values()) <= 3
    together = few.batch([genes["YAP1"], genes["TP53"]], [genes["PSMA1"], genes["RPL11"]])
    for name, one in batch.items():
        mask = one.target_mask[0]
        assert torch.equal(together[name].select([1]).target[0, : len(mask)][mask], one.target[0][mask])


def test_swapping_exchanges_the_genes(bank, genes):
    pair = bank.batch([genes["TP53"]], [genes["RPL11"]])
    turned = bank.batch([genes["RPL11"]], [genes["TP53"]])
    for name, batch in pair.items():
        assert torch.equal(batch.swapped().perturbation, turned[name].perturbation)
        assert torch.equal(batch.swapped().target_hops, turned[name].target_hops)


def test_the_card_says_what_is_read(bank, aroma_ground):
    card = bank.card()
    assert [said["encoder"] for said in card.values()] == ["composition", "gat:path-kg", "gat:gene-kg"]
    for said in card.values():
        assert said["digest"] == find_vector_set(aroma_ground.home, aroma_ground.release, said["id"]).digest


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"encoders": {"protein": "esm2_t6_8M_UR50D"}}, "modality protein: .* no embeddings .* aroma embed protein"),
        ({"encoders": {"gene-kg": "gat:gene-kgg"}}, "did you mean 'gat:gene-kg'.*aroma embed gat --view gene-kg"),
        ({"encoders": {"gene-kg": "composition"}}, "modality gene-kg reads vectors of kind graph, and composition has"),
        ({"encoders": {"protein": "gat:gene-kg"}}, "modality protein reads vectors of kind protein"),
    ],
)
def test_vectors_that_are_missing_or_of_another_kind_are_named(aroma_ground, options, said):
    given = {"encoders": {"protein": "composition", **options["encoders"]}}
    with pytest.raises(ModelError, match=said):
        ModalityBank.open(aroma_ground, options_of(**given))


def test_lists_of_other_lengths_are_refused(bank):
    with pytest.raises(UsageError, match="pair them"):
        bank.batch([None], [])


def test_rows_of_a_frame_are_batched_as_they_stand(bank, aroma_ground):
    asked = pl.DataFrame({"cell_line": ["K562"] * 2, "perturbation": ["TP53", "NOSUCH"], "target": ["RPL11", "TP53"]})
    rows = aroma_ground.rows(asked)
    batch = bank.batch(rows["perturbation_gene"].to_list(), rows["target_gene"].to_list())["gene-kg"]
    assert batch.present.tolist() == [True, False]
