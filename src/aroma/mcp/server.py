"""The MCP server: tools that read, over standard input and output.

Needs the extra ``mcp`` (the official SDK).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from importlib.metadata import version
from typing import Annotated, Any, Final, Literal, ParamSpec

import msgspec
from pydantic import Field

from aroma.errors import AromaError, UsageError
from aroma.kgstore.home import GraphTarget, Home
from aroma.kgstore.query_service import Question, run_query
from aroma.kgstore.schema import RELATION_ENDS, SCHEMA_VERSION, Label
from aroma.kgstore.views import preset
from aroma.model.serving.answering import ServedModels, answer_pairs
from aroma.retrieval import answers
from aroma.retrieval.embedding_answers import list_encoders
from aroma.retrieval.evidence import EvidenceOptions, EvidenceStore
from aroma.retrieval.evidence_model import evidence_schema
from aroma.retrieval.paths import PathOptions
from aroma.retrieval.served import Opened, Seen, Served
from aroma.retrieval.similar import SimilarOptions, similar_in
from aroma.retrieval.text_answers import search_text

try:
    from mcp.server import MCPServer
    from mcp.server.mcpserver.exceptions import ToolError
    from mcp.types import ToolAnnotations
except ImportError as error:  # pragma: no cover - the tests have the extra
    raise UsageError("the MCP server needs the package mcp; install aroma-evidence[mcp]") from error

Asked = ParamSpec("Asked")
_MOST_ROWS: Final = 200
_QUERY_SECONDS: Final = 20.0
_INSTRUCTIONS: Final = """\
Evidence about human genes from one released graph (STRING, CORUM, GO, Reactome) for the question: does knocking down \
one gene (the perturbation) change another (the target) in a cell line? Every answer names its release, and edges name \
the provider's lines behind them: cite those. Resolve gene names first. A missing fact means unknown, not absent; read \
the coverage flags."""

Gene = Annotated[str, Field(min_length=1, max_length=200, description="Any name or identifier of a human gene.")]
CellLine = Annotated[str, Field(min_length=1, max_length=200, description="K562, HepG2, Jurkat, RPE1 or another.")]
View = Annotated[str, Field(description="path-kg, path-kg-paper, gene-kg or gene-kg-string.")]
K = Annotated[int, Field(ge=1, le=20, description="Paths at most.")]
Slack = Annotated[int, Field(ge=0, le=2, description="Hops that a path may have more than the shortest.")]
MaxHops = Annotated[int, Field(ge=1, le=8, description="Most hops of a path.")]
Withhold = Annotated[
    list[str],
    Field(max_length=50, description="Outcomes not to be seen: split:NAME, perturbation:GENE, cell-line:NAME."),
]


def make_server(home: Home, target: GraphTarget, seen: Seen) -> MCPServer:
    """Return the server; the published release is opened before this returns.

    Raises:
        ReleaseError: Nothing is published.
    """
    tools = Tools(home, target, seen)
    server = MCPServer("aroma", instructions=_INSTRUCTIONS, version=version("aroma-evidence"))
    reading = ToolAnnotations(read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False)
    for tool in (
        tools.resolve_gene,
        tools.find_paths,
        tools.neighbourhood,
        tools.evidence,
        tools.prompt,
        tools.search,
        tools.similar,
        tools.embeddings,
        tools.predict,
        tools.models,
        tools.releases,
        tools.schema,
        tools.read_cypher,
    ):
        server.add_tool(_told(tool), annotations=reading)
    return server


def _told(tool: Callable[Asked, dict[str, Any]]) -> Callable[Asked, dict[str, Any]]:
    """Return the tool with our errors turned into answers that an agent can read and act on."""

    @functools.wraps(tool)
    def told(*arguments: Asked.args, **named: Asked.kwargs) -> dict[str, Any]:
        try:
            return tool(*arguments, **named)
        except AromaError as error:
            raise ToolError(str(error)) from error

    return told


