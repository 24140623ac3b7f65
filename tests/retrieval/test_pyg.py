"""PyG's own loaders over a snapshot, and neighbourhoods as its data objects."""

from __future__ import annotations

import copy
import importlib
import math
import sys
import warnings

import networkx as nx
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("torch_geometric")
warnings.filterwarnings("ignore", category=FutureWarning, module="torch")

import torch_geometric.typing as installed  # noqa: E402
from torch_geometric.data import HeteroData  # noqa: E402
from torch_geometric.loader import DataLoader, LinkNeighborLoader, NeighborLoader  # noqa: E402
from torch_geometric.sampler import NegativeSampling  # noqa: E402

from aroma.errors import IdentifierError, UsageError  # noqa: E402
from aroma.kgstore.views import PRESETS, adjusted  # noqa: E402
from aroma.retrieval.neighbourhoods import neighbourhood  # noqa: E402
from aroma.retrieval.pyg import (  # noqa: E402
    NodeVectors,
    SnapshotSampler,
    degree_vectors,
    neighbourhood_data,
    remote_backend,
)
from aroma.retrieval.snapshot import open_snapshot  # noqa: E402
from aroma.retrieval.typed_edges import open_typed  # noqa: E402

ANNOTATED = ("Gene", "ANNOTATED_TO", "GOTerm")
PYG_SAMPLES = installed.WITH_PYG_LIB or installed.WITH_TORCH_SPARSE


@pytest.fixture(scope="module")
def snapshot(sample_home):
    return open_snapshot(sample_home)


@pytest.fixture(scope="module")
def vectors(snapshot):
    genes = [snapshot.nodes.ids[row] for row, label in enumerate(snapshot.nodes.labels) if label == "Gene"]
    known = [*genes[::2], "HGNC:999999"]
    return NodeVectors(known, np.random.default_rng(0).normal(size=(len(known), 4)).astype(np.float32))


def loader(backend, *, fans=(-1, -1), own=True, **options):
    sampler = SnapshotSampler(backend.graph_store, list(fans)) if own else None
    return NeighborLoader(data=backend, num_neighbors=list(fans), neighbor_sampler=sampler, **options)


def ids_of(backend, batch):
    return {label: backend.graph_store.ids(label, batch[label].n_id) for label in batch.node_types}


def edges_of(backend, batch):
    ids = ids_of(backend, batch)
    return {
        (ids[kind[0]][one], kind[1], ids[kind[2]][other])
        for kind in batch.edge_types
        for one, other in batch[kind].edge_index.T.tolist()
    }


@pytest.mark.parametrize("view", ["gene-kg", "path-kg"])
def test_typed_edges_are_the_releases(snapshot, view):
    typed = open_typed(snapshot, snapshot.view(view))
    ids = {label: [snapshot.nodes.ids[typed.view.to_release[n]] for n in nodes] for label, nodes in typed.nodes.items()}
    found = {
        (ids[start][one], relation, ids[end][other])
        for (start, relation, end), (sources, starts) in typed.edges.items()
        for other in range(len(starts) - 1)
        for one in sources[starts[other] : starts[other + 1]].tolist()
    }
    shown, expected = typed.view, set()
    for one, other in shown.csr.edge_list().tolist():
        pair = tuple(snapshot.nodes.ids[shown.to_release[node]] for node in (one, other))
        for number in shown.edges_between(one, other):
            row = snapshot.edges.row(number) if number >= 0 else dict(zip(("subject", "object"), pair, strict=True))
            relation = row.get("relation", "SHARES_COMPLEX")
            both_ways = relation in {"INTERACTS_WITH", "SHARES_COMPLEX"}
            back = relation if both_ways else f"rev_{relation}"
            expected |= {(row["subject"], relation, row["object"]), (row["object"], back, row["subject"])}
    assert found == expected
    assert open_typed(snapshot, shown).edge_types == typed.edge_types


