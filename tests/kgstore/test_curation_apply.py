"""Curation in release tables: what it adds and hides, how it follows merges, and that it can be taken out again."""

from __future__ import annotations

import json

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aroma.errors import CurationError, IdentifierError
from aroma.kgstore import schema
from aroma.kgstore.curation_apply import provider_rows
from aroma.kgstore.curation_csv import import_file
from aroma.kgstore.curation_desk import Asked, enter_one, listed
from aroma.kgstore.curation_release import apply, curate, stamp
from aroma.kgstore.diff import edge_history
from aroma.kgstore.publications import published
from aroma.kgstore.releases import load_tables, stage_gates
from aroma.kgstore.tables import ReleaseTables, release_id
from aroma.kgstore.views import PRESETS, view_edges
from tests.support.curating import ANNA, BEN, WHY, assert_edge, retract, review, revoke
from tests.support.engines import MemoryEngine
from tests.support.homes import home_of_tables
from tests.support.small_release import RUNS, small_release

TULP1, ITCH, AAMP = "HGNC:12426", "HGNC:13890", "HGNC:18"
GO_RUN = RUNS["gene_ontology"]
IDA, IEA = f"{GO_RUN}:9", f"{GO_RUN}:10"
MITOPHAGY = (TULP1, "ANNOTATED_TO", "GO:0000422")


@pytest.fixture
def home(tmp_path):
    return home_of_tables(tmp_path / "home", small_release())


def rows(tables, *edge):
    subject, relation, object_ = edge
    is_it = (pl.col("subject") == subject) & (pl.col("relation") == relation) & (pl.col("object") == object_)
    return tables["edges"].filter(is_it).to_dicts()


def ids(tables):
    return release_id(tables.digests())


def renamed(tables, **frames):
    return ReleaseTables.of({**tables.frames, **frames})


def test_what_nobody_curated_is_the_very_same_tables(home):
    made = curate(home, small_release())
    assert made.findings == made.applied == []
    assert ids(made.tables) == ids(small_release())
    assert "retracted_edges" not in made.tables.digests()
    assert stamp(home) == ""


def test_releases_made_before_curation_came_keep_their_ids(monkeypatch):
    here = small_release().digests()
    spec = schema.TABLES["assertions"]
    old = {name: dtype for name, dtype in spec.columns.items() if name not in spec.later}
    tables = {name: one for name, one in schema.TABLES.items() if not one.optional}
    monkeypatch.setattr(schema, "TABLES", {**tables, "assertions": schema.TableSpec(old, ("id",))})
    assert small_release().digests() == here


def test_retracting_much_is_no_shrinking_provider(home):
    for gene in ("AAMP", "ITCH", "AGPAT1"):
        object_ = "GO:0009987" if gene == "AGPAT1" else "GO:0016236"
        retract(home, gene, "ANNOTATED_TO", object_)
    assert stage_gates(home, curate(home, small_release()).tables, ())[1] == ()


def test_an_assertion_stands_beside_what_providers_say(home):
    assert_edge(home, "TULP1", "MEMBER_OF", "CORUM:783", references=["PMID:16055720"], date="2026-01-02")
    tables = curate(home, small_release()).tables
    (edge,) = rows(tables, TULP1, "MEMBER_OF", "CORUM:783")
    assert (edge["provider"], edge["references"], edge["statements"]) == (
        "curation",
        ["PMID:16055720"],
        ["curation.log:1"],
    )
    (said,) = tables["statements"].filter(pl.col("provider") == "curation").to_dicts()
    assert (said["note"], said["assigned_by"], said["date"]) == (WHY, f"ORCID:{ANNA}", "2026-01-02")
    assert len(rows(tables, AAMP, "MEMBER_OF", "CORUM:783")) == 2
    assert tables["sources"].filter(pl.col("provider") == "curation").height == 1
    assert stage_gates(home, tables, ())[1] == ()


def test_two_curators_who_assert_one_edge_are_two_statements_of_it(home):
    assert_edge(home, "TULP1", "INTERACTS_WITH", "AARS1")
    again = assert_edge(home, "AARS1", "INTERACTS_WITH", "TULP1", reason="said in other words")
    assert again.status == "already there"
    assert_edge(home, "AARS1", "INTERACTS_WITH", "TULP1", curator=BEN)
    (edge,) = rows(curate(home, small_release()).tables, TULP1, "INTERACTS_WITH", "HGNC:20")
    assert edge["statements"] == ["curation.log:1", "curation.log:2"]


