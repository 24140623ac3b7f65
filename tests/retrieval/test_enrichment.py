"""Over-representation: the hypergeometric test, its adjustment, the background, and pruning."""

from math import comb

import pytest

from aroma.errors import UsageError
from aroma.retrieval.enrichment import Enrichment, EnrichmentOptions
from aroma.retrieval.enrichment_answers import enrich_names
from aroma.retrieval.gene_kernels import GeneKernels
from aroma.retrieval.snapshot import open_snapshot

LOOSE = EnrichmentOptions(kinds=("go",), smallest=2, most=1.0, prune=False)


@pytest.fixture(scope="module")
def snapshot(sample_home):
    return open_snapshot(sample_home)


def chance(background, size, asked, overlap):
    ways = sum(comb(size, k) * comb(background - size, asked - k) for k in range(overlap, min(size, asked) + 1))
    return ways / comb(background, asked)


def members_of(snapshot):
    """Who is in which GO term, read from the kernel gene by gene."""
    kernel = GeneKernels(snapshot)["go-terms"]
    found = {}
    for gene in kernel.genes.tolist():
        for term in kernel.weights_of(gene):
            found.setdefault(snapshot.nodes.ids[term], set()).add(gene)
    return {term: genes for term, genes in found.items() if len(genes) >= 2}, set(kernel.genes.tolist())


def test_p_values_are_those_counted_by_hand_and_adjusted_over_all_sets(snapshot):
    sets, genes = members_of(snapshot)
    term = max(sorted(sets), key=lambda term: len(sets[term]) if len(sets[term]) < 10 else 0)
    asked = [*sets[term], *sorted(genes - sets[term])[:2]]
    found = Enrichment(snapshot, LOOSE).of(asked)
    p = {one: chance(len(genes), len(held), len(asked), len(held & set(asked))) for one, held in sets.items()}
    assert {one.id for one in found} == {one for one, held in sets.items() if held & set(asked)}
    for one in found:
        assert one.p == pytest.approx(p[one.id])
        assert one.size == len(sets[one.id])
    ordered = sorted(p.values())
    smallest = min(value * len(ordered) / rank for rank, value in enumerate(ordered, 1))
    assert found[0].adjusted == pytest.approx(min(1.0, smallest))


def test_the_background_is_the_users_choice(snapshot):
    sets, genes = members_of(snapshot)
    term = min(sorted(sets), key=lambda term: len(sets[term]))
    asked = sorted(sets[term])
    wide = {one.id: one for one in Enrichment(snapshot, LOOSE).of(asked)}[term]
    narrow = {one.id: one for one in Enrichment(snapshot, LOOSE).of(asked, asked + sorted(genes - sets[term])[:3])}[
        term
    ]
    assert (narrow.background, wide.background) == (len(asked) + 3, len(genes))
    assert narrow.p > wide.p


def test_pruning_leaves_a_subset_without_relatives_that_add_nothing(snapshot):
    sets, _ = members_of(snapshot)
    term = max(sorted(sets), key=lambda term: len(sets[term]) if len(sets[term]) < 10 else 0)
    options = EnrichmentOptions(kinds=("go",), smallest=2, most=1.0)
    every, kept = Enrichment(snapshot, LOOSE), Enrichment(snapshot, options)
    all_ids = [one.id for one in every.of(sorted(sets[term]))]
    pruned = [one.id for one in kept.of(sorted(sets[term]))]
    assert pruned[0] == all_ids[0]
    assert set(pruned) < set(all_ids)


def test_names_are_resolved_and_those_that_are_not_are_named(sample_home):
    found = enrich_names(sample_home, ["TULP1", "ITCH", "NOSUCHGENE", "TULP1"], options=LOOSE)
    assert found.asked == 2
    assert set(found.unresolved) == {"NOSUCHGENE"}
    assert set(found.symbols.values()) == {"TULP1", "ITCH"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (EnrichmentOptions(kinds=("kegg",)), "kegg"),
        (EnrichmentOptions(smallest=9, largest=3), "leave no set"),
        (EnrichmentOptions(most=0), "above 0"),
    ],
)
def test_choices_that_are_none_are_refused(snapshot, options, said):
    with pytest.raises(UsageError, match=said):
        Enrichment(snapshot, options)


def test_no_gene_and_a_background_of_nothing_are_refused(sample_home, snapshot):
    with pytest.raises(UsageError, match="no gene is given"):
        enrich_names(sample_home, [])
    with pytest.raises(UsageError, match="background"):
        Enrichment(snapshot, LOOSE).of([1], [])
