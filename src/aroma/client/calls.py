"""Every operation of the server as one function: its path, its parameters and the record that it answers with.

The sync and the async client send the same calls, and a test compares them with the server's OpenAPI document.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypedDict, TypeVar
from urllib.parse import quote

import msgspec

from aroma.model.serving import answer_model as predicted
from aroma.retrieval import answer_model as model
from aroma.retrieval import embedding_model as embedded
from aroma.retrieval.evidence_model import Evidence

Answer = TypeVar("Answer")
Parameters = Mapping[str, Any]


class PathOptions(TypedDict, total=False):
    """How paths are searched; what is left out takes the server's default."""

    view: str
    k: int
    slack: int
    max_hops: int
    relation: Sequence[str]
    minimum_score: int
    exclude_node: Sequence[str]
    degree_cap: int
    provider: Sequence[str]
    exclude_evidence: Sequence[str]
    annotated_until: str
    permutation_seed: int
    release: str


class EvidenceOptions(PathOptions, total=False):
    """How evidence is made."""

    cases: int
    withhold: Sequence[str]


class BatchOptions(TypedDict, total=False):
    """How the evidence of many pairs is made; ``view`` is a preset's name or a definition (as ``views`` lists them)."""

    view: str | Mapping[str, Any]
    k: int
    slack: int
    max_hops: int
    cases: int
    withhold: Sequence[str]
    release: str


class SimilarOptions(TypedDict, total=False):
    """How the nearest nodes are searched."""

    encoder: str
    k: int
    shares: Sequence[str]
    label: str
    index: str
    release: str


@dataclass(frozen=True)
class Call(Generic[Answer]):
    """One request.

    Attributes:
        method: GET or POST; all are safe to repeat: what is sent twice is entered once.
        route: Path as the OpenAPI document writes it.
        answer: Type of the answer.
        places: Values of the route's places.
        parameters: Query parameters; None is left out.
        body: JSON body, or None.
    """

    method: str
    route: str
    answer: type[Answer]
    places: Mapping[str, str] = field(default_factory=dict)
    parameters: Parameters = field(default_factory=dict)
    body: object = None

    @property
    def path(self) -> str:
        """The route with its places filled."""
        return self.route.format(**{name: quote(value, safe="") for name, value in self.places.items()})

    @property
    def query(self) -> dict[str, Any]:
        """Parameters that were given."""
        return {name: value for name, value in self.parameters.items() if value is not None}

    @property
    def content(self) -> bytes | None:
        """The body as JSON."""
        return None if self.body is None else msgspec.json.encode(self.body)

    def decode(self, content: bytes) -> Answer:
        """Read the answer."""
        if self.answer is str:
            return content.decode()  # type: ignore[return-value]
        return msgspec.json.decode(content, type=self.answer)


def gene(name: str) -> Call[model.GeneAnswer]:
    """Return the call that resolves one name."""
    return Call("GET", "/v1/genes/{name}", model.GeneAnswer, {"name": name})


def genes(q: str, offset: int, limit: int) -> Call[model.GenePage]:
    """Return the call that searches genes."""
    return Call("GET", "/v1/genes", model.GenePage, parameters={"q": q, "offset": offset, "limit": limit})


def resolve(names: Iterable[str]) -> Call[model.GeneBatch]:
    """Return the call that resolves many names."""
    return Call("POST", "/v1/genes/resolve", model.GeneBatch, body={"names": list(names)})


def search(q: str, limit: int) -> Call[model.TextPage]:
    """Return the call that searches nodes by text."""
    return Call("GET", "/v1/search", model.TextPage, parameters={"q": q, "limit": limit})


def paths(perturbation: str, target: str, options: Parameters) -> Call[model.PathsAnswer]:
    """Return the call for the paths of one pair."""
    given = {"perturbation": perturbation, "target": target, **options}
    return Call("GET", "/v1/paths", model.PathsAnswer, parameters=given)


def neighbourhood(gene: str, options: Parameters) -> Call[model.NeighbourhoodAnswer]:
    """Return the call for what is around a node."""
    return Call("GET", "/v1/neighbourhoods/{gene}", model.NeighbourhoodAnswer, {"gene": gene}, options)


