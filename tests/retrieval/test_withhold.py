"""The leakage guard: what is withheld cannot be seen in any byte of the evidence, and is counted."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aroma.errors import InputFileError, UsageError
from aroma.kgstore.home import Home
from aroma.kgstore.outcomes import define_split, store_outcomes
from aroma.retrieval.evidence import EvidenceOptions, EvidenceStore, Pair
from aroma.retrieval.evidence_model import to_json
from aroma.retrieval.withhold import NOTHING, Withhold, read_withhold

QUERIES = [Pair("TULP1", "ITCH", "RPE1"), Pair("RPL11", "TP53", "K562"), Pair("AARS1", "MDM2", "HepG2")]
ALL = EvidenceOptions(cases=None)


@pytest.fixture(scope="module")
def lister(sample_home: Home, outcomes: pl.DataFrame) -> EvidenceStore:
    return EvidenceStore(sample_home, outcomes=outcomes, options=ALL)


def some_pairs(outcomes: pl.DataFrame, rows: list[int], *, line: bool, target: bool) -> pl.DataFrame:
    columns = ["perturbation", *["target"] * target, *["cell_line"] * line]
    return outcomes[[row % outcomes.height for row in rows]].select(columns)


@st.composite
def withholdings(draw: st.DrawFn, outcomes: pl.DataFrame) -> Withhold:
    rows = draw(st.lists(st.integers(0, outcomes.height - 1), min_size=1, max_size=30))
    way = draw(
        st.sampled_from(["split", "line", "perturbations", "pairs", "perturbations in a line", "pairs in a line"])
    )
    if way == "split":
        return Withhold(splits=frozenset({draw(st.sampled_from(["train", "test"]))}))
    if way == "line":
        return Withhold(cell_lines=frozenset({draw(st.sampled_from(["K562", "k-562", "RPE1"]))}))
    if way == "perturbations":
        return Withhold(perturbations=frozenset(outcomes["perturbation"][row] for row in rows))
    return Withhold(pairs=some_pairs(outcomes, rows, line=way.endswith("line"), target=way.startswith("pairs")))


@given(data=st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_changing_a_withheld_label_changes_no_byte(lister, outcomes, data):
    withhold = data.draw(withholdings(outcomes))
    hidden = withhold.mask(outcomes, lister.resolver)
    assert hidden.any()
    labels = data.draw(st.lists(st.integers(0, 2), min_size=int(hidden.sum()), max_size=int(hidden.sum())))
    changed = outcomes.with_columns(
        pl.when(hidden).then((pl.col("label") + 1) % 3).otherwise(pl.col("label")).cast(pl.Int8).alias("label")
    )
    drawn = outcomes["label"].to_numpy().copy()
    drawn[hidden.to_numpy()] = labels
    other = outcomes.with_columns(pl.Series("label", drawn, dtype=pl.Int8))
    stores = [lister.variant(outcomes=frame, withhold=withhold) for frame in (outcomes, changed, other)]
    for query in QUERIES:
        texts = {to_json(store.evidence(query.perturbation, query.target, query.cell_line)) for store in stores}
        assert len(texts) == 1
    assert len({b"".join(to_json(one) for one in store.many(QUERIES)) for store in stores}) == 1


def test_changing_a_label_that_may_be_seen_changes_the_evidence(lister, outcomes):
    """The property above would hold for an answer that ignores outcomes; this one shows that it does not."""
    changed = outcomes.with_columns(((pl.col("label") + 1) % 3).cast(pl.Int8).alias("label"))
    store = lister.variant(outcomes=changed, withhold=NOTHING)
    query = ("RPL11", "TP53", "K562")
    assert to_json(store.evidence(*query)) != to_json(lister.evidence(*query))


def measured(outcomes: pl.DataFrame, target: str) -> pl.DataFrame:
    return outcomes.drop_nulls(["perturbation_gene", "target_gene"]).filter(pl.col("target") == target)


@pytest.mark.parametrize(
    ("asked", "hides"),
    [
        (("test",), pl.col("split") == "test"),
        (("split:test",), pl.col("split") == "test"),
        (("cell-line:K562",), pl.col("cell_line") == "K562"),
        (("cell-line:k-562",), pl.col("cell_line") == "K562"),
        (("perturbation:RPL11",), pl.col("perturbation") == "RPL11"),
        (("perturbation:AARS1",), pl.col("perturbation") == "AARS"),  # measured under its old name
        (("split:test", "cell-line:K562"), (pl.col("split") == "test") | (pl.col("cell_line") == "K562")),
    ],
)
def test_each_way_hides_what_it_names_and_says_how_much(lister, outcomes, asked, hides):
    store = lister.variant(outcomes=outcomes, withhold=read_withhold(asked))
    evidence = store.evidence("TULP1", "TP53", "RPE1")
    contrast = evidence.contrast
    rows = measured(outcomes, "TP53")
    expected = rows.filter(hides).height
    assert expected
    assert contrast.withheld == evidence.withheld["outcomes_on_target"] == expected
    seen = rows.filter(~hides & ~((pl.col("perturbation") == "TULP1") & (pl.col("cell_line") == "RPE1")))
    assert contrast.positives_total + contrast.negatives_total == seen.height
    shown = {(case.perturbation.id, case.cell_line) for case in (*contrast.positives, *contrast.negatives)}
    assert shown <= set(seen.select("perturbation_gene", "cell_line").rows())


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("names", ["as written", "ids"])
def test_a_file_of_pairs_hides_them_in_its_line_or_in_all(lister, outcomes, tmp_path, suffix, names):
    rows = measured(outcomes, "TP53").filter(pl.col("perturbation").is_in(["AARS", "RPL11"]))
    columns = ("perturbation", "target") if names == "as written" else ("perturbation_gene", "target_gene")
    named = rows.select(pl.col(columns[0]).alias("pert"), pl.col(columns[1]).alias("gene"), "cell_line")
    for frame, expected in ((named, rows.height), (named.drop("cell_line"), rows.height), (named.head(1), 1)):
        path = tmp_path / f"pairs{suffix}"
        frame.write_csv(path) if suffix == ".csv" else frame.write_parquet(path)
        store = lister.variant(outcomes=outcomes, withhold=read_withhold([str(path)]))
        evidence = store.evidence("TULP1", "TP53", "RPE1")
        assert evidence.contrast.withheld == expected
        assert evidence.withheld["pairs"] == frame.height


def test_a_list_of_perturbations_hides_all_their_outcomes(lister, outcomes, tmp_path):
    path = tmp_path / "held-out.csv"
    path.write_text("perturbation\nAARS1\nRPL11\n")
    hidden = read_withhold([str(path)]).mask(outcomes, lister.resolver)
    assert set(outcomes.filter(hidden)["perturbation"]) == {"AARS", "RPL11"}
    assert hidden.sum() == outcomes.filter(pl.col("perturbation").is_in(["AARS", "RPL11"])).height


def test_a_stored_split_hides_its_rows(tmp_path, outcomes, lister):
    home = Home(tmp_path)
    store_outcomes(home, outcomes)
    rows = outcomes.filter(pl.col("perturbation").is_in(["TP53", "MDM2"])).select("cell_line", "perturbation").unique()
    define_split(home, "by-perturbation", rows)
    hidden = read_withhold(["split:by-perturbation"], home).mask(outcomes, lister.resolver)
    assert set(outcomes.filter(hidden)["perturbation"]) == {"TP53", "MDM2"}
    assert hidden.sum() == outcomes.filter(pl.col("perturbation").is_in(["TP53", "MDM2"])).height


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("split:tset", "no outcome is of split 'tset'; there are: test, train"),
        ("cell-line:HeLa", "no outcome is of cell line 'HeLa'; there are: HepG2, Jurkat, K562, RPE1"),
        ("perturbation:TULP9", "no gene has that name; did you mean TULP1"),
    ],
)
def test_a_name_that_hides_nothing_is_refused(lister, outcomes, asked, said):
    with pytest.raises(UsageError, match=said):
        lister.variant(outcomes=outcomes, withhold=read_withhold([asked]))


@pytest.mark.parametrize("asked", ["gene:TP53", "perturbation:", "cell-line:", "split:"])
def test_an_unknown_way_is_refused(asked):
    with pytest.raises(UsageError, match="expected split:NAME"):
        read_withhold([asked])


def test_a_file_without_perturbations_is_refused(tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(InputFileError, match="has no column perturbation"):
        read_withhold([str(path)])
    with pytest.raises(InputFileError, match="cannot be read"):
        read_withhold([str(tmp_path / "none.parquet")])


def test_withholdings_compare_by_what_they_name():
    pairs = pl.DataFrame({"perturbation": ["TP53"]})
    assert Withhold() == NOTHING
    assert Withhold(pairs=pairs) != NOTHING
    assert Withhold(pairs=pairs) == Withhold(pairs=pairs.clone())
    assert Withhold(splits=frozenset({"test"})) != NOTHING
    assert NOTHING != "nothing"
    assert len({NOTHING, Withhold()}) == 1