class Tools:
    """What the server's tools do; each returns plain JSON."""

    def __init__(self, home: Home, target: GraphTarget, seen: Seen) -> None:
        self._home, self._target = home, target
        self._served = Served(home, seen)
        self._models = ServedModels(home)

    def resolve_gene(self, name: Gene) -> dict[str, Any]:
        """Say which gene a name stands for and how that was decided; for an unknown name the nearest symbols."""
        return _plain(answers.resolve_gene(self._base, name))

    def find_paths(
        self,
        perturbation: Gene,
        target: Gene,
        view: View = "path-kg",
        k: K = 3,
        slack: Slack = 1,
        max_hops: MaxHops = 6,
    ) -> dict[str, Any]:
        """Find the ranked shortest paths between two genes, each hop with its provenance."""
        store = self._store(EvidenceOptions(PathOptions(_view(view), k, slack, max_hops)), ())
        return _plain(answers.find_paths(store, perturbation, target))

    def neighbourhood(
        self,
        node: Annotated[str, Field(min_length=1, max_length=200, description="A gene's name or a node id.")],
        view: View = "gene-kg",
        hops: Annotated[int, Field(ge=0, le=3, description="How far.")] = 1,
        limit: Annotated[int, Field(ge=1, le=500, description="Most nodes; the nearest stay.")] = 50,
    ) -> dict[str, Any]:
        """List the nodes within some hops of a node and the edges among them."""
        opened = self._opened
        found = answers.neighbourhood(opened.base, node, opened.view(preset(view)), hops=hops, limit=limit)
        return _plain(found)

    def evidence(
        self,
        perturbation: Gene,
        target: Gene,
        cell_line: CellLine,
        k: K = 3,
        cases: Annotated[int, Field(ge=0, le=20, description="Contrastive cases of each kind.")] = 5,
        withhold: Withhold = [],  # noqa: B006 - never changed
    ) -> dict[str, Any]:
        """Collect the evidence for one question: descriptions, paths, shared features, known related outcomes."""
        store = self._store(EvidenceOptions(PathOptions(k=k), cases), tuple(withhold))
        for name in (perturbation, target):
            answers.require_gene(store, name)
        return _plain(store.evidence(perturbation, target, cell_line))

    def prompt(
        self,
        perturbation: Gene,
        target: Gene,
        cell_line: CellLine,
        template: Annotated[str, Field(description="aroma, aroma-contrast, core, summer, …")] = "aroma",
        budget: Annotated[int | None, Field(ge=1, le=1_000_000, description="Most tokens.")] = None,
        withhold: Withhold = [],  # noqa: B006 - never changed
    ) -> dict[str, Any]:
        """Write the evidence for one question as text for a language model."""
        store = self._store(EvidenceOptions(), tuple(withhold))
        for name in (perturbation, target):
            answers.require_gene(store, name)
        return _plain(answers.render_prompt(store.evidence(perturbation, target, cell_line), template, budget))

    def search(
        self,
        text: Annotated[str, Field(min_length=1, max_length=200, description="Words, or a mistyped symbol.")],
        limit: Annotated[int, Field(ge=1, le=100, description="Most hits.")] = 20,
    ) -> dict[str, Any]:
        """Find genes, complexes, GO terms and pathways by names, synonyms and definitions."""
        return _plain(search_text(self._base, self._home, self._target, text, limit=limit))

    def similar(
        self,
        name: Annotated[str, Field(min_length=1, max_length=200, description="A gene's name or a node id.")],
        encoder: Annotated[str | None, Field(max_length=200, description="Its name; see embeddings.")] = None,
        k: Annotated[int, Field(ge=1, le=50, description="Most nodes.")] = 10,
        shares: Annotated[
            list[Literal["complex", "pathway", "term", "string"]],
            Field(max_length=4, description="What the genes must share with it in the graph, all of them."),
        ] = [],  # noqa: B006 - never changed
    ) -> dict[str, Any]:
        """Find the genes whose vectors lie nearest to a gene's, and say what they share with it in the graph."""
        options = SimilarOptions(k, tuple(shares), build=False)
        return _plain(similar_in(self._base, name, encoder, options, target=self._target))

    def embeddings(self) -> dict[str, Any]:
        """List the encoders that this release has vectors of, with licences."""
        return _plain(list_encoders(self._base.snapshot))

    def predict(
        self,
        perturbation: Gene,
        target: Gene,
        cell_line: CellLine,
        plugin: Annotated[str | None, Field(max_length=200, description="Whose model; see models.")] = None,
    ) -> dict[str, Any]:
        """Ask a model in service whether the target goes down, up or does not change, and what moved its answer."""
        opened = self._models.find(plugin)
        return _plain(answer_pairs(self._home, opened, [(perturbation, target, cell_line)], explain=True))

    def models(self) -> dict[str, Any]:
        """List the models in service: plug-in, release, what they were trained on, licences."""
        return _plain(self._models.listed())

    def releases(self) -> dict[str, Any]:
        """List the publications, newest first, and the providers of the served release with their licences."""
        page = _plain(answers.list_releases(self._home, offset=0, limit=20))
        return {**page, "sources": _plain(answers.list_sources(self._home, self._opened.release))["items"]}

    def schema(self) -> dict[str, Any]:
        """Describe the graph for Cypher: labels, relationship types and their ends, views; and the evidence object."""
        ends = {
            str(relation): {
                "from": sorted(map(str, said.subjects)),
                "to": sorted(map(str, said.objects)),
                "symmetric": said.symmetric,
            }
            for relation, said in RELATION_ENDS.items()
        }
        return {
            "release": self._opened.release,
            "schema_version": SCHEMA_VERSION,
            "labels": [str(label) for label in Label],
            "node_key": "id",
            "relationship_types": ends,
            "views": _plain(answers.list_views(self._home, self._opened.release))["items"],
            "evidence": evidence_schema(),
        }

    def read_cypher(
        self,
        text: Annotated[str, Field(min_length=1, max_length=10_000, description="One statement that only reads.")],
        parameters: Annotated[dict[str, str], Field(description="Values of its $parameters, as text.")] = {},  # noqa: B006
        limit: Annotated[int, Field(ge=1, le=1_000, description="Most rows.")] = _MOST_ROWS,
    ) -> dict[str, Any]:
        """Run one read-only Cypher statement over the served release; anything that could write is refused."""
        question = Question(cypher=text, parameters=parameters, limit=limit, timeout=_QUERY_SECONDS)
        found = run_query(self._home, self._target, question)
        return {
            "release": found.release,
            "engine": found.engine,
            "columns": list(found.result.columns),
            "rows": [list(row) for row in found.result.rows],
            "truncated": found.result.truncated,
            "notes": list(found.notes),
        }

    @property
    def _opened(self) -> Opened:
        return self._served.look()

    @property
    def _base(self) -> EvidenceStore:
        return self._opened.base

    def _store(self, options: EvidenceOptions, withhold: tuple[str, ...]) -> EvidenceStore:
        return self._opened.store(options, check_no_files(withhold))


def check_no_files(asked: tuple[str, ...]) -> tuple[str, ...]:
    """Return what is withheld; an agent can name no files of this machine.

    Raises:
        UsageError: Something that looks like a file.
    """
    for item in asked:
        if item.lower().endswith((".csv", ".parquet")):
            raise UsageError(f"withhold {item!r}: files are named by aroma mcp --withhold FILE only")
    return asked


def _view(name: str) -> str:
    preset(name)
    return name


def _plain(record: Any) -> dict[str, Any]:
    said: dict[str, Any] = msgspec.to_builtins(record)
    return said


def serve_stdio(home: Home, target: GraphTarget, seen: Seen) -> None:
    """Serve one agent over standard input and output until it closes them.

    Raises:
        ReleaseError: Nothing is published.
    """
    make_server(home, target, seen).run("stdio")
