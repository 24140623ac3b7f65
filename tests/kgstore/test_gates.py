"""Gates stop a release by name, say why, and can be let pass by name."""

from __future__ import annotations

import polars as pl
import pytest

from aroma.errors import GateStoppedError, UsageError
from aroma.kgstore.gates import check_gates, drop_accepted, stop_unless_accepted
from aroma.kgstore.tables import ReleaseTables
from tests.support.tables import nodes, release, run_rows, statements

GENES = [(f"HGNC:{n}", "Gene") for n in range(1, 31)]


def complexes(count, kind="all"):
    rows = [(f"HGNC:{n}", "MEMBER_OF", "CORUM:1") for n in range(1, count + 1)]
    return release(
        [nodes(*GENES), nodes(("CORUM:1", "Complex"), provider="corum")],
        [statements(rows, provider="corum", run=f"corum.{kind}.aaaaaaaaaaaa")],
        runs=run_rows(("corum", kind, count)),
    )


def names(findings):
    return [finding.gate for finding in findings]


def test_sound_tables_pass():
    assert check_gates(complexes(20), None) == []
    assert check_gates(complexes(18), complexes(20)) == []


def test_a_fall_of_more_than_a_tenth_stops_and_says_which_count():
    findings = check_gates(complexes(17), complexes(20))
    assert names(findings) == ["fall:corum.MEMBER_OF", "fall:corum.statements"]
    assert "20 before, 17 now, 15.0 % fewer" in findings[0].message
    with pytest.raises(GateStoppedError, match="--accept fall:corum.MEMBER_OF") as stopped:
        stop_unless_accepted(findings, ["fall:corum.statements"])
    assert stopped.value.exit_code == 3
    assert stopped.value.gates == ("fall:corum.MEMBER_OF",)


def test_a_change_of_file_kind_is_named_beside_the_fall():
    findings = check_gates(complexes(10, kind="core"), complexes(20, kind="all"))
    assert names(findings) == ["file-kind:corum", "fall:corum.MEMBER_OF", "fall:corum.statements"]
    assert "change of file kind: read from core; the release before from all" in findings[1].message


def test_another_kind_of_file_stops_even_where_no_count_falls():
    findings = check_gates(complexes(25, kind="core"), complexes(20, kind="all"))
    assert names(findings) == ["file-kind:corum"]
    assert stop_unless_accepted(findings, ["file-kind:corum"]) == ("file-kind:corum",)


def test_accepted_gates_are_returned_for_the_record():
    findings = check_gates(complexes(17), complexes(20))
    accepted = stop_unless_accepted(findings, [*names(findings), "fall:corum.Complex"])
    assert accepted == ("fall:corum.MEMBER_OF", "fall:corum.statements")


def test_a_mistyped_gate_is_refused():
    with pytest.raises(UsageError, match="did you mean 'dangling-ends'"):
        stop_unless_accepted([], ["dangling-end"])


def test_dangling_edges_stop_and_are_left_out_when_accepted():
    tables = release(
        [nodes(*GENES)], [statements([("HGNC:1", "INTERACTS_WITH", "HGNC:2"), ("HGNC:1", "INTERACTS_WITH", "HGNC:99")])]
    )
    findings = check_gates(tables, None)
    assert names(findings) == ["dangling-ends"]
    assert "HGNC:1 INTERACTS_WITH HGNC:99" in findings[0].message
    kept = drop_accepted(tables, ["dangling-ends"])
    assert kept["edges"].select("object").rows() == [("HGNC:2",)]
    assert check_gates(kept, None) == []


def test_duplicate_keys_stop():
    tables = complexes(3)
    doubled = ReleaseTables.of({**tables.frames, "nodes": pl.concat([tables["nodes"], tables["nodes"].head(1)])})
    findings = check_gates(doubled, None)
    assert names(findings) == ["duplicate-keys"]
    assert check_gates(drop_accepted(doubled, ["duplicate-keys"]), None) == []


def test_an_edge_between_labels_that_its_relation_does_not_join_stops():
    tables = release([nodes(*GENES)], [statements([("HGNC:1", "MEMBER_OF", "HGNC:2")])])
    findings = check_gates(tables, None)
    assert names(findings) == ["wrong-ends"]
    assert drop_accepted(tables, ["wrong-ends"])["edges"].height == 0


def test_a_file_of_which_nothing_was_accepted_stops():
    tables = release([nodes(*GENES)], [], runs=run_rows(("corum", "all", 0)))
    assert names(check_gates(tables, None)) == ["minimum:corum"]