def test_a_retracted_edge_leaves_edges_and_views_and_stays_in_the_tables(home):
    entry = retract(home, "ITCH", "MEMBER_OF", "CORUM:783").entry
    tables = curate(home, small_release()).tables
    assert rows(tables, ITCH, "MEMBER_OF", "CORUM:783") == []
    (hidden,) = tables["retracted_edges"].to_dicts()
    assert (hidden["retraction"], hidden["whole"], hidden["provider"]) == (entry.id, True, "corum")
    (line,) = tables["retracted_statements"].to_dicts()
    assert (line["reason"], line["reference"]) == ("Withdrawn paper", "PMID:16055720")
    assert not tables["statements"]["id"].is_in([line["id"]]).any()
    view = view_edges(tables, PRESETS["path-kg"])
    assert view.filter((pl.col("subject") == ITCH) & (pl.col("object") == "CORUM:783")).height == 0


def test_one_statement_is_retracted_and_the_edge_keeps_the_other(home):
    retract(home, statement=IEA)
    tables = curate(home, small_release()).tables
    (edge,) = rows(tables, *MITOPHAGY)
    assert (edge["statements"], edge["evidence"]) == ([IDA], ["IDA"])
    assert edge["content"] != rows(small_release(), *MITOPHAGY)[0]["content"]
    assert tables["retracted_edges"]["whole"].to_list() == [False]
    retract(home, statement=IDA)
    tables = curate(home, small_release()).tables
    assert rows(tables, *MITOPHAGY) == []
    assert tables["retracted_edges"]["whole"].to_list() == [True]


def test_an_asserted_member_shares_the_complex_and_an_assertion_has_no_score_to_fall_below(home):
    assert_edge(home, "TULP1", "MEMBER_OF", "CORUM:783")
    assert_edge(home, "TULP1", "INTERACTS_WITH", "AARS1")
    tables = curate(home, small_release()).tables
    view = PRESETS["gene-kg"].model_copy(update={"minimum_score": 900})
    pairs = set(view_edges(tables, view).select("subject", "object", "relation").iter_rows())
    assert {(TULP1, ITCH, "SHARES_COMPLEX"), (TULP1, AAMP, "SHARES_COMPLEX")} <= pairs
    assert (TULP1, "HGNC:20", "INTERACTS_WITH") in pairs
    assert (AAMP, "HGNC:20", "INTERACTS_WITH") not in pairs


CHOICES = st.lists(
    st.sampled_from(
        [
            ("assert", "TULP1", "MEMBER_OF", "CORUM:783"),
            ("assert", "AAMP", "MEMBER_OF", "CORUM:783"),
            ("assert", "AARS1", "INTERACTS_WITH", "TULP1"),
            ("assert", "GO:0000422", "IS_A", "GO:0009987"),
            ("retract", "ITCH", "INTERACTS_WITH", "TULP1"),
            ("retract", "ITCH", "MEMBER_OF", "CORUM:783"),
            ("retract", *MITOPHAGY),
            ("statement", IDA),
            ("statement", IEA),
            ("statement", f"{RUNS['string']}:4"),
        ]
    ),
    min_size=1,
    max_size=6,
    unique=True,
)


@given(CHOICES, st.data())
@settings(max_examples=25, deadline=None)
def test_curation_is_taken_out_exactly_and_applied_again_changes_nothing(tmp_path_factory, chosen, data):
    home = home_of_tables(tmp_path_factory.mktemp("inverse") / "home", small_release())
    for kind, *what in chosen:
        if kind == "assert":
            assert_edge(home, *what)
        else:
            retract(home, *what) if kind == "retract" else retract(home, statement=what[0])
    made = curate(home, small_release())
    assert ids(provider_rows(made.tables)) == ids(small_release())
    again = curate(home, made.tables)
    assert ids(again.tables) == ids(made.tables) != ids(small_release())
    for one in listed(home):
        revoke(home, one.entry.id)
    assert ids(curate(home, made.tables).tables) == ids(small_release())