def test_types_of_a_permuted_view_are_nobodys_statement(small_home):
    snapshot = open_snapshot(small_home)
    typed = open_typed(snapshot, snapshot.view(adjusted(PRESETS["path-kg"], permutation_seed=3)))
    assert {kind[1] for kind in typed.edge_types} == {"PERMUTED"}
    assert sum(len(sources) for sources, _ in typed.edges.values()) == 2 * typed.view.csr.edges


@pytest.mark.parametrize("own", [True, pytest.param(False, marks=pytest.mark.skipif(not PYG_SAMPLES, reason="no lib"))])
@pytest.mark.parametrize("view", ["gene-kg", "path-kg"])
def test_a_loader_that_takes_all_neighbours_gives_the_neighbourhoods(sample_home, snapshot, view, own):
    backend = remote_backend(snapshot, view)
    genes = backend.graph_store.ids("Gene")
    batches = list(loader(backend, own=own, input_nodes="Gene", batch_size=1))
    assert len(batches) == len(genes)
    for gene, batch in zip(genes, batches, strict=True):
        found = neighbourhood(sample_home, gene, view=view, hops=2, limit=10_000)
        hops = {item.node.id: item.hops for item in found.nodes}
        ids = ids_of(backend, batch)
        assert {id_ for some in ids.values() for id_ in some} == set(hops)
        assert ids["Gene"][0] == gene
        assert batch["Gene"].batch_size == 1
        joined = {
            frozenset((found.nodes[link.start].node.id, found.nodes[link.end].node.id))
            for link in found.links
            if min(found.nodes[link.start].hops, found.nodes[link.end].hops) < 2
        }
        assert {frozenset((one, other)) for one, _, other in edges_of(backend, batch)} == joined


@pytest.mark.skipif(not PYG_SAMPLES, reason="neither pyg-lib nor torch-sparse is installed")
def test_pygs_sampler_and_ours_agree(snapshot):
    backend = remote_backend(snapshot, "path-kg")
    both = [list(loader(backend, own=own, input_nodes="Gene", batch_size=3)) for own in (True, False)]
    for ours, theirs in zip(*both, strict=True):
        assert edges_of(backend, ours) == edges_of(backend, theirs)
        assert {kind: ours[kind].e_id.sort().values.tolist() for kind in ours.edge_types if ours[kind].num_edges} == {
            kind: theirs[kind].e_id.sort().values.tolist() for kind in theirs.edge_types if theirs[kind].num_edges
        }


def test_no_more_neighbours_are_drawn_than_asked_and_the_seed_repeats_them(snapshot):
    backend = remote_backend(snapshot, "path-kg")
    whole = {node for batch in loader(backend, input_nodes="Gene", batch_size=4) for node in edges_of(backend, batch)}

    def draw(seed):
        torch.manual_seed(seed)
        return list(loader(backend, fans=(2, 1), input_nodes="Gene", batch_size=4))

    one, again, other = draw(1), draw(1), draw(2)
    drawn = [[edges_of(backend, batch) for batch in batches] for batches in (one, again, other)]
    assert drawn[0] == drawn[1]
    assert drawn[0] != drawn[2]
    for batch, edges in zip(one, drawn[0], strict=True):
        assert edges <= whole
        for kind in batch.edge_types:
            drawn_for = torch.bincount(batch[kind].edge_index[1])
            assert drawn_for.numel() == 0 or drawn_for.max() <= 2
            assert batch[kind].edge_index.unique(dim=1).shape == batch[kind].edge_index.shape


def test_each_neighbour_is_drawn_as_often(snapshot):
    backend = remote_backend(snapshot, "path-kg")
    _, starts = backend.graph_store.typed.edges["GOTerm", "rev_ANNOTATED_TO", "Gene"]
    gene = int(np.argmax(np.diff(starts)))
    degree = int(np.diff(starts)[gene])
    torch.manual_seed(0)
    kind = ("GOTerm", "rev_ANNOTATED_TO", "Gene")
    sampler = SnapshotSampler(backend.graph_store, {kind: [2]})
    seeds = ("Gene", torch.full((3000,), gene))
    batch = next(iter(NeighborLoader(backend, [2], input_nodes=seeds, neighbor_sampler=sampler, batch_size=3000)))
    counts = torch.bincount(batch[kind].e_id - int(starts[gene]), minlength=degree)
    assert counts.sum() == 6000
    expected = 6000 / degree
    assert (counts - expected).abs().max() < 5 * math.sqrt(expected)
    assert batch["Gene"].n_id.tolist() == [gene] * 3000


