"""The evidence object: one pair equals many, JSON there and back, its schema, what it holds."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from aroma.kgstore.home import Home
from aroma.retrieval.evidence import EvidenceOptions, EvidenceStore, Pair
from aroma.retrieval.evidence_model import evidence_schema, from_json, to_builtins, to_json
from aroma.retrieval.paths import PathOptions
from aroma.retrieval.withhold import Withhold

LINES = ("RPE1", "K562", "HeLa", "")


@pytest.fixture(scope="module")
def pairs(store: EvidenceStore) -> list[Pair]:
    nodes = store.snapshot.nodes
    symbols = [nodes.symbols[row] for row, label in enumerate(nodes.labels) if label == "Gene"]
    names = [*symbols[:12], "AARS", "taz", "TULP9", "", "HGNC:12423"]
    return [
        Pair(one, other, LINES[(place + also) % len(LINES)])
        for place, one in enumerate(names)
        for also, other in enumerate(names)
    ]


def test_many_equals_one_by_one_byte_for_byte(store, pairs):
    together = [to_json(evidence) for evidence in store.many(pairs)]
    alone = [to_json(store.evidence(pair.perturbation, pair.target, pair.cell_line)) for pair in pairs]
    assert together == alone
    assert [to_json(evidence) for evidence in store.many(reversed(pairs))] == alone[::-1]


def test_a_store_opened_anew_gives_the_same_bytes(sample_home: Home, store, outcomes, pairs):
    again = EvidenceStore(sample_home, outcomes=outcomes)
    for pair in pairs[::7]:
        query = (pair.perturbation, pair.target, pair.cell_line)
        assert to_json(again.evidence(*query)) == to_json(store.evidence(*query))


def test_chunks_do_not_show(store, pairs, monkeypatch):
    whole = [to_json(evidence) for evidence in store.many(pairs)]
    monkeypatch.setattr("aroma.retrieval.evidence._CHUNK", 7)
    assert [to_json(evidence) for evidence in store.many(pairs)] == whole
    assert list(store.many([])) == []


def test_json_there_and_back_and_by_its_schema(store, pairs):
    schema = evidence_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    for evidence in store.many(pairs[::5]):
        text = to_json(evidence)
        assert from_json(text) == evidence
        validator.validate(json.loads(text))
        assert to_builtins(evidence) == json.loads(text)


def test_the_published_schema_is_the_programs():
    """Written anew by: python -m aroma.retrieval.evidence_model > docs/reference/evidence.schema.json"""
    published = Path(__file__).parents[2] / "docs" / "reference" / "evidence.schema.json"
    assert json.loads(published.read_text()) == evidence_schema()


def test_every_provider_of_an_answer_has_its_licence(store):
    evidence = store.evidence("RPL11", "TP53", "K562")
    providers = {licence.provider for licence in evidence.licences}
    assert {edge.provider for path in evidence.paths for step in path.steps for edge in step.edges} <= providers
    assert {sentence.provider for sentence in evidence.target.sentences} <= providers
    assert {"cellosaurus", "perturbqa"} <= providers
    assert {licence.provider: licence.commercial_use for licence in evidence.licences}.get("corum", False) is False


def test_shared_terms_hold_for_both_genes_without_regulation(small_store):
    def shared(one: str, other: str) -> set[str]:
        found = small_store.evidence(one, other, "K562").shared
        return {item.node.id for item in (*found.terms, *found.complexes, *found.pathways)}

    assert shared("1", "2") == {"GO:0000001", "GO:0000002", "CORUM:1"}
    assert shared("1", "3") == {"CORUM:1"}  # GO:0000004 of gene 3 only regulates GO:0000002
    assert shared("1", "5") == {"GO:0000001"}  # gene 5 is denied GO:0000002
    assert shared("1", "4") == {"REACTOME:R-HSA-1", "REACTOME:R-HSA-2"}
    assert shared("11", "12") == set()


def test_shared_features_come_rarest_first_with_their_weight(store, pairs):
    seen = 0
    for evidence in store.many(pairs):
        for items in (evidence.shared.terms, evidence.shared.complexes, evidence.shared.pathways):
            weights = [item.weight for item in items]
            assert weights == sorted(weights, reverse=True)
            assert len(items) <= 10
            seen += len(items)
    assert seen


def test_the_direct_interaction_and_the_degrees(small_store):
    evidence = small_store.evidence("1", "2", "K562")
    assert evidence.interaction.score == 900
    assert evidence.interaction.channels == {}
    assert evidence.interaction.edge.provider == "string"
    assert {degree.view: (degree.perturbation, degree.target) for degree in evidence.degrees} == {
        "path-kg": (3, 3),
        "gene-kg": (2, 2),
    }
    assert small_store.evidence("2", "1", "K562").interaction == evidence.interaction
    assert small_store.evidence("1", "3", "K562").interaction is None  # joined only by a complex
    assert small_store.evidence("1", "9", "K562").interaction is None
    assert small_store.evidence("1", "1", "K562").interaction is None


def test_channel_scores_are_those_of_the_full_file(store):
    found = [
        store.evidence("MDM2", "TP53", "K562").interaction,
        store.evidence("RPL5", "RPL11", "K562").interaction,
    ]
    assert any(interaction is not None and interaction.channels for interaction in found)
    for interaction in found:
        if interaction is not None:
            assert all(0 < score <= 1000 for score in interaction.channels.values())


def test_options_are_part_of_the_answer(store, small_store):
    options = EvidenceOptions(PathOptions("gene-kg", k=1, slack=0), cases=0)
    evidence = store.variant(options=options).evidence("RPL11", "TP53", "K562")
    assert [view.name for view in evidence.views] == ["gene-kg", "gene-kg"]
    assert len(evidence.paths) == 1
    assert evidence.contrast is not None
    assert evidence.contrast.positives == [] == evidence.contrast.negatives
    assert evidence.contrast.positives_total + evidence.contrast.negatives_total > 0
    assert store.evidence("RPL11", "TP53", "K562").views[0].name == "path-kg"


def test_without_outcomes_there_is_no_contrast_and_it_says_so(small_store, store):
    evidence = small_store.evidence("1", "2", "K562")
    assert evidence.contrast is None
    assert evidence.outcomes is None
    assert "no-outcomes" in {flag.code for flag in evidence.coverage}
    assert store.evidence("RPL11", "TP53", "K562").outcomes == store.outcomes_digest is not None


def test_the_version_of_the_outcomes_depends_on_what_may_be_seen_alone(store, outcomes):
    hidden = store.variant(outcomes=outcomes, withhold=Withhold(splits=frozenset({"test"})))
    assert hidden.outcomes_digest != store.outcomes_digest
    train = store.variant(outcomes=outcomes.filter(outcomes["split"] == "train"), withhold=Withhold())
    assert train.outcomes_digest == hidden.outcomes_digest
    shuffled = store.variant(outcomes=outcomes.sample(fraction=1, shuffle=True, seed=5), withhold=Withhold())
    assert shuffled.outcomes_digest == store.outcomes_digest


def test_parts_kept_as_text_give_the_same_bytes(store, pairs):
    alone = [to_json(store.evidence(pair.perturbation, pair.target, pair.cell_line)) for pair in pairs]
    for _ in range(2):  # the second time all parts are kept already
        assert [to_json(found) for found in store.many_encoded(pairs)] == alone
    assert [to_json(store.encoded(pair.perturbation, pair.target, pair.cell_line)) for pair in pairs] == alone
    assert [to_json(found) for found in store.many(pairs)] == alone
