"""Curation through the API and its client: entered once, refused with a reason, and only for who may."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from aroma.api.app import create_app
from aroma.api.settings import Settings
from aroma.cli.evidence_text import curators_said
from aroma.client import Client
from aroma.errors import ServerAnswerError
from aroma.kgstore.curation_desk import listed
from aroma.kgstore.curation_release import apply
from aroma.kgstore.home import Home
from aroma.kgstore.tokens import create_token
from aroma.retrieval.evidence import EvidenceOptions, EvidenceStore
from aroma.retrieval.paths import PathOptions
from tests.support.asgi import SyncTransport
from tests.support.curating import ANNA, BEN, WHY, assert_edge, retract
from tests.support.engines import MemoryEngine

EDGE = ("TULP1", "MEMBER_OF", "CORUM:1")


@pytest.fixture
def home(sample_home: Home, tmp_path: Path) -> Home:
    """A copy of the sample home, to write to."""
    shutil.copytree(sample_home.path, tmp_path / "home")
    return Home(tmp_path / "home")


@pytest.fixture
def client(home: Home) -> Iterator[Client]:
    with Client("http://test", transport=SyncTransport(create_app(Settings(home=home.path)))) as found:
        yield found


def test_an_edge_is_asserted_once_reviewed_listed_and_revoked(client: Client, home: Home):
    said = client.assert_edge(*EDGE, curator=ANNA, reason=WHY, references=["pmid:1"], date="2026-01-02")
    assert (said.status, said.standing.state, said.standing.references) == ("entered", "in force", ["PMID:1"])
    again = client.assert_edge(*EDGE, curator=ANNA, reason="said again")
    assert (again.status, again.entry) == ("already there", said.entry)
    approved = client.review(said.entry, "approve", curator=BEN, reason="Read the paper")
    assert approved.standing.reviewed_by == [BEN]
    assert client.curation(about="CORUM:1").items == [approved.standing]
    assert client.curation(state=["revoked"]).total == 0
    assert client.revoke(said.entry, curator=ANNA, reason="Mistake").standing.revoked_because == "Mistake"
    assert [one.state for one in listed(home)] == ["revoked"]


def test_a_retraction_reaches_evidence_with_its_reason_after_the_next_release(client: Client, home: Home):
    edge = client.paths("TULP1", "ITCH").paths[0].steps[0].edges[0]
    said = client.retract(
        subject=edge.subject, relation=edge.relation, object=edge.object, provider=edge.provider,
        curator=ANNA, reason="Not confirmed",
    )  # fmt: skip
    client.assert_edge("TULP1", "INTERACTS_WITH", "ITCH", curator=ANNA, reason=WHY)
    apply(home, MemoryEngine(), accept=())
    with Client("http://test", transport=SyncTransport(create_app(Settings(home=home.path)))) as fresh:
        shown = fresh.evidence("TULP1", "ITCH", "RPE1")
        (hidden,) = shown.retractions
        assert (hidden.object, hidden.whole, hidden.notes[0].reason) == (edge.object, True, "Not confirmed")
        assert hidden.notes[0].entry == said.entry
        asserted = [one for path in fresh.paths("TULP1", "ITCH", view="gene-kg").paths for step in path.steps
                    for one in step.edges if one.provider == "curation"]  # fmt: skip
        assert asserted[0].curation[0].reason == WHY
        assert fresh.audit()["curation"]["asserted_edges"] == 1


@pytest.mark.parametrize(
    ("change", "status", "problem"),
    [
        ({"subject": "NOTAGENE"}, 404, "is unknown as a gene"),
        ({"curator": "0000-0002-1825-0098"}, 422, "check digit"),
        ({"relation": "EATS"}, 422, "none of the graph's"),
        ({"reason": ""}, 422, "does not fit"),
        ({"surprise": 1}, 422, "does not fit"),
    ],
)
def test_what_does_not_fit_is_a_problem_that_says_why(home: Home, change: dict[str, object], status: int, problem: str):
    body = {"subject": "TULP1", "relation": "MEMBER_OF", "object": "CORUM:1", "curator": ANNA, "reason": "r", **change}
    with TestClient(create_app(Settings(home=home.path)), raise_server_exceptions=False) as http:
        answer = http.post("/v1/curation/assert", json=body)
    assert answer.status_code == status
    assert problem in answer.json()["detail"]
    assert listed(home) == []


def test_a_body_without_a_type_is_refused_since_any_web_page_can_send_it(home: Home):
    with TestClient(create_app(Settings(home=home.path)), raise_server_exceptions=False) as http:
        assert http.post("/v1/curation/assert", content=b"{}").status_code == 415
        assert (
            http.post("/v1/curation/assert", content=b"{}", headers={"Content-Type": "text/plain"}).status_code == 415
        )


def test_only_a_token_that_may_curate_writes(home: Home):
    (_, reader), (_, curator) = (create_token(home, name, scope) for name, scope in (("r", "read"), ("c", "curate")))
    transport = SyncTransport(create_app(Settings(home=home.path)))
    with Client("http://test", token=reader, transport=transport) as client:
        assert client.curation().total == 0
        with pytest.raises(ServerAnswerError) as told:
            client.assert_edge(*EDGE, curator=ANNA, reason=WHY)
        assert told.value.status == 403
    transport = SyncTransport(create_app(Settings(home=home.path)))
    with Client("http://test", token=curator, transport=transport) as client:
        assert client.assert_edge(*EDGE, curator=ANNA, reason=WHY).status == "entered"


def test_people_read_what_curators_said_beside_the_evidence(home: Home):
    store = EvidenceStore(home)
    edge = store.evidence("TULP1", "ITCH", "RPE1").paths[0].steps[0].edges[0]
    retract(home, edge.subject, edge.relation, edge.object, provider=edge.provider, date="2026-01-02")
    assert_edge(home, "TULP1", "INTERACTS_WITH", "ITCH", references=["PMID:1"], date="2026-01-02")
    apply(home, MemoryEngine())
    gene_view = EvidenceStore(home, options=EvidenceOptions(PathOptions("gene-kg")))
    said = curators_said(gene_view.evidence("TULP1", "ITCH", "RPE1"))
    assert said[0].startswith("Asserted: ")
    assert f"{WHY} (PMID:1) [{ANNA}, 2026-01-02, C" in said[0]
    assert said[1].startswith(f"Retracted: {edge.subject} {edge.relation} {edge.object} of {edge.provider}. ")
    assert curators_said(store.evidence("TULP1", "ITCH", "RPE1")) == []
