"""Sentences and their sources: what counts as supported, and what does not."""

from __future__ import annotations

import re

import pytest

from aroma.errors import UsageError
from aroma.model.traces.faithfulness import donors, faithfulness, swap
from aroma.model.traces.items import items_of
from aroma.model.traces.page import Heading, page
from aroma.model.traces.telling import PromptSettings, tell
from aroma.model.traces.tracing import share_supported, trace_sources
from aroma.model.traces.writer import write_trace


@pytest.fixture(scope="module")
def itch(store):
    return store.evidence("TULP1", "ITCH", "RPE1")


@pytest.fixture(scope="module")
def resolve(store):
    return lambda name: store.resolve(name).gene


def one(text, evidence, resolve):
    (sentence,) = trace_sources(text, evidence, resolve).sentences
    return sentence


def test_items_have_names_of_their_own_and_the_statements_behind_them(itch):
    items = items_of(itch)
    assert len({item.id for item in items}) == len(items)
    assert all(item.statements for item in items if item.kind in {"description", "path", "cell line"})
    statements = {statement for item in items for statement in item.statements}
    for description in (itch.perturbation, itch.target):
        for sentence in description.sentences:
            assert statements.issuperset(sentence.statements)


def test_sentences_in_the_shape_of_the_papers_example(itch, resolve):
    """As in the paper's appendix E.1: own words on descriptions, paths and the line; the conclusion rests on all."""
    inner = [node.name for node in itch.paths[0].nodes[1:-1]]
    told = trace_sources(
        "Loss of TULP1 in RPE1 cells harms photoreceptor function and the survival of photoreceptor cells. "
        "ITCH acts as an E3 ubiquitin-protein ligase that adds ubiquitin to signalling proteins. "
        f"The known path from TULP1 to ITCH leads through {inner[0]} and {inner[-1]}. "
        "RPE1 cells come from retinal pigment epithelium of normal tissue. "
        "Therefore, ITCH is unlikely to respond: it is not significantly changed.",
        itch,
        resolve,
    )
    kinds = [sentence.kind for sentence in told.sentences]
    assert kinds == ["claim", "claim", "claim", "claim", "conclusion"]
    assert [sentence.supported for sentence in told.sentences] == [True, True, True, True, False]
    first = [told.items[sentence.sources[0].item] for sentence in told.sentences[:4]]
    assert [item.kind for item in first] == ["description", "description", "path", "cell line"]
    assert [item.id.split()[0] for item in first[:2]] == ["perturbation", "target"]
    assert (told.claims, told.supported, told.share) == (4, 4, 1.0)


@pytest.mark.parametrize(
    ("text", "unknown"),
    [
        ("KRAS drives the transcription of ITCH through MDM2 in this line.", ("MDM2",)),
        ("The kinase cascade phosphorylates histones during mitotic exit.", ()),
        ("A mouse model showed severe cardiac arrhythmia after feeding.", ()),
    ],
)
def test_what_the_evidence_does_not_say_is_flagged(itch, resolve, text, unknown):
    sentence = one(text, itch, resolve)
    assert not sentence.supported
    assert sentence.kind == "claim"
    assert set(unknown) <= set(sentence.unknown)


def test_a_sentence_that_names_a_gene_outside_the_evidence_is_unsupported_whatever_else_it_says(itch, resolve):
    base = "ITCH acts as an E3 ubiquitin-protein ligase"
    assert one(f"{base}.", itch, resolve).supported
    other = one(f"{base} and binds TP53.", itch, resolve)
    assert (other.supported, other.unknown) == (False, ("TP53",))


def test_a_synonym_is_the_gene_that_it_stands_for(itch, resolve):
    assert one("AIP4 acts as an E3 ubiquitin-protein ligase.", itch, lambda name: "HGNC:13890").unknown == ()
    assert one("ACRONYM transfers ubiquitin to substrates.", itch, resolve).unknown == ()


def test_words_without_content_claim_nothing(itch, resolve):
    assert one("This may well be so.", itch, resolve).kind == "link"
    empty = trace_sources("", itch, resolve)
    assert (empty.sentences, empty.share) == ((), None)


def test_a_template_trace_rests_on_its_own_evidence_and_not_on_anothers(store, resolve):
    pairs = [
        ("TULP1", "ITCH", "RPE1"),
        ("RPL11", "TP53", "K562"),
        ("PSMA1", "HSPA5", "HepG2"),
        ("NDUFS1", "ATF4", "Jurkat"),
    ]
    found = [store.evidence(*pair) for pair in pairs]
    traces = [write_trace(evidence, label) for evidence, label in zip(found, (0, 2, 1, 0), strict=True)]
    own = share_supported(trace_sources(text, evidence, resolve) for text, evidence in zip(traces, found, strict=True))
    others = share_supported(
        trace_sources(text, evidence, resolve) for text, evidence in zip(traces, [*found[1:], found[0]], strict=True)
    )
    assert own > 0.97
    assert others < 0.4


def test_the_page_escapes_everything_and_links_both_ways(itch, resolve):
    attack = '<script>alert(1)</script> ITCH acts as an E3 ubiquitin-protein ligase & <b>binds</b> "TULP1".'
    traced = trace_sources(attack, itch, resolve)
    html = page(traced, Heading("<img src=x onerror=1>", "<i>up</i>", "upregulated", '"><script>', (("a<", "b>"),)))
    assert "<script" not in html
    assert "<img" not in html
    assert "<b>" not in html
    assert "&lt;script&gt;" in html
    targets = set(re.findall(r' id="([es]\d+)"', html))
    links = set(re.findall(r'href="#([es]\d+)"', html))
    assert links
    assert links <= targets
    assert not re.search(r'(?:src|href)="(?!#)', html)


def test_donors_are_others_each_once():
    for rows in (2, 3, 10):
        for seed in range(5):
            found = donors(rows, seed)
            assert sorted(found) == list(range(rows))
            assert all(at != donor for at, donor in enumerate(found))


def test_swapped_evidence_keeps_the_question_and_tells_the_donors_facts(store, itch):
    donor = store.evidence("RPL11", "TP53", "K562")
    swapped = swap(itch, donor)
    assert swapped.query == itch.query
    assert swapped.cell_line == itch.cell_line
    assert swapped.shared == donor.shared
    assert swapped.perturbation.gene.name == "TULP1"
    texts = " ".join(one.text for side in (swapped.perturbation, swapped.target) for one in side.sentences)
    assert "ribosom" in texts
    assert not re.search(r"\bRPL11\b|\bTP53\b", texts)
    for path in swapped.paths:
        assert (path.nodes[0].name, path.nodes[-1].name) == ("TULP1", "ITCH")


def test_a_model_that_reads_no_evidence_never_moves(store, known_outcomes):
    rows = list(
        tell(store, known_outcomes.head(12).with_columns(split=known_outcomes["cell_line"].head(12)), PromptSettings())
    )
    blind = faithfulness(rows, lambda asked: [len(evidence.query.target) % 3 for evidence in asked])
    assert (blind.rows, blind.answered, blind.moved, blind.share) == (12, 12, 0, 0.0)
    assert blind.high < 0.35

    def reads(asked):
        return [len(str(evidence.target.sentences)) % 3 for evidence in asked]

    reading = faithfulness(rows, reads)
    assert reading.moved > 0
    assert sum(one["moved"] for one in reading.by_label.values()) == reading.moved
    silent = faithfulness(rows, lambda asked: [None] * len(asked))
    assert (silent.answered, silent.share, silent.low) == (0, None, None)
    with pytest.raises(UsageError, match="at least two"):
        faithfulness(rows[:1], reads)