def test_the_same_curation_is_the_same_release_in_another_home(home, tmp_path):
    other = home_of_tables(tmp_path / "other", small_release())
    for place in (home, other):
        assert_edge(place, "TULP1", "MEMBER_OF", "CORUM:783", date="2026-01-02")
        retract(place, statement=IEA, date="2026-01-02")
    assert ids(curate(home, small_release()).tables) == ids(curate(other, small_release()).tables)
    assert stamp(home) == stamp(other) != ""


def test_apply_publishes_a_release_and_says_nothing_changed_the_second_time(home):
    engine = MemoryEngine()
    before = published(home).release
    entry = retract(home, *MITOPHAGY).entry
    done = apply(home, engine)
    assert (done.sequence, done.unchanged, done.applied) == (2, False, [entry.id])
    assert done.changes == [{"provider": "gene_ontology", "thing": "ANNOTATED_TO", "change": "retired", "rows": 1}]
    assert apply(home, engine).unchanged
    history = [(one.event, one.reason) for one in edge_history(home, TULP1, "GO:0000422")]
    assert history == [("first seen", None), ("retracted", f"{entry.id}, {ANNA}: Withdrawn paper")]
    revoke(home, entry.id)
    assert apply(home, engine).release == before
    assert [one.event for one in edge_history(home, TULP1, "GO:0000422")][-1] == "first seen"


def merged(tables, old, new):
    """The tables of a later release in which HGNC merged one gene into another."""
    names = tables["gene_names"].filter(pl.col("gene") != old)
    row = {"name": old, "tier": "merged entry", "gene": new, "provider": "hgnc", "import_run": RUNS["hgnc"]}
    moved = [pl.col(name).replace(old, new) for name in ("subject", "object")]
    lines = tables["statements"].with_columns(moved)
    edges = tables["edges"].with_columns(moved).unique(["subject", "relation", "object", "provider"])
    return renamed(
        tables,
        nodes=tables["nodes"].filter(pl.col("id") != old),
        gene_names=pl.concat([names, schema.conform("gene_names", pl.DataFrame([row]))]),
        statements=lines,
        edges=edges.filter(pl.col("subject") != pl.col("object")),
    )


def test_entries_follow_a_gene_that_was_merged_and_say_so(home):
    kept = assert_edge(home, "AGPAT1", "MEMBER_OF", "CORUM:783").entry
    hidden = retract(home, "AGPAT1", "PARTICIPATES_IN", "REACTOME:R-HSA-9612973").entry
    same = assert_edge(home, "AGPAT1", "INTERACTS_WITH", "AARS1").entry
    made = curate(home, merged(small_release(), "HGNC:324", "HGNC:20"))
    (edge,) = rows(made.tables, "HGNC:20", "MEMBER_OF", "CORUM:783")
    assert edge["original_subject"] == "HGNC:324"
    assert rows(made.tables, "HGNC:20", "PARTICIPATES_IN", "REACTOME:R-HSA-9612973") == []
    found = {(one.entry, one.code, one.applied) for one in made.findings}
    assert {(kept.id, "merged", True), (hidden.id, "merged", True), (same.id, "same", False)} <= found
    moved = dict(made.tables["assertions"].select("id", "original_subject").iter_rows())
    assert moved == {kept.id: "HGNC:324", hidden.id: "HGNC:324"}


def test_entries_of_a_withdrawn_gene_wait_and_say_so(home):
    entry = assert_edge(home, "AGPAT1", "MEMBER_OF", "CORUM:783").entry
    gone = small_release()
    here = (pl.col("subject") != "HGNC:324") & (pl.col("object") != "HGNC:324")
    without = renamed(
        gone,
        nodes=gone["nodes"].filter(pl.col("id") != "HGNC:324"),
        gene_names=gone["gene_names"].filter(pl.col("gene") != "HGNC:324"),
        edges=gone["edges"].filter(here),
        statements=gone["statements"].filter(here),
    )
    made = curate(home, without)
    assert [(one.entry, one.code, one.applied) for one in made.findings] == [(entry.id, "gone", False)]
    assert ids(made.tables) == ids(without)


