"""Nearest by vector, joined with the graph: the same numbers by every index, filters, proteins, and reasons."""

from __future__ import annotations

import builtins
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from aroma.errors import IdentifierError, UsageError
from aroma.kgstore.assemble import edges_from_statements, with_content
from aroma.kgstore.home import Home
from aroma.kgstore.publications import require_published
from aroma.kgstore.tables import ReleaseTables
from aroma.retrieval import vector_index
from aroma.retrieval.answers import UnknownGeneError
from aroma.retrieval.embedding_answers import list_encoders, vectors_of
from aroma.retrieval.embedding_model import SimilarAnswer
from aroma.retrieval.evidence import EvidenceStore
from aroma.retrieval.similar import NoVectorError, SimilarOptions, similar, similar_in
from aroma.retrieval.structural_set import write_structural_set
from aroma.retrieval.vector_index import VectorIndex
from aroma.retrieval.vector_store import check_vector_sets, find_vector_set
from tests.retrieval.conftest import gene, small_tables
from tests.support.homes import home_of_tables
from tests.support.tables import nodes, statements
from tests.support.vectors import make_vectors

DIM = 8


def drawn(names: list[str], seed: int = 0) -> dict[str, list[float]]:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=DIM).tolist() for name in names}


def with_proteins() -> Any:
    """The small release and proteins: gene 1 encodes two, 2 and 3 one each, 3 and 4 the same one, 5 one unembedded."""
    tables = small_tables()
    pairs = [(1, "A"), (1, "B"), (2, "C"), (3, "D"), (4, "D"), (5, "E")]
    said = statements(
        [(gene(number), "ENCODES", f"UniProtKB:{name}") for number, name in pairs],
        provider="uniprot",
        run="uniprot.fasta.ffffffffffff",
    )
    edges = with_content(edges_from_statements(said, provider_release="1", licence="CC BY 4.0"), said)
    frames = {name: tables[name] for name in ("nodes", "edges", "statements", "gene_names")}
    frames["nodes"] = pl.concat(
        [frames["nodes"], nodes(*[(f"UniProtKB:{name}", "Protein") for name in "ABCDE"], provider="u")]
    )
    frames["statements"] = pl.concat([frames["statements"], said])
    frames["edges"] = pl.concat([frames["edges"], edges])
    return ReleaseTables.of(frames)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """The small release with three vector sets; do not write to it."""
    found = home_of_tables(tmp_path_factory.mktemp("similar") / "home", with_proteins())
    release = require_published(found).release
    names = [gene(number) for number in range(1, 11)] + ["GO:0000001", "GO:0000002", "CORUM:1"]
    make_vectors(
        found,
        release,
        {**drawn(names), gene(11): "no name"},
        name="text:toy",
        kind="text",
        licences={"corum": "CC BY-NC 4.0"},
    )
    proteins = {"A": [1, 0, 0], "B": [0, 1, 0], "C": [0.1, 1, 0], "D": [1, 0.3, 0]}
    vectors: Any = {f"UniProtKB:{name}": vector for name, vector in proteins.items()}
    make_vectors(
        found, release, {**vectors, "UniProtKB:E": "a stop (*) at residue 3 of 9"}, name="reader", kind="protein"
    )
    return found


@pytest.fixture(scope="module")
def store(home: Home) -> EvidenceStore:
    return EvidenceStore(home)


def ids(answer: SimilarAnswer) -> list[str]:
    return [item.node.id for item in answer.items]


