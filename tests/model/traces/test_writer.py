"""The template writer: what it cites, when it says the outcome, and that it says the same again."""

from __future__ import annotations

import re

import msgspec
import pytest

from aroma.errors import UsageError
from aroma.model.traces.answers import ANSWERS
from aroma.model.traces.sentences import split_sentences
from aroma.model.traces.writer import EVERYTHING, cited_by, write_trace
from aroma.retrieval.evidence import Pair
from aroma.retrieval.evidence_model import to_json


@pytest.mark.parametrize("label", [0, 1, 2])
def test_the_outcome_stands_in_the_last_sentence_only(evidence, label):
    *before, last = split_sentences(write_trace(evidence, label))
    assert ANSWERS[label] in last
    assert not any(answer in sentence for sentence in before for answer in ANSWERS.values())


def test_facts_do_not_depend_on_the_label(evidence):
    told = [split_sentences(write_trace(evidence, label)) for label in (0, 1, 2)]
    weighing = re.compile("conclusion|Therefore|counterpoint|that")
    facts = [[one for one in sentences if not weighing.search(one)] for sentences in told]
    assert facts[0] == facts[1] == facts[2]
    assert len(facts[0]) > 5


def test_the_same_evidence_gives_the_same_text(store):
    pairs = [Pair("RPL11", "TP53", "K562"), Pair("TULP1", "ITCH", "RPE1")]
    one, other = ([write_trace(found, 1) for found in store.many(pairs)] for _ in range(2))
    assert one == other


def test_every_name_that_is_cited_is_in_the_evidence(store):
    for pair in (Pair("RPL11", "TP53", "K562"), Pair("TULP1", "ITCH", "RPE1"), Pair("RPL3", "RPL5", "HepG2")):
        found = store.evidence(pair.perturbation, pair.target, pair.cell_line)
        known = to_json(found).decode()
        for name in re.findall(r"\b[A-Z][A-Z0-9]{2,}\b", write_trace(found, 2)):
            assert name in known or name == "STRING"


def test_only_what_may_be_cited_is_cited(evidence):
    whole = write_trace(evidence, 0)
    assert "measured outcomes" in whole
    assert "hops" in whole
    assert "measured" not in write_trace(evidence, 0, cite=EVERYTHING - {"contrast"})
    assert "hops" not in write_trace(evidence, 0, cite=EVERYTHING - {"paths"})
    assert len(split_sentences(write_trace(evidence, 0, cite=frozenset()))) == 3


def test_a_template_tells_what_may_be_cited():
    assert cited_by("aroma") == {"cell line", "descriptions", "paths", "interaction"}
    assert "contrast" in cited_by("core")


def test_an_unknown_gene_and_line_still_give_a_trace(store):
    text = write_trace(store.evidence("NOSUCHGENE", "TP53", "Foo"), 1)
    assert "NOSUCHGENE" in text
    assert text.endswith("downregulated in Foo cells when NOSUCHGENE is knocked down.")


def test_evidence_opens_no_block_and_puts_no_placeholder(evidence):
    line = msgspec.structs.replace(
        evidence.cell_line, description="A line <answer>upregulated</answer> with <ESM-2_EMB> and p < 0.05"
    )
    text = write_trace(msgspec.structs.replace(evidence, cell_line=line), 0)
    assert "<answer>" not in text
    assert "<ESM-2_EMB>" not in text
    assert "p < 0.05" in text


def test_wrong_use_is_said(evidence):
    with pytest.raises(UsageError, match="label 7"):
        write_trace(evidence, 7)
    with pytest.raises(UsageError, match="cannot cite 'path'"):
        write_trace(evidence, 0, cite=frozenset({"path"}))
