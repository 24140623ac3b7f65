"""The evidence object: what is handed to a model, or a person, for one query. The same in training and in serving.

Plain immutable records with a published JSON Schema (``evidence_schema``). A change of meaning raises
``EVIDENCE_VERSION``, which every object carries.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

EVIDENCE_VERSION: Final = "2"


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=False):
    """Base of all parts of an evidence object."""


class Node(Record, frozen=True, kw_only=True):
    """A node of the graph: ``id`` (CURIE), ``label``, ``name`` as a person says it (a gene's symbol)."""

    id: str
    label: str
    name: str


class CuratorNote(Record, frozen=True, kw_only=True):
    """What a curator said: ``entry`` is the id in the curation log, ``curator`` and ``reviewed_by`` are ORCIDs."""

    entry: str
    curator: str
    reason: str
    references: list[str]
    date: str
    reviewed_by: list[str]


class Edge(Record, frozen=True, kw_only=True):
    """One edge with its provenance; the four lists are parallel, one entry a statement.

    ``curation`` is there only where a curator asserted the edge: who and why, parallel to the statements.

    ``relation`` is ``SHARES_COMPLEX`` for genes that are joined only by being members of one complex; then
    ``object`` holds the complex and the membership edges are the evidence.
    """

    subject: str
    relation: str
    object: str
    provider: str
    provider_release: str
    licence: str
    statements: list[str]
    evidence: list[str]
    references: list[str]
    qualifiers: list[str]
    score: int | None = None
    since: int | None = None
    curation: list[CuratorNote] | msgspec.UnsetType = msgspec.UNSET


class Retraction(Record, frozen=True, kw_only=True):
    """A provider's edge that curators hid: all of it (``whole``), or some of its statements."""

    subject: str
    relation: str
    object: str
    provider: str
    whole: bool
    statements: list[str]
    notes: list[CuratorNote]


class Step(Record, frozen=True, kw_only=True):
    """One hop of a path: the two nodes and all edges of the view that join them."""

    start: str
    end: str
    edges: list[Edge]


class Path(Record, frozen=True, kw_only=True):
    """One ranked path: ``nodes`` from perturbation to target, ``cost`` the hub cost that ranks equal lengths."""

    rank: int
    hops: int
    cost: int
    nodes: list[Node]
    steps: list[Step]


class Sentence(Record, frozen=True, kw_only=True):
    """One sentence of a description and the statements (provider lines) that support it."""

    text: str
    kind: str
    provider: str
    statements: list[str]


class Description(Record, frozen=True, kw_only=True):
    """What is known of a gene, told for its role: ``perturbation`` or ``target``."""

    gene: Node
    role: str
    sentences: list[Sentence]

    @property
    def text(self) -> str:
        """All sentences as one paragraph."""
        return " ".join(sentence.text for sentence in self.sentences)


class Shared(Record, frozen=True, kw_only=True):
    """Something both genes have: a complex, term or pathway; ``weight`` is log(genes / genes that have it)."""

    node: Node
    weight: float
    providers: list[str]


class SharedFeatures(Record, frozen=True, kw_only=True):
    """What the two genes share, rarest first."""

    complexes: list[Shared]
    terms: list[Shared]
    pathways: list[Shared]


class Interaction(Record, frozen=True, kw_only=True):
    """The direct STRING interaction of the two genes; scores are 0 to 1000, absent channels are left out."""

    score: int
    score_full: int | None
    channels: dict[str, int]
    edge: Edge


class Degrees(Record, frozen=True, kw_only=True):
    """Neighbours of each gene in a view."""

    view: str
    perturbation: int
    target: int


class CellLine(Record, frozen=True, kw_only=True):
    """The cell line: ``known`` is false for a line that the release does not describe."""

    name: str
    known: bool
    id: str | None = None
    description: str = ""
    statements: list[str] = []


class ContrastiveCase(Record, frozen=True, kw_only=True):
    """A known outcome on the queried target under a related perturbation (CORE).

    ``label`` is ``down``, ``up`` or ``not significant``; ``similarity`` is the mean of ``by_kernel``; ``shared``
    names what makes the two perturbed genes alike.
    """

    perturbation: Node
    cell_line: str
    label: str
    similarity: float
    by_kernel: dict[str, float]
    same_perturbation: bool
    shared: list[Node]


class Contrast(Record, frozen=True, kw_only=True):
    """Cases that changed the target against cases that did not; counts are over all cases, lists are capped."""

    positives: list[ContrastiveCase]
    negatives: list[ContrastiveCase]
    positives_total: int
    negatives_total: int
    withheld: int


class Flag(Record, frozen=True, kw_only=True):
    """Something that is missing or doubtful: a short ``code``, what it is about, and a sentence."""

    code: str
    about: str
    message: str


class Query(Record, frozen=True, kw_only=True):
    """The question as asked and as understood; ids are null where a name did not resolve."""

    cell_line: str
    perturbation: str
    target: str
    perturbation_id: str | None
    target_id: str | None


class ViewRef(Record, frozen=True, kw_only=True):
    """A view that answered: preset name and id (hash of its definition)."""

    name: str
    id: str


class Licence(Record, frozen=True, kw_only=True):
    """A provider whose data is in this object, and its licence."""

    provider: str
    licence: str
    commercial_use: bool


class VectorRef(Record, frozen=True, kw_only=True):
    """One vector: the node that it is of (a gene, or a protein that the gene encodes) and its row in the vector set."""

    node: str
    row: int


class EmbeddingRef(Record, frozen=True, kw_only=True):
    """A vector set and the vectors that it has of the two genes; an empty list where it has none, and no numbers.

    ``id`` is the encoder's (a hash of its name, parameters and weights); with ``release`` it names the vector set.
    """

    encoder: str
    id: str
    kind: str
    release: str
    perturbation: list[VectorRef]
    target: list[VectorRef]


class Evidence(Record, frozen=True, kw_only=True):
    """Evidence for (cell line, perturbation, target).

    ``coverage`` says what is missing and why; ``withheld`` says which outcomes were not looked at, and ``outcomes``
    which version of the measured outcomes the contrast comes from (null: none were given). ``embeddings`` names the
    vector sets that were there when the release was opened. ``retractions``, what curators hid at one of the two genes,
    is there only where they did.
    """

    version: str
    release: str
    views: list[ViewRef]
    query: Query
    perturbation: Description | None
    target: Description | None
    cell_line: CellLine
    paths: list[Path]
    shared: SharedFeatures
    interaction: Interaction | None
    degrees: list[Degrees]
    contrast: Contrast | None
    coverage: list[Flag]
    licences: list[Licence]
    outcomes: str | None
    withheld: dict[str, Any]
    embeddings: list[EmbeddingRef] = []
    retractions: list[Retraction] | msgspec.UnsetType = msgspec.UNSET


_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(Evidence)


def to_json(evidence: Evidence) -> bytes:
    """Return the object as JSON text, UTF-8; equal evidence gives equal bytes."""
    return _encoder.encode(evidence)


def from_json(text: bytes | str) -> Evidence:
    """Read an object written by ``to_json``.

    Raises:
        msgspec.ValidationError: The text does not fit the schema.
    """
    return _decoder.decode(text)


def evidence_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of the evidence object."""
    schema = msgspec.json.schema(Evidence)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Evidence, version {EVIDENCE_VERSION}",
        **schema,
    }


def to_builtins(value: Any) -> Any:
    """Return records (or lists of them) as plain dicts and lists, as JSON would have them."""
    return msgspec.to_builtins(value)


if __name__ == "__main__":
    import json
    import sys

    sys.stdout.write(json.dumps(evidence_schema(), indent=1, ensure_ascii=False) + "\n")