@pytest.fixture
def no_faiss(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    real = builtins.__import__

    def refuse(name: str, *more: Any, **named: Any) -> Any:
        if name == "faiss":
            raise ImportError(name)
        return real(name, *more, **named)

    monkeypatch.setattr(builtins, "__import__", refuse)
    return


@pytest.mark.parametrize("index", ["numpy", "flat", "hnsw"])
def test_every_index_gives_the_nearest_in_order(store: EvidenceStore, index: str):
    answer = similar_in(store, "1", "text:toy", SimilarOptions(k=4, index=index))
    vectors = find_vector_set(store.snapshot.home, store.snapshot.release, "text:toy")
    unit = np.array(vectors.vectors, dtype=np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    cosines = unit @ unit[vectors.ids.find(gene(1))]
    wanted = [
        (-cosines[row], name) for row, name in enumerate(vectors.ids) if name.startswith("HGNC") and name != gene(1)
    ]
    assert ids(answer) == [name for _, name in sorted(wanted)[:4]]
    assert [item.score for item in answer.items] == pytest.approx([-score for score, _ in sorted(wanted)[:4]], abs=1e-6)
    assert (answer.index, answer.compared, answer.label) == (index, 9, "Gene")
    assert (answer.recall is not None) == (index == "hnsw")
    assert answer.encoder.missing == 1


def test_other_labels_can_be_asked_of_and_for(store: EvidenceStore):
    terms = similar_in(store, "1", "text:toy", SimilarOptions(label="GOTerm"))
    assert sorted(ids(terms)) == ["GO:0000001", "GO:0000002"]
    assert terms.items[0].shared is None
    assert ids(similar_in(store, "GO:0000001", "text:toy", SimilarOptions())) == ["GO:0000002"]


def test_what_must_be_shared_is_shared_and_nothing_nearer_is_missing(store: EvidenceStore):
    everything = {item.node.id: item for item in similar_in(store, "1", "text:toy", SimilarOptions(k=50)).items}
    for what, genes in {"complex": {2, 3}, "pathway": {4}, "string": {2}, "term": {2, 5, 7, 10}}.items():
        found = similar_in(store, "1", "text:toy", SimilarOptions(k=50, shares=(what,)))
        assert set(ids(found)) <= {gene(number) for number in genes}, what
        assert set(ids(found)) == {name for name in everything if _shares(everything[name].shared, what)}, what
        assert [item.score for item in found.items] == [everything[name].score for name in ids(found)]
        assert found.index == "exact"
    both = similar_in(store, "1", "text:toy", SimilarOptions(shares=("complex", "string")))
    assert ids(both) == [gene(2)]
    assert (both.items[0].shared.string, both.items[0].shared.complexes[0].id) == (900, "CORUM:1")  # type: ignore[union-attr]


def _shares(shared: Any, what: str) -> bool:
    said = {"complex": shared.complexes, "pathway": shared.pathways, "term": shared.terms, "string": shared.string}
    return bool(said[what])


def test_genes_are_asked_through_their_proteins_and_the_best_pair_counts(store: EvidenceStore):
    answer = similar_in(store, "1", "reader", SimilarOptions())
    found = {item.node.id: (item.score, item.via.asked, item.via.found) for item in answer.items if item.via}
    to_c, to_d = 1 / np.sqrt(1.01), 1 / np.sqrt(1.09)
    assert found == {
        gene(2): (pytest.approx(to_c, abs=1e-6), "UniProtKB:B", "UniProtKB:C"),
        gene(3): (pytest.approx(to_d, abs=1e-6), "UniProtKB:A", "UniProtKB:D"),
        gene(4): (pytest.approx(to_d, abs=1e-6), "UniProtKB:A", "UniProtKB:D"),
    }
    assert ids(answer) == [gene(2), gene(3), gene(4)], "equal cosines stand by id"
    assert ids(similar_in(store, "1", "reader", SimilarOptions(k=1))) == [gene(2)]
    assert ids(similar_in(store, "1", "reader", SimilarOptions(shares=("pathway",)))) == [gene(4)]
    alone = similar_in(store, "UniProtKB:A", "reader", SimilarOptions())
    assert ids(alone)[0] == "UniProtKB:D"
    twin = similar_in(store, "4", "reader", SimilarOptions(k=1)).items[0]
    assert (twin.node.id, twin.score) == (gene(3), 1.0), "the other gene of the same protein is as near as can be"
    of_protein = similar_in(store, "UniProtKB:A", "reader", SimilarOptions(label="Gene"))
    assert ids(of_protein)[:3] == [gene(1), gene(3), gene(4)], "the gene of a protein asked for is among the genes"


def test_what_has_no_vector_has_the_reason(store: EvidenceStore):
    for name, encoder, reason in (
        ("11", "text:toy", "11 .HGNC:11. has no vector by text:toy: no name"),
        ("12", "text:toy", "it was not among what was embedded"),
        ("5", "reader", "UniProtKB:E: a stop .* at residue 3 of 9"),
        ("6", "reader", "it encodes no protein of the release"),
    ):
        with pytest.raises(NoVectorError, match=reason):
            similar_in(store, name, encoder, SimilarOptions())
    with pytest.raises(UnknownGeneError, match="names no gene"):
        similar_in(store, "NOTAGENE", "reader", SimilarOptions())
    with pytest.raises(IdentifierError, match="did you mean 'reader'"):
        similar_in(store, "1", "raeder", SimilarOptions())


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"k": 0}, "k is 0"),
        ({"k": 201}, "1 to 200"),
        ({"index": "tree"}, "index 'tree'"),
        ({"label": "Gen"}, "label 'Gen'"),
        ({"shares": ("name",)}, "not 'name'"),
        ({"index": "neo4j"}, "--uri bolt"),
    ],
)
def test_options_that_do_not_fit_are_refused(store: EvidenceStore, wrong: dict[str, Any], said: str):
    with pytest.raises(UsageError, match=said):
        similar_in(store, "1", "reader", SimilarOptions(**wrong))


def test_questions_that_mean_nothing_are_refused(store: EvidenceStore):
    with pytest.raises(UsageError, match="only genes share"):
        similar_in(store, "GO:0000001", "text:toy", SimilarOptions(shares=("complex",)))
    with pytest.raises(UsageError, match="reads proteins"):
        similar_in(store, "GO:0000001", "reader", SimilarOptions())


@pytest.mark.usefixtures("no_faiss")
def test_without_faiss_the_answer_is_the_same_and_hnsw_says_what_to_install(home: Home):
    store = EvidenceStore(home)
    answer = similar_in(store, "1", "text:toy", SimilarOptions(k=3))
    assert answer.index == "numpy"
    assert ids(answer) == ids(similar(home, "1", "text:toy", SimilarOptions(k=3, index="numpy")))
    with pytest.raises(UsageError, match="aroma-evidence\\[embeddings\\]"):
        similar_in(store, "1", "text:toy", SimilarOptions(index="hnsw"))