@pytest.mark.parametrize("subgraph_type", ["bidirectional", "induced"])
def test_other_subgraph_types(snapshot, subgraph_type):
    backend = remote_backend(snapshot, "gene-kg")
    sampler = SnapshotSampler(backend.graph_store, [2, 2], subgraph_type=subgraph_type)
    for batch in NeighborLoader(backend, [2, 2], input_nodes="Gene", neighbor_sampler=sampler, batch_size=2):
        edges = edges_of(backend, batch)
        assert edges
        assert {(other, relation, one) for one, relation, other in edges} == edges
        if subgraph_type == "induced":
            view = snapshot.view("gene-kg")
            local = [view.local(snapshot.nodes.ids.find(id_)) for id_ in ids_of(backend, batch)["Gene"]]
            graph = nx.Graph(view.csr.edge_list().tolist())
            assert len({frozenset((one, other)) for one, _, other in edges}) == graph.subgraph(local).number_of_edges()


def test_links_are_loaded_with_negatives(snapshot):
    backend = remote_backend(snapshot, "path-kg")
    row, col, _ = backend.graph_store.coo([ANNOTATED])
    edges = set(zip(row[ANNOTATED].tolist(), col[ANNOTATED].tolist(), strict=True))
    batches = list(
        LinkNeighborLoader(
            data=backend,
            num_neighbors=[3, 2],
            neighbor_sampler=SnapshotSampler(backend.graph_store, [3, 2]),
            edge_label_index=ANNOTATED,
            neg_sampling=NegativeSampling("binary", amount=1),
            batch_size=5,
        )
    )
    positives = set()
    for batch in batches:
        labels, ends = batch[ANNOTATED].edge_label, batch[ANNOTATED].edge_label_index
        assert (labels == 1).sum() == (labels == 0).sum()
        chosen = ends[:, labels == 1]
        genes, terms = batch["Gene"].n_id[chosen[0]], batch["GOTerm"].n_id[chosen[1]]
        positives |= set(zip(genes.tolist(), terms.tolist(), strict=True))
    assert positives == edges


def test_workers_sample_too(snapshot):
    backend = remote_backend(snapshot, "path-kg")
    alone = [edges_of(backend, batch) for batch in loader(backend, input_nodes="Gene", batch_size=8)]
    shared = loader(backend, input_nodes="Gene", batch_size=8, num_workers=1, multiprocessing_context="fork")
    assert [edges_of(backend, batch) for batch in shared] == alone


def test_stores_for_another_process_map_the_same_files(snapshot, vectors):
    backend = remote_backend(snapshot, "path-kg", vectors)
    again = copy.deepcopy(backend)
    assert again.graph_store is not backend.graph_store
    both = [list(loader(one, input_nodes="Gene", batch_size=8)) for one in (backend, again)]
    for one, other in zip(*both, strict=True):
        assert edges_of(backend, one) == edges_of(again, other)
        assert torch.equal(one["Gene"].x_known, other["Gene"].x_known)
    assert len(str(backend.graph_store.__reduce__())) < 5_000


def test_unknown_nodes_are_masked_and_never_zero(snapshot, vectors):
    backend = remote_backend(snapshot, "path-kg", vectors)
    assert backend.feature_store.unused >= 1
    seen = set()
    for batch in loader(backend, input_nodes="Gene", batch_size=4):
        assert "x" not in batch["GOTerm"]
        assert not batch["GOTerm"].x_known.any()
        genes = batch["Gene"]
        for id_, known, x in zip(ids_of(backend, batch)["Gene"], genes.x_known.tolist(), genes.x, strict=True):
            assert known == (id_ in vectors.ids)
            if known:
                assert x.tolist() == vectors.matrix[vectors.ids.index(id_)].tolist()
            else:
                assert x.isnan().all()
            seen.add(known)
    assert seen == {True, False}
    zeros = NodeVectors(vectors.ids, vectors.matrix, unknown=0.0)
    store = remote_backend(snapshot, "path-kg", zeros).feature_store
    assert not store["Gene", "x", None][~store["Gene", "x_known", None]].any()