def test_a_term_merged_into_another_is_followed_by_its_alternative_id(home):
    assert_edge(home, "AGPAT1", "ANNOTATED_TO", "GO:0000422")
    tables = small_release()
    nodes = tables["nodes"].filter(pl.col("id") != "GO:0000422")
    heir = pl.when(pl.col("id") == "GO:0006914").then(pl.lit(["GO:0000422"])).otherwise(pl.col("previous"))
    nodes = nodes.with_columns(heir.alias("previous"))
    moved = tables["edges"].filter((pl.col("subject") != "GO:0000422") & (pl.col("object") != "GO:0000422"))
    made = curate(home, renamed(tables, nodes=nodes, edges=moved))
    assert len(rows(made.tables, "HGNC:324", "ANNOTATED_TO", "GO:0006914")) == 1
    assert [one.code for one in made.findings] == ["merged"]


def test_a_statement_is_found_again_in_a_later_file_and_a_change_of_it_is_told(home):
    retract(home, statement=IEA)
    later = small_release()
    moved = {f"{GO_RUN}:{line}": f"gene_ontology.gaf.ffffffffffff:{line + 40}" for line in range(2, 40)}
    lines = later["statements"].with_columns(
        pl.col("id").replace(moved), pl.col("import_run").replace(GO_RUN, "gene_ontology.gaf.ffffffffffff")
    )
    edges = later["edges"].with_columns(pl.col("statements").list.eval(pl.element().replace(moved)))
    made = curate(home, renamed(later, statements=lines, edges=edges))
    assert [row["evidence"] for row in rows(made.tables, *MITOPHAGY)] == [["IDA"]]
    assert made.findings == []
    dated = lines.with_columns(pl.lit("2025-05-05").alias("date"))
    told = curate(home, renamed(later, statements=dated, edges=edges)).findings
    assert [(one.code, one.applied) for one in told] == [("changed", True)]
    other = lines.with_columns(pl.lit("PMID:999").alias("reference"))
    told = curate(home, renamed(later, statements=other, edges=edges)).findings
    assert [(one.code, one.applied) for one in told] == [("no longer said", False)]


def test_a_provider_that_agrees_or_dropped_the_edge_is_told(home):
    agreed = assert_edge(home, "ITCH", "MEMBER_OF", "CORUM:783")
    assert "corum says so already" in agreed.notes[0]
    hidden = retract(home, "AAMP", "MEMBER_OF", "CORUM:783", provider="complex_portal").entry
    assert [(one.entry, one.code) for one in curate(home, small_release()).findings] == [(agreed.entry.id, "agrees")]
    tables = small_release()
    left = renamed(
        tables,
        edges=tables["edges"].filter(pl.col("relation") != "MEMBER_OF"),
        statements=tables["statements"].filter(pl.col("relation") != "MEMBER_OF"),
    )
    told = {(one.entry, one.code, one.applied) for one in curate(home, left).findings}
    assert told == {(agreed.entry.id, "dropped", True), (hidden.id, "no longer said", False)}


def test_with_review_an_entry_is_applied_only_after_another_person_approved_it(home, monkeypatch):
    monkeypatch.setenv("AROMA_CURATION_REVIEW", "1")
    entry = assert_edge(home, "TULP1", "MEMBER_OF", "CORUM:783").entry
    assert curate(home, small_release()).applied == []
    with pytest.raises(CurationError, match="a review is a second person's"):
        review(home, entry.id, curator=ANNA)
    assert review(home, entry.id).standing.state == "in force"
    made = curate(home, small_release())
    assert made.tables["assertions"]["reviewed_by"].to_list() == [[BEN]]
    assert revoke(home, entry.id).standing.state == "in force"
    (waiting,) = listed(home)
    review(home, waiting.revocation.id)
    assert listed(home)[0].state == "revoked"