def evidence(perturbation: str, target: str, cell_line: str, options: Parameters) -> Call[Evidence]:
    """Return the call for the evidence of one pair."""
    given = {"perturbation": perturbation, "target": target, "cell_line": cell_line, **options}
    return Call("GET", "/v1/evidence", Evidence, parameters=given)


def prompt(perturbation: str, target: str, cell_line: str, options: Parameters) -> Call[model.PromptAnswer]:
    """Return the call for the evidence of one pair as text."""
    given = {"perturbation": perturbation, "target": target, "cell_line": cell_line, **options}
    return Call("GET", "/v1/evidence/prompt", model.PromptAnswer, parameters=given)


def batch(pairs: Sequence[tuple[str, str, str]], options: Parameters) -> Call[Evidence]:
    """Return the call for the evidence of many pairs; the answer is a stream of lines."""
    rows = [{"perturbation": one, "target": other, "cell_line": line} for one, other, line in pairs]
    return Call("POST", "/v1/evidence/batch", Evidence, body={"pairs": rows, **options})


def coverage(pairs: Iterable[tuple[str, str, str]]) -> Call[model.CoverageAnswer]:
    """Return the call that counts what is known of many pairs."""
    rows = [{"perturbation": one, "target": other, "cell_line": line} for one, other, line in pairs]
    return Call("POST", "/v1/coverage", model.CoverageAnswer, body={"pairs": rows})


def embeddings(release: str | None) -> Call[embedded.EncoderList]:
    """Return the call for the vector sets."""
    return Call("GET", "/v1/embeddings", embedded.EncoderList, parameters={"release": release})


def vectors(ids: Iterable[str], encoder: str | None, release: str | None) -> Call[embedded.VectorBatch]:
    """Return the call for the vectors of nodes."""
    asked = {"ids": list(ids), "encoder": encoder, "release": release}
    return Call("POST", "/v1/embeddings/vectors", embedded.VectorBatch, body=asked)


def similar(name: str, options: Parameters) -> Call[embedded.SimilarAnswer]:
    """Return the call for what lies nearest to a node."""
    return Call("GET", "/v1/similar", embedded.SimilarAnswer, parameters={"name": name, **options})


def models() -> Call[predicted.ServedModelList]:
    """Return the call for the models in service."""
    return Call("GET", "/v1/models", predicted.ServedModelList)


def predictions(
    pairs: Iterable[tuple[str, str, str]], plugin: str | None, *, explain: bool
) -> Call[predicted.PredictionBatch]:
    """Return the call for what a model in service says of pairs."""
    rows = [{"perturbation": one, "target": other, "cell_line": line} for one, other, line in pairs]
    asked = {"pairs": rows, "plugin": plugin, "explain": explain}
    return Call("POST", "/v1/predictions", predicted.PredictionBatch, body=asked)


def lineage(name: str, against: str | None) -> Call[dict[str, Any]]:
    """Return the call for what stands behind an id."""
    return Call("GET", "/v1/lineage/{name}", dict[str, Any], {"name": name}, {"against": against})


def releases(offset: int, limit: int) -> Call[model.ReleasePage]:
    """Return the call for the publications."""
    return Call("GET", "/v1/releases", model.ReleasePage, parameters={"offset": offset, "limit": limit})


def release(name: str) -> Call[model.ReleaseDetail]:
    """Return the call for one release."""
    return Call("GET", "/v1/releases/{release}", model.ReleaseDetail, {"release": name})


def audit(name: str) -> Call[dict[str, Any]]:
    """Return the call for an audit report."""
    return Call("GET", "/v1/releases/{release}/audit", dict[str, Any], {"release": name})


def sources() -> Call[model.SourceList]:
    """Return the call for the providers."""
    return Call("GET", "/v1/sources", model.SourceList)


def views() -> Call[model.ViewList]:
    """Return the call for the preset views."""
    return Call("GET", "/v1/views", model.ViewList)


def health() -> Call[model.Health]:
    """Return the call for the server's state."""
    return Call("GET", "/v1/health", model.Health)


def metrics() -> Call[str]:
    """Return the call for the metrics."""
    return Call("GET", "/v1/metrics", str)


def schema() -> Call[dict[str, Any]]:
    """Return the call for the schema of evidence."""
    return Call("GET", "/v1/schema/evidence", dict[str, Any])