def test_a_model_learns_from_batches(snapshot):
    from torch_geometric.nn import HeteroConv, SAGEConv

    backend = remote_backend(snapshot, "path-kg", degree_vectors(snapshot, snapshot.view("path-kg")))
    kinds = backend.graph_store.typed.edge_types
    torch.manual_seed(0)
    layer = HeteroConv({kind: SAGEConv((-1, -1), 1) for kind in kinds})
    head = torch.nn.Linear(1, 1)
    losses = []
    for _ in range(15):
        for batch in loader(backend, fans=(5,), input_nodes="Gene", batch_size=64):
            seeds = batch["Gene"].batch_size
            if not losses:
                layer(batch.x_dict, batch.edge_index_dict)  # lazy sizes are known from here on
                optimiser = torch.optim.Adam([*layer.parameters(), *head.parameters()], lr=0.05)
            found = head(layer(batch.x_dict, batch.edge_index_dict)["Gene"][:seeds]).squeeze(1)
            loss = ((found - torch.log2(1.0 + batch["Gene"].degree[:seeds])) ** 2).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(float(loss.detach()))
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]


def test_degree_vectors_equal_networkx(snapshot):
    view = snapshot.view("gene-kg")
    graph = nx.Graph(view.csr.edge_list().tolist())
    found = degree_vectors(snapshot, view).matrix
    clustering = nx.clustering(graph)
    size = {node: math.log2(1 + graph.degree[node]) for node in graph}
    for node in graph:
        around = [size[other] for other in graph[node]]
        assert found[node] == pytest.approx([size[node], sum(around) / len(around), clustering[node]], rel=1e-5)


def test_ids_are_translated_and_unknown_ones_masked(snapshot):
    store = remote_backend(snapshot, "path-kg").graph_store
    genes = store.ids("Gene")
    places, known = store.places("Gene", [genes[3], "HGNC:0", "GO:0005737", genes[0]])
    assert places.tolist() == [3, -1, -1, 0]
    assert known.tolist() == [True, False, False, True]
    assert store.ids("Gene", places[known]) == [genes[3], genes[0]]
    with pytest.raises(IdentifierError, match="has no 'Planet' nodes"):
        store.places("Planet", ["x"])


def test_stores_are_read_only(snapshot, vectors):
    features, graph = remote_backend(snapshot, "path-kg", vectors)
    with pytest.raises(UsageError, match="release does not change"):
        features.put_tensor(torch.zeros(1), "Gene", "x", None)
    with pytest.raises(UsageError, match="release does not change"):
        features.remove_tensor("Gene", "x", None)
    with pytest.raises(UsageError, match="release does not change"):
        graph.put_edge_index((torch.zeros(1), torch.zeros(1)), ANNOTATED, "coo")
    with pytest.raises(UsageError, match="release does not change"):
        graph.remove_edge_index(ANNOTATED, "csc")
    with pytest.raises(KeyError, match="no 'y'"):
        features.get_tensor("Gene", "y", None)
    with pytest.raises(KeyError, match="not found"):
        graph.get_edge_index(("Gene", "LIKES", "Gene"), "csc")
    assert features.get_tensor_size("Gene", "x")[1] == 4


def test_wrong_vectors_and_fans_are_refused(snapshot):
    one = np.zeros((1, 2), dtype=np.float32)
    with pytest.raises(UsageError, match="must be float32"):
        NodeVectors(["a"], one.astype(np.float64))
    with pytest.raises(UsageError, match="2 ids but 1 vectors"):
        NodeVectors(["a", "b"], one)
    with pytest.raises(UsageError, match="a has more than one vector"):
        NodeVectors(["a", "a"], np.zeros((2, 2), dtype=np.float32))
    store = remote_backend(snapshot, "path-kg").graph_store
    with pytest.raises(UsageError, match="is no edge type of view path-kg"):
        SnapshotSampler(store, {("Gene", "LIKES", "Gene"): [1]})
    with pytest.raises(UsageError, match="more hops for some"):
        SnapshotSampler(store, {ANNOTATED: [1], ("GOTerm", "rev_ANNOTATED_TO", "Gene"): [1, 2]})
    with pytest.raises(UsageError, match="subgraph_type is 'round'"):
        SnapshotSampler(store, [1], subgraph_type="round")


