"""``aroma mcp`` as an agent meets it: a process of its own, spoken to by the SDK's own client over stdio."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from mcp import Client, StdioServerParameters

from aroma.importers.build import BuildRequest, build
from aroma.kgstore.engines.embedded_owner import stop_owner
from aroma.kgstore.home import GraphTarget, Home
from aroma.kgstore.outcomes import load_outcomes
from aroma.kgstore.publications import require_published
from aroma.retrieval.evidence import EvidenceStore
from aroma.retrieval.evidence_model import evidence_schema, to_builtins
from aroma.retrieval.snapshot import open_snapshot
from aroma.retrieval.structural_set import write_structural_set
from tests.support.in_service import serve_plugin
from tests.support.samples import BUNDLED

pytestmark = pytest.mark.embedded
QUESTION = {"perturbation": "TULP1", "target": "ITCH", "cell_line": "RPE1"}
TOOLS = {
    "resolve_gene", "find_paths", "neighbourhood", "evidence", "prompt", "search", "similar", "embeddings", "releases",
    "schema", "read_cypher", "predict", "models",
}  # fmt: skip
_CODE = "import sys; from aroma.cli import main; main(sys.argv[1:])"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A home with the samples in the embedded database."""
    place = Home(tmp_path_factory.mktemp("mcp") / "home")
    build(place, GraphTarget.locate("embedded:"), BuildRequest(BUNDLED))
    write_structural_set(open_snapshot(place))
    serve_plugin(place, "gene-frequency")
    yield place
    stop_owner(place)


@pytest.fixture(scope="module")
def told(home: Home) -> dict[str, Any]:
    """What one conversation with the server gave: the tools, and an answer to each call below."""
    return asyncio.run(_talk(home))


CALLS: dict[str, tuple[str, dict[str, Any]]] = {
    "resolve": ("resolve_gene", {"name": "TULPP1"}),
    "paths": ("find_paths", {"perturbation": "TULP1", "target": "ITCH", "view": "gene-kg"}),
    "unknown": ("find_paths", {"perturbation": "TULPP1", "target": "ITCH"}),
    "neighbourhood": ("neighbourhood", {"node": "ITCH"}),
    "evidence": ("evidence", QUESTION),
    "prompt": ("prompt", {**QUESTION, "template": "aroma"}),
    "template": ("prompt", {**QUESTION, "template": "/etc/passwd"}),
    "search": ("search", {"text": "ubiquitin ligase"}),
    "similar": ("similar", {"name": "TULP1", "k": 3}),
    "no encoder": ("similar", {"name": "TULP1", "encoder": "graph-sdv"}),
    "embeddings": ("embeddings", {}),
    "releases": ("releases", {}),
    "schema": ("schema", {}),
    "cypher": ("read_cypher", {"text": "MATCH (g:Gene {symbol: $s}) RETURN g.id AS id", "parameters": {"s": "TULP1"}}),
    "write": ("read_cypher", {"text": "MATCH (n) DETACH DELETE n"}),
    "models": ("models", {}),
    "predict": ("predict", {**QUESTION, "plugin": "gene-frequency"}),
    "no model": ("predict", {**QUESTION, "plugin": "boosted-evidence"}),
    "range": ("find_paths", {"perturbation": "TULP1", "target": "ITCH", "k": 0}),
    "file": ("evidence", {**QUESTION, "withhold": ["/etc/secret.csv"]}),
    "after": ("resolve_gene", {"name": "TULP1"}),
}


async def _talk(home: Home) -> dict[str, Any]:
    arguments = ["-c", _CODE, "mcp", "--home", str(home.path), "--uri", "embedded:"]
    async with Client(StdioServerParameters(command=sys.executable, args=arguments)) as client:
        found: dict[str, Any] = {"tools": (await client.list_tools()).tools}
        for name, (tool, given) in CALLS.items():
            found[name] = await client.call_tool(tool, given)
        return found


def said(answer: Any) -> Any:
    """Return the content of an answer that is no error."""
    assert not answer.is_error, answer.content
    return answer.structured_content


def refused(answer: Any) -> str:
    """Return the text of an answer that is an error."""
    assert answer.is_error
    return str(answer.content[0].text)


def test_the_tools_are_those_and_all_only_read(told: dict[str, Any]):
    assert {tool.name for tool in told["tools"]} == TOOLS
    assert all(tool.annotations.read_only_hint and not tool.annotations.destructive_hint for tool in told["tools"])
    assert all(tool.description and tool.input_schema["type"] == "object" for tool in told["tools"])


def test_evidence_is_what_the_store_makes(told: dict[str, Any], home: Home):
    store = EvidenceStore(home, outcomes=load_outcomes(home))
    assert said(told["evidence"]) == to_builtins(store.evidence("TULP1", "ITCH", "RPE1"))


def test_answers_name_their_release(told: dict[str, Any], home: Home):
    release = require_published(home).release
    for name in ("resolve", "paths", "neighbourhood", "prompt", "search", "similar", "embeddings", "schema", "cypher"):
        assert said(told[name])["release"] == release, name
    assert said(told["releases"])["served"] == release


def test_each_tool_answers(told: dict[str, Any]):
    assert said(told["resolve"])["nearest"] == ["TULP1"]
    assert said(told["paths"])["paths"][0]["steps"][0]["edges"][0]["statements"]
    assert said(told["neighbourhood"])["nodes"]
    assert "TULP1" in said(told["prompt"])["text"]
    assert {item["node"]["name"] for item in said(told["search"])["items"]} >= {"ITCH", "DTX3L"}
    assert [item["rank"] for item in said(told["similar"])["items"]] == [1, 2, 3]
    assert [(item["encoder"], item["commercial_use"]) for item in said(told["embeddings"])["items"]] == [
        ("graph-svd", False)
    ]
    assert {source["provider"] for source in said(told["releases"])["sources"]} >= {"string", "gene_ontology"}
    assert said(told["schema"])["evidence"] == evidence_schema()
    assert "ANNOTATED_TO" in said(told["schema"])["relationship_types"]
    assert said(told["cypher"])["rows"] == [["HGNC:12423"]]
    (model,) = said(told["models"])["items"]
    assert (model["plugin"], model["problem"]) == ("gene-frequency", None)
    assert said(told["predict"])["model"] == model["model"]
    assert said(told["predict"])["items"][0]["reasons"]


def test_what_cannot_be_answered_says_why_and_the_server_goes_on(told: dict[str, Any]):
    assert "TULP1" in refused(told["unknown"])
    assert "aroma" in refused(told["template"])
    assert "did you mean 'graph-svd'" in refused(told["no encoder"])
    assert "refused" in refused(told["write"])
    assert "served are: gene-frequency" in refused(told["no model"])
    assert "greater than or equal to 1" in refused(told["range"])
    assert "--withhold" in refused(told["file"])
    assert said(told["after"])["gene"] == "HGNC:12423"