@pytest.mark.parametrize(
    ("asked", "error", "problem"),
    [
        ({"subject": "TULPP1"}, IdentifierError, "did you mean TULP1"),
        ({"object": "CORUM:9"}, IdentifierError, "is no node of release"),
        ({"relation": "MEMBEROF"}, CurationError, "did you mean MEMBER_OF"),
        (
            {"object": "GO:0000422"},
            CurationError,
            "joins Gene to Complex; HGNC:12426 is a Gene and GO:0000422 a ",
        ),
        ({"reason": " "}, CurationError, "a reason is needed"),
        ({"curator": "Anna"}, CurationError, "no ORCID"),
        ({"references": ["the paper"]}, CurationError, "neither a PubMed id"),
        ({"kind": "delete"}, CurationError, "none of assert"),
        ({"kind": "retract"}, CurationError, "no provider says HGNC:12426 MEMBER_OF CORUM:783"),
        ({"kind": "retract", "subject": "AAMP"}, CurationError, "say which is meant"),
        ({"kind": "retract", "subject": "AAMP", "provider": "string"}, CurationError, "string does not say"),
        ({"kind": "retract", "statement": "x:1"}, IdentifierError, "is not in release"),
        ({"kind": "retract", "statement": IDA}, CurationError, "leave the edge out"),
        ({"kind": "revoke", "of": "C000000000000"}, IdentifierError, "no entry is called"),
        ({"kind": "review", "decision": "maybe"}, CurationError, "neither approve nor reject"),
        ({"provider": "corum"}, CurationError, "only given for a retraction"),
    ],
)
def test_what_does_not_fit_is_refused_and_not_logged(home, asked, error, problem):
    good = {"kind": "assert", "curator": ANNA, "reason": "r", "subject": "TULP1", "relation": "MEMBER_OF"}
    with pytest.raises(error, match=problem):
        enter_one(home, Asked(**{**good, "object": "CORUM:783", **asked}))
    assert listed(home) == []


def test_a_table_enters_what_fits_and_keeps_what_does_not_with_the_reason(home, tmp_path):
    path = tmp_path / "lab.csv"
    path.write_text(
        "kind,subject,relation,object,provider,reason,references,curator\n"
        f"assert,TULP1,MEMBER_OF,CORUM:783,,{WHY},PMID:1;DOI:10.1000/x,\n"
        ",NOGENE,MEMBER_OF,CORUM:783,,why,,\n"
        f"retract,ITCH,MEMBER_OF,CORUM:783,corum,,,{BEN}\n"
        f"retract,ITCH,MEMBER_OF,CORUM:783,corum,Withdrawn paper,,{BEN}\n"
        "revoke,,,,,why,,\n"
        f"assert,TULP1,MEMBER_OF,CORUM:783,,{WHY},PMID:1,\n"
    )
    tried = import_file(home, path, curator=ANNA, dry_run=True)
    assert tried.counts == {"would be entered": 2, "rejected": 3, "already there": 1}
    assert listed(home) == []
    assert tried.rejects_file is None
    done = import_file(home, path, curator=ANNA)
    assert done.counts == {"entered": 2, "rejected": 3, "already there": 1}
    assert done.entries == tried.entries
    assert [line for line, _ in done.rejected] == [3, 4, 6]
    kept = pl.read_csv(done.rejects_file)
    assert kept["rejected_because"].to_list() == [problem for _, problem in done.rejected]
    assert kept["subject"].to_list() == ["NOGENE", "ITCH", None]
    assert import_file(home, path, curator=ANNA).counts == {"already there": 3, "rejected": 3}
    assert [one.entry.curator for one in listed(home)] == [ANNA, BEN]
    assert [one.entry.references for one in listed(home, ["in force"], TULP1)] == [("PMID:1", "DOI:10.1000/x")]


def test_what_to_look_at_after_a_refresh_stands_in_the_audit_and_its_page(home):
    entry = assert_edge(home, "AGPAT1", "MEMBER_OF", "CORUM:783").entry
    retract(home, statement=IEA)
    home_of_tables(home.path, merged(small_release(), "HGNC:324", "HGNC:20"))
    done = apply(home, MemoryEngine())
    directory = home.release(done.release)
    said = json.loads((directory / "audit.json").read_text())["curation"]
    assert [(one["entry"], one["code"]) for one in said["findings"]] == [(entry.id, "merged")]
    assert said["findings"] == done.findings
    assert (said["asserted_edges"], said["retracted_edges"], said["retracted_statements"]) == (1, 0, 1)
    page = (directory / "audit.html").read_text()
    assert "HGNC:324 was merged into HGNC:20" in page
    assert IEA in page


def test_a_published_release_still_has_what_its_providers_say(home):
    retract(home, *MITOPHAGY)
    first = apply(home, MemoryEngine())
    assert ids(provider_rows(load_tables(home, first.release))) == ids(small_release())
    assert published(home).action == "curate"