def test_an_hnsw_index_is_kept_and_made_anew_where_it_is_damaged(tmp_path: Path):
    home = Home(tmp_path / "home")
    vectors = make_vectors(home, "r1", drawn([f"n{number:03}" for number in range(300)]))
    with pytest.raises(UsageError, match="--index hnsw makes one"):
        VectorIndex(vectors, "hnsw", build=False)
    made = VectorIndex(vectors, "hnsw")
    file = vectors.directory / "index-hnsw" / "faiss.index"
    stamp = file.stat().st_mtime_ns
    assert VectorIndex(vectors, "hnsw", build=False).recall == made.recall
    assert file.stat().st_mtime_ns == stamp
    assert 0.9 < (made.recall or 0) <= 1
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    assert check_vector_sets(home) == {f"{vectors.card.id}/r1": ["index-hnsw/faiss.index"]}
    with pytest.raises(UsageError, match="no HNSW index yet"):
        VectorIndex(vectors, "hnsw", build=False)
    VectorIndex(vectors, "hnsw")
    assert check_vector_sets(home) == {}


@pytest.mark.parametrize("kind", ["flat", "hnsw", "numpy"])
def test_rows_that_are_not_allowed_are_never_found(tmp_path: Path, kind: str):
    vectors = make_vectors(Home(tmp_path), "r1", drawn([f"n{number:03}" for number in range(200)]))
    index = VectorIndex(vectors, kind)
    query = np.asarray(vectors.vectors[0])
    whole = VectorIndex(vectors, "numpy").near(query, 200).tolist()
    for part in (2, 3, 50):
        allowed = np.arange(200) % part == 1
        assert index.near(query, 5, allowed).tolist() == [row for row in whole if allowed[row]][:5]
    assert index.near(query, 5, np.zeros(200, dtype=bool)).tolist() == []
    assert len(index.near(query, 1_000)) == 200


def test_recall_is_measured_against_the_exact_answer():
    unit = np.eye(40, dtype=np.float32) + 0.01 * np.random.default_rng(0).normal(size=(40, 40)).astype(np.float32)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    index = vector_index.make_hnsw(unit)
    assert vector_index.measure_recall(index, "hnsw", unit, np.arange(40)) == 1.0

    class Half:
        def search(self, queries: Any, k: int, params: Any) -> Any:
            scores, rows = index.search(queries, k, params=params)
            rows[:, k // 2 :] = 0
            return scores, rows

    assert vector_index.measure_recall(Half(), "hnsw", unit, np.arange(1, 40)) < 0.7


def test_vectors_of_names_come_in_order_with_reasons(store: EvidenceStore):
    found = vectors_of(store, "text:toy", ["2", "NOTAGENE", "GO:0000001", "11", "OLD"])
    assert [item.node for item in found.items] == [gene(2), None, "GO:0000001", None, gene(1)]
    assert [item.problem is None for item in found.items] == [True, False, True, False, True]
    assert found.found == 3
    vectors = find_vector_set(store.snapshot.home, store.snapshot.release, "text:toy")
    assert found.items[0].vector == np.asarray(vectors.vectors[found.items[0].row or 0], dtype=np.float32).tolist()
    said = vectors_of(store, "reader", ["1", "UniProtKB:A"]).items
    assert said[0].problem == "reader reads proteins; ask for UniProtKB:A, UniProtKB:B"
    assert said[1].vector == [1, 0, 0]
    with pytest.raises(UsageError, match="at most 250,000"):
        vectors_of(store, "text:toy", ["2"] * 250_001)


def test_licences_of_what_went_in_follow(store: EvidenceStore):
    items = {item.encoder: item for item in list_encoders(store.snapshot).items}
    assert items["text:toy"].licences == {"corum": "CC BY-NC 4.0"}
    assert not items["text:toy"].commercial_use
    assert items["reader"].commercial_use


def test_the_graphs_own_vectors_are_a_set_with_the_licences_of_its_kernels(sample_home: Home, tmp_path: Path):
    import shutil

    shutil.copytree(sample_home.path, tmp_path / "home")
    store = EvidenceStore(Home(tmp_path / "home"))
    made = write_structural_set(store.snapshot)
    assert {"corum", "string", "gene_ontology", "reactome"} >= set(made.card.licences)
    assert "NC" in made.card.licences["corum"]
    assert not list_encoders(store.snapshot).items[0].commercial_use
    symbol = store.snapshot.nodes.symbols[store.snapshot.nodes.ids.find(made.ids[0]) or 0]
    answer = similar_in(store, symbol, None, SimilarOptions(k=5))
    assert len(answer.items) == 5
    assert made.problems
    lost = store.snapshot.nodes.symbols[store.snapshot.nodes.ids.find(next(iter(made.problems))) or 0]
    with pytest.raises(NoVectorError, match="no term, complex|does not reach"):
        similar_in(store, lost, None, SimilarOptions())
