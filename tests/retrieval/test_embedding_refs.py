"""References from evidence to vectors: rows that lead to the very vectors, and nothing where there is none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from aroma.kgstore.home import Home
from aroma.kgstore.publications import require_published
from aroma.retrieval.bulk_evidence import BulkRequest, write_evidence
from aroma.retrieval.evidence import EvidenceStore, Pair
from aroma.retrieval.evidence_model import from_json, to_json
from aroma.retrieval.served import Opened, Seen
from aroma.retrieval.vector_store import find_vector_set
from tests.support.homes import home_of_tables
from tests.support.small_release import small_release
from tests.support.vectors import make_vectors


@pytest.fixture
def home(tmp_path: Path) -> Home:
    found = home_of_tables(tmp_path / "home", small_release())
    release = require_published(found).release
    make_vectors(found, release, {"HGNC:12426": [1, 0], "HGNC:18": [0, 2], "HGNC:20": "nothing is known"})
    make_vectors(found, release, {"UniProtKB:O00294": [1, 2, 3]}, name="reads-proteins", kind="protein")
    return found


def test_rows_lead_to_the_vectors_of_both_genes_and_of_their_proteins(home: Home):
    evidence = EvidenceStore(home).evidence("TULP1", "AAMP", "K562")
    proteins, graph = evidence.embeddings
    assert (graph.encoder, graph.release) == ("toy", evidence.release)
    vectors = find_vector_set(home, graph.release, graph.id)
    assert np.array_equal(vectors.vectors[graph.perturbation[0].row], [1, 0])
    assert np.array_equal(vectors.vectors[graph.target[0].row], [0, 2])
    assert [(one.node, one.row) for one in proteins.perturbation] == [("UniProtKB:O00294", 0)]
    assert proteins.target == [], "AAMP's protein is not in the release: no vector, no stand-in"
    assert from_json(to_json(evidence)) == evidence


def test_a_gene_without_a_vector_has_no_row(home: Home):
    store = EvidenceStore(home)
    assert [one.target for one in store.evidence("TULP1", "AARS1", "K562").embeddings] == [[], []]
    unknown = store.evidence("NOTAGENE", "AAMP", "K562").embeddings
    assert [(one.perturbation, len(one.target)) for one in unknown] == [([], 0), ([], 1)]


def test_one_pair_and_a_file_give_the_same_bytes(home: Home, tmp_path: Path):
    pairs, out = tmp_path / "pairs.csv", tmp_path / "out.jsonl"
    pairs.write_text("perturbation,target,cell_line\nTULP1,AAMP,K562\nNOTAGENE,ITCH,K562\n")
    write_evidence(home, pairs, out, BulkRequest(), workers=1)
    store = EvidenceStore(home)
    alone = [to_json(store.evidence(*row)) for row in (("TULP1", "AAMP", "K562"), ("NOTAGENE", "ITCH", "K562"))]
    assert [line.partition(b'"evidence":')[2][:-1] for line in out.read_bytes().splitlines()] == alone
    many = store.many([Pair("TULP1", "AAMP", "K562"), Pair("NOTAGENE", "ITCH", "K562")])
    assert [to_json(one) for one in many] == alone


def test_a_new_vector_set_changes_the_etag(home: Home):
    release = require_published(home).release
    before = Opened(home, Seen(), release, 1).etag
    make_vectors(home, release, {"HGNC:18": [1.0]}, name="another")
    assert Opened(home, Seen(), release, 1).etag != before
