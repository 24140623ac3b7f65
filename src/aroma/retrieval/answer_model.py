"""Answers other than evidence, as REST, the client and the MCP server give them: plain immutable records.

Every answer about the graph names the release that it comes from.
"""

from __future__ import annotations

from typing import Any

import msgspec

from aroma.retrieval.evidence_model import Node, Path, Record, ViewRef


class GeneAnswer(Record, frozen=True, kw_only=True):
    """What one name stands for; ``gene`` is null where it stands for none, and ``reason`` says why.

    ``candidates`` are the genes between which an ambiguous name stands, ``nearest`` the symbols spelled most like an
    unknown one.
    """

    release: str
    query: str
    gene: str | None
    symbol: str | None
    name: str | None
    tier: str | None
    reason: str | None
    candidates: list[str]
    flags: list[str]
    nearest: list[str]


class GeneBatch(Record, frozen=True, kw_only=True):
    """One entry a name asked, in the order asked."""

    release: str
    resolved: int
    items: list[GeneAnswer]


class GeneMatch(Record, frozen=True, kw_only=True):
    """One gene found; ``how`` is a resolver tier, ``symbol begins so`` or ``spelled alike``."""

    gene: str
    symbol: str
    name: str
    how: str
    score: float


class GenePage(Record, frozen=True, kw_only=True):
    """Genes found for a text, best first; ``next_offset`` is null on the last page."""

    release: str
    query: str
    total: int
    offset: int
    limit: int
    next_offset: int | None
    items: list[GeneMatch]


class TextMatch(Record, frozen=True, kw_only=True):
    """One node found by its text; ``found_in`` names the index that found it, ``score`` is that index's own."""

    node: Node
    found_in: str
    score: float
    text: str


class TextPage(Record, frozen=True, kw_only=True):
    """Nodes found for a text, best first; ``engine`` is the database whose full-text index answered."""

    release: str
    query: str
    engine: str
    items: list[TextMatch]


class PathsAnswer(Record, frozen=True, kw_only=True):
    """Ranked paths; ``reason`` says why there are none."""

    release: str
    view: ViewRef
    definition: dict[str, Any]
    perturbation: Node
    target: Node
    k: int
    slack: int
    max_hops: int
    paths: list[Path]
    reason: str | None


class Neighbour(Record, frozen=True, kw_only=True):
    """A node of a neighbourhood, its distance from the centre and its degree in the view."""

    node: Node
    hops: int
    degree: int


class Link(Record, frozen=True, kw_only=True):
    """Two joined nodes of a neighbourhood: positions in its list of nodes."""

    start: int
    end: int


class NeighbourhoodAnswer(Record, frozen=True, kw_only=True):
    """The nodes within some hops of one node and the edges among them; ``total`` counts all, also those cut off."""

    release: str
    view: ViewRef
    centre: Node
    hops: int
    limit: int
    total: int
    cut: bool
    nodes: list[Neighbour]
    links: list[Link]


class NameCoverage(Record, frozen=True, kw_only=True):
    """A name that stands for no gene, why, and the nearest symbols."""

    name: str
    reason: str
    candidates: list[str]
    nearest: list[str]
    mentions: int


class CoverageAnswer(Record, frozen=True, kw_only=True):
    """How much of a list of pairs a release knows; ``unresolved`` lists the most frequent names, at most 100."""

    release: str
    pairs: int
    pairs_resolved: int
    names: int
    names_resolved: int
    by_tier: dict[str, int]
    by_reason: dict[str, int]
    unresolved: list[NameCoverage]
    cell_lines: dict[str, bool]


class ReleaseItem(Record, frozen=True, kw_only=True):
    """One publication of a release; ``served`` is true for the one that answers now."""

    sequence: int
    release: str
    parent: str | None
    published_at: str
    action: str
    accepted: list[str]
    note: str
    served: bool


class ReleasePage(Record, frozen=True, kw_only=True):
    """Publications, newest first; ``next_offset`` is null on the last page."""

    served: str
    total: int
    offset: int
    limit: int
    next_offset: int | None
    items: list[ReleaseItem]


class ReleaseDetail(Record, frozen=True, kw_only=True):
    """What a release holds: rows by table, sizes of its preset views."""

    release: str
    schema_version: int
    created_at: str
    parent: str | None
    counts: dict[str, int]
    views: dict[str, dict[str, Any]]
    accepted: list[str]
    publications: list[ReleaseItem]


class Source(Record, frozen=True, kw_only=True):
    """A provider whose files are in the release, and its licence."""

    provider: str
    title: str
    version: str
    licence: str
    licence_url: str
    homepage: str
    commercial_use: bool


class SourceList(Record, frozen=True, kw_only=True):
    """All providers of a release."""

    release: str
    items: list[Source]


class ViewItem(Record, frozen=True, kw_only=True):
    """A preset view: what it takes, and how large it is in the release."""

    name: str
    id: str
    definition: dict[str, Any]
    nodes: int
    edges: int


class ViewList(Record, frozen=True, kw_only=True):
    """All preset views of a release."""

    release: str
    items: list[ViewItem]


class Health(Record, frozen=True, kw_only=True):
    """Whether the server answers, and from what; ``opening`` is a newly published release being opened."""

    status: str
    version: str
    release: str
    sequence: int
    opening: str | None
    outcomes: str | None
    withheld: dict[str, Any]
    seconds_up: float


class PromptAnswer(Record, frozen=True, kw_only=True):
    """Evidence as text; ``dropped`` says what a token budget took away."""

    release: str
    template: str
    text: str
    tokens: int
    dropped: list[str]


class BatchError(Record, frozen=True, kw_only=True):
    """The last line of a stream that could not be finished."""

    problem: str
    row: int


_encoder = msgspec.json.Encoder()


def to_bytes(value: object) -> bytes:
    """Return a record, or a list or dict of them, as JSON, UTF-8."""
    return _encoder.encode(value)
