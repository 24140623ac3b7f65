"""Answers about embeddings, as REST, the client and the MCP server give them: plain immutable records."""

from __future__ import annotations

from aroma.retrieval.evidence_model import Node, Record


class EncoderItem(Record, frozen=True, kw_only=True):
    """One vector set: what made its vectors, how many there are, and whose data went in.

    ``rows`` have a vector, ``missing`` are nodes that were to be embedded and have none; ``licence`` is of weights and
    code, ``licences`` (provider to licence) of the data, and ``commercial_use`` is false where one of those forbids it
    or is not known.
    """

    encoder: str
    id: str
    kind: str
    release: str
    rows: int
    missing: int
    dim: int
    dtype: str
    licence: str
    licences: dict[str, str]
    commercial_use: bool


class EncoderList(Record, frozen=True, kw_only=True):
    """The vector sets of a release, by encoder name."""

    release: str
    items: list[EncoderItem]


class VectorItem(Record, frozen=True, kw_only=True):
    """One node asked for: its vector, or null and the reason."""

    query: str
    node: str | None
    row: int | None
    vector: list[float] | None
    problem: str | None


class VectorBatch(Record, frozen=True, kw_only=True):
    """One entry a node asked for, in the order asked."""

    release: str
    encoder: EncoderItem
    found: int
    items: list[VectorItem]


class Via(Record, frozen=True, kw_only=True):
    """The two proteins whose vectors were compared where genes are asked of an encoder that reads proteins."""

    asked: str
    found: str


class SharedInGraph(Record, frozen=True, kw_only=True):
    """What two genes share in the graph, at most three of each, rarest first; ``string`` is their STRING score."""

    complexes: list[Node]
    terms: list[Node]
    pathways: list[Node]
    string: int | None


class SimilarItem(Record, frozen=True, kw_only=True):
    """One node found; ``score`` is the cosine of the two vectors, ``shared`` is null for what is no gene."""

    rank: int
    node: Node
    score: float
    via: Via | None
    shared: SharedInGraph | None


class SimilarAnswer(Record, frozen=True, kw_only=True):
    """The nearest nodes of one node by one encoder.

    ``index`` is what searched (``numpy``, ``flat``, ``hnsw``, ``neo4j``; ``exact`` where a filter left so few that each
    was compared), ``recall`` what part of the exact ten nearest it finds where it is not exact and was measured,
    ``compared`` how many vectors were there to be found.
    """

    release: str
    encoder: EncoderItem
    query: Node
    label: str
    shares: list[str]
    index: str
    recall: float | None
    compared: int
    items: list[SimilarItem]