@pytest.mark.parametrize("hops", [0, 1, 2])
@pytest.mark.parametrize(("view", "name"), [("gene-kg", "TULP1"), ("path-kg", "TP53"), ("path-kg", "GO:0005737")])
def test_neighbourhoods_as_data(sample_home, snapshot, view, name, hops):
    expected = neighbourhood(sample_home, name, view=view, hops=hops, limit=40)
    plain = neighbourhood_data(snapshot, name, view=view, hops=hops, limit=40)
    typed = neighbourhood_data(snapshot, name, view=view, hops=hops, limit=40, heterogeneous=True)
    said = {item.node.id: (item.hops, item.degree, item.node.label) for item in expected.nodes}
    assert plain.node_id == [item.node.id for item in expected.nodes]
    assert [snapshot.nodes.ids[node] for node in plain.node.tolist()] == plain.node_id
    labels = [plain.node_types[number] for number in plain.node_type.tolist()]
    described = zip(plain.hop.tolist(), plain.degree.tolist(), labels, strict=True)
    assert dict(zip(plain.node_id, described, strict=True)) == said
    links = {frozenset((expected.nodes[one.start].node.id, expected.nodes[one.end].node.id)) for one in expected.links}
    flat = {
        (plain.node_id[one], plain.edge_types[kind][1], plain.node_id[other])
        for one, other, kind in zip(*plain.edge_index.tolist(), plain.edge_type.tolist(), strict=True)
    }
    assert {frozenset((one, other)) for one, _, other in flat} == links
    again = {
        (typed[kind[0]].node_id[one], kind[1], typed[kind[2]].node_id[other])
        for kind in typed.edge_types
        for one, other in typed[kind].edge_index.T.tolist()
    }
    assert again == flat
    assert {
        id_: (hop, degree, label)
        for label in typed.node_types
        for id_, hop, degree in zip(
            typed[label].node_id, typed[label].hop.tolist(), typed[label].degree.tolist(), strict=True
        )
    } == said
    for data in (plain, typed):
        assert (data.release, data.view_name, data.view_id) == (
            snapshot.release,
            view,
            snapshot.view(view).definition.id,
        )
        assert (data.hops, data.total, data.cut) == (hops, expected.total, expected.cut)
        assert hops == 0 or data.validate()


def test_neighbourhoods_make_batches(snapshot, vectors):
    found = [neighbourhood_data(snapshot, name, view="path-kg", vectors=vectors) for name in ("TULP1", "TP53")]
    batch = next(iter(DataLoader(found, batch_size=2)))
    assert batch.num_graphs == 2
    assert batch.x.shape == (sum(one.num_nodes for one in found), 4)
    assert bool(batch.x[~batch.x_known].isnan().all())
    typed = neighbourhood_data(snapshot, "TULP1", view="path-kg", vectors=vectors, heterogeneous=True)
    assert isinstance(typed, HeteroData)
    assert typed["Gene"].x.shape[1] == 4


def test_neighbourhoods_that_are_none_are_refused(snapshot):
    with pytest.raises(IdentifierError, match="did you mean TULP1"):
        neighbourhood_data(snapshot, "TULP9")
    with pytest.raises(IdentifierError, match="has no edge in view gene-kg"):
        neighbourhood_data(snapshot, "GO:0005737")
    with pytest.raises(UsageError, match="limit is 0"):
        neighbourhood_data(snapshot, "TULP1", limit=0)


def test_a_missing_extra_names_what_to_install(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("aroma.retrieval.pyg")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch_geometric", None)
    with pytest.raises(UsageError, match=r"pip install 'aroma-evidence\[embeddings\]'"):
        importlib.import_module("aroma.retrieval.pyg")
