"""Pages, as the server sends them."""

from __future__ import annotations

import re

import pytest
from starlette.testclient import TestClient

from aroma.api.app import create_app
from aroma.api.pages.links import page_of
from aroma.api.pages.sign_in import COOKIE
from aroma.api.settings import Settings
from aroma.kgstore.home import Home

PAIR = {"perturbation": "TULP1", "target": "ITCH", "cell_line": "RPE1"}
TOKEN = "a-token-of-enough-length"


def text_of(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


def test_a_pair_is_shown_with_the_source_of_every_hop(api: TestClient):
    evidence = api.get("/v1/evidence", params=PAIR).json()
    page = api.get("/pair", params=PAIR)
    assert page.status_code == 200
    said = text_of(page.text)
    for path in evidence["paths"]:
        for node in path["nodes"]:
            assert node["name"] in said
        for step in path["steps"]:
            for edge in step["edges"]:
                assert f"{edge['provider']} {edge['provider_release']}" in said
                assert edge["statements"][0] in said
    for case in evidence["contrast"]["positives"] + evidence["contrast"]["negatives"]:
        assert case["perturbation"]["name"] in said
    for one in evidence["licences"]:
        assert f"{one['provider']}: {one['licence']}" in said
    assert evidence["release"] in said


def test_pages_let_the_browser_run_and_fetch_nothing(api: TestClient):
    for path in ("/", "/pair?perturbation=TULP1&target=ITCH&cell_line=RPE1", "/gene/TULP1", "/models", "/audit"):
        page = api.get(path)
        assert page.status_code == 200, path
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert "script" not in page.text
        assert re.findall(r'(?:src|href)="(https?:)?//[^"]*\.(?:css|js|woff2?|png)"', page.text) == []


def test_a_plot_may_have_its_style_and_still_no_script(api: TestClient):
    policy = api.get("/models").headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "style-src 'self' 'unsafe-inline'" in policy
    assert "script-src" not in policy


def test_names_are_escaped(api: TestClient):
    page = api.get("/pair", params={**PAIR, "perturbation": "<script>alert(1)</script>"})
    assert page.status_code == 404
    assert "<script>" not in page.text
    assert "&lt;script&gt;" in page.text


def test_a_mistyped_gene_gets_the_nearest_names(api: TestClient):
    page = api.get("/gene/TULP2X")
    assert page.status_code == 404
    assert 'href="/gene/TULP1"' in page.text


def test_what_is_not_given_is_asked_for(api: TestClient):
    page = api.get("/pair", params={"perturbation": "TULP1"})
    assert page.status_code == 422
    assert "please give target and cell line" in page.text


def test_searching_an_exact_name_leads_to_the_gene(api: TestClient):
    found = api.get("/search", params={"q": "TULP1"}, follow_redirects=False)
    assert (found.status_code, found.headers["location"]) == (303, "/gene/TULP1")
    several = api.get("/search", params={"q": "TUL"})
    assert 'href="/gene/HGNC%3A12423"' in several.text


def test_edges_of_a_gene_are_counted_filtered_and_paged(api: TestClient):
    whole = text_of(api.get("/gene/TULP1").text)
    total = int(re.search(r"Edges \(([\d,]+)\)", whole)[1].replace(",", ""))  # type: ignore[index]
    assert total > 3
    terms = text_of(api.get("/gene/TULP1", params={"relation": "ANNOTATED_TO"}).text)
    listed = int(re.search(r"of ([\d,]+) Relation", terms)[1])  # type: ignore[index]
    assert 0 < listed < total
    nothing = text_of(api.get("/gene/TULP1", params={"name": "no such name"}).text)
    assert "No edge fits." in nothing
    assert api.get("/gene/TULP1", params={"relation": "LIKES"}).status_code == 404


def test_the_audit_of_the_release_is_served(api: TestClient):
    release = api.get("/v1/health").json()["release"]
    assert release in api.get("/audit").text
    report = api.get(f"/audit/{release}")
    assert report.status_code == 200
    assert f"Audit of release {release}" in report.text
    assert "It is the first release of this home" in api.get("/changes").text
    assert api.get("/audit/nosuchrelease").status_code == 404


@pytest.mark.parametrize("name", ["..%2F..%2Fserved.json", "nope", "%00"])
def test_reports_are_only_those_of_promotions(api: TestClient, name: str):
    assert api.get(f"/models/reports/{name}").status_code in {404, 422}


@pytest.mark.parametrize(
    ("identifier", "page"),
    [
        ("GO:0008201", "https://amigo.geneontology.org/amigo/term/GO:0008201"),
        ("pmid:12", "https://pubmed.ncbi.nlm.nih.gov/12/"),
        ("REACTOME:R-HSA-1", "https://reactome.org/content/detail/R-HSA-1"),
        ("GENE2GO:2022", None),
        ("nothing", None),
        ('GO:"><b>', "https://amigo.geneontology.org/amigo/term/GO:%22%3E%3Cb%3E"),
    ],
)
def test_identifiers_lead_to_their_providers(identifier: str, page: str | None):
    assert page_of(identifier) == page


@pytest.fixture(scope="module")
def closed(sample_home: Home) -> TestClient:
    """A client of a server that wants a token; redirects are not followed."""
    app = create_app(Settings(home=sample_home.path, token=TOKEN))
    return TestClient(app, raise_server_exceptions=False, follow_redirects=False)


def test_a_browser_signs_in_once(closed: TestClient):
    away = closed.get("/gene/TULP1?relation=MEMBER_OF")
    assert away.status_code == 303
    assert away.headers["location"] == "/sign-in?next=%2Fgene%2FTULP1%3Frelation%3DMEMBER_OF"
    form = closed.get(away.headers["location"])
    assert 'value="/gene/TULP1?relation=MEMBER_OF"' in form.text
    sent = closed.post("/sign-in", data={"token": TOKEN, "next": "/gene/TULP1"})
    assert (sent.status_code, sent.headers["location"]) == (303, "/gene/TULP1")
    kept = sent.headers["set-cookie"].lower()
    assert "httponly" in kept
    assert "samesite=strict" in kept
    assert closed.get("/gene/TULP1").status_code == 200
    assert closed.get("/v1/genes/TULP1").status_code == 200
    closed.cookies.clear()


def test_a_cookie_opens_nothing_that_writes(closed: TestClient):
    closed.cookies.set(COOKIE, TOKEN)
    assert closed.post("/v1/genes/resolve", json={"names": ["TULP1"]}).status_code == 401
    closed.cookies.clear()


def test_a_wrong_token_is_said(closed: TestClient):
    closed.cookies.set(COOKIE, "not-the-token-of-it")
    away = closed.get("/")
    assert away.headers["location"].endswith("refused=1")
    assert "not good here" in closed.get(away.headers["location"]).text
    closed.cookies.clear()


@pytest.mark.parametrize("wanted", ["https://elsewhere.org/", "//elsewhere.org", "/\\elsewhere.org", "javascript:x"])
def test_signing_in_never_leads_to_another_site(closed: TestClient, wanted: str):
    sent = closed.post("/sign-in", data={"token": TOKEN, "next": wanted})
    assert sent.headers["location"] == "/"
    closed.cookies.clear()


def test_a_form_of_another_site_is_refused(closed: TestClient):
    sent = closed.post("/sign-in", data={"token": TOKEN}, headers={"origin": "https://elsewhere.org"})
    assert sent.status_code == 403
    assert "set-cookie" not in sent.headers


def test_programs_get_a_problem_and_no_form(closed: TestClient):
    assert closed.get("/v1/genes/TULP1").status_code == 401
