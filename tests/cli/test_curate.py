"""``aroma curate`` and the workbench as a curator meets them: over a refresh of CORUM, with a real database."""

from __future__ import annotations

import csv
import json

import pytest
from typer.testing import CliRunner

from aroma.cli.app import app, run
from aroma.kgstore.home import Home
from tests.support.curating import ANNA, BEN
from tests.support.samples import BUNDLED

pytestmark = pytest.mark.embedded
OLD = ("--pin", "corum=3.0", "--accept", "file-kind:corum")


@pytest.fixture
def aroma(embedded_home: Home, monkeypatch, capsys):
    """Run the command in a home; return the lines of its JSON."""
    monkeypatch.setenv("AROMA_HOME", str(embedded_home.path))
    monkeypatch.setenv("AROMA_CURATOR", ANNA)

    def call(*words, code=0):
        found = run([*map(str, words), "--json"])
        told = capsys.readouterr()
        assert found == code, told.err + told.out
        return [json.loads(line) for line in told.out.splitlines()]

    return call


def rows(aroma, cypher):
    (answer,) = aroma("query", "--cypher", cypher)
    return [tuple(row.values()) for row in answer["rows"]]


MEMBERS = (
    "MATCH (g:Gene)-[r:MEMBER_OF]->(c:Complex {id: 'CORUM:1'}) RETURN g.symbol AS g, r.provider AS p ORDER BY g, p"
)


def test_curation_survives_a_refresh_and_the_database_shows_it(aroma, tmp_path):
    (first,) = aroma("build", "--from", BUNDLED, *OLD)
    before = rows(aroma, MEMBERS)
    assert before
    gone = before[0][0]
    (said,) = aroma(
        "curate", "assert", "TULP1", "MEMBER_OF", "CORUM:1", "--reason", "Seen by us", "--reference", "PMID:1"
    )
    (hidden,) = aroma("curate", "retract", gone, "MEMBER_OF", "CORUM:1", "--reason", "Antibody was wrong")
    (done,) = aroma("curate", "apply")
    assert done["applied"] == [said["entry"], hidden["entry"]]
    assert (done["sequence"], done["findings"]) == (2, [])
    wanted = sorted([*before[1:], ("TULP1", "curation")])
    assert rows(aroma, MEMBERS) == wanted
    (told,) = aroma("query", "edge-provenance", "--param", "subject=TULP1", "--param", "object=CORUM:1")
    assert [(row["assertion"], row["curator"], row["line"]) for row in told["rows"]] == [("Seen by us", ANNA, 1)]
    (same,) = aroma("build", "--from", BUNDLED, *OLD)
    assert (same["release"], same["sequence"]) == (done["release"], 2)
    (fresh,) = aroma("build", "--from", BUNDLED, "--accept", "file-kind:corum", "--accept", "fall:corum.Complex",
                     "--accept", "fall:corum.MEMBER_OF", "--accept", "fall:corum.statements")  # fmt: skip
    assert fresh["sequence"] == 3
    assert rows(aroma, MEMBERS) == wanted
    assert [one["event"] for one in aroma("history", gone, "CORUM:1")] == ["first seen", "retracted"]
    (audit,) = aroma("releases", "audit")
    assert {row["id"] for row in audit["curation"]["entries"]} == {said["entry"], hidden["entry"]}
    assert audit["curation"]["retracted_edges"] == 1
    page = tmp_path / "audit.html"
    aroma("releases", "audit", "--html", page)
    assert "Antibody was wrong" in page.read_text()
    assert first["release"] not in {done["release"], fresh["release"]}


def test_listing_reviewing_and_revoking(aroma):
    aroma("build", "--from", BUNDLED)
    (said,) = aroma("curate", "assert", "TULP1", "MEMBER_OF", "CORUM:1", "--reason", "Seen by us")
    entry = said["entry"]
    (error,) = aroma("curate", "review", entry, "approve", "--reason", "yes", code=2)
    assert "second person" in error["error"]["message"]
    aroma("curate", "review", entry, "approve", "--reason", "yes", "--curator", BEN)
    assert aroma("curate", "list")[0]["reviewed_by"] == [BEN]
    aroma("curate", "revoke", entry, "--reason", "no")
    (listed,) = aroma("curate", "list", "--state", "revoked")
    assert listed["revoked_because"] == "no"
    assert aroma("curate", "list", "--state", "in force") == []
    (none,) = aroma("curate", "apply")
    assert none["unchanged"]


def test_a_curators_own_queries_are_explained_run_and_written(aroma, tmp_path):
    aroma("build", "--from", BUNDLED)
    own = tmp_path / "queries"
    own.mkdir()
    (own / "of-complex.cypher").write_text(
        "// answers: Members of a complex\n"
        "// parameter: complex: node, required, example CORUM:1: The complex\n"
        "// column: symbol: Symbol\n"
        "MATCH (g:Gene)-[:MEMBER_OF]->(c:Complex {id: $complex}) RETURN g.symbol AS symbol ORDER BY symbol\n"
    )
    asked = ("query", "of-complex", "--queries", own, "--param", "complex=CORUM:1")
    (plan,) = aroma(*asked, "--explain")
    assert plan["plan"].strip()
    assert plan["rows"] == []
    out = tmp_path / "members.csv"
    (answer,) = aroma(*asked, "--out", out)
    with out.open() as stream:
        assert list(csv.DictReader(stream)) == answer["rows"]
    assert answer["rows"]
    (own / "bad.cypher").write_text("// answers: Writes\nMATCH (g:Gene) SET g.symbol = 'x' RETURN g\n")
    for more in ((), ("--explain",)):
        (error,) = aroma("query", "bad", "--queries", own, *more, code=2)
        assert error["error"]["kind"] == "QueryError"
    (error,) = aroma(*asked, "--out", tmp_path / "absent" / "x.csv", code=1)
    assert "cannot be written" in error["error"]["message"]


def test_what_curators_read_is_plain(embedded_home, monkeypatch):
    monkeypatch.setenv("AROMA_HOME", str(embedded_home.path))
    told = CliRunner().invoke(app, ["curate", "--help"]).output
    for name in ("assert", "retract", "revoke", "review", "list", "import", "apply"):
        assert name in told
