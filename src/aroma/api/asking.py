"""What requests ask, checked: query parameters and bodies."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request

from aroma.api.problems import ProblemError
from aroma.errors import UsageError
from aroma.kgstore.schema import Label, Relation
from aroma.kgstore.views import PRESETS, ViewDefinition, adjusted, preset
from aroma.retrieval.evidence import EvidenceOptions
from aroma.retrieval.paths import PathOptions
from aroma.retrieval.similar import SimilarOptions

LONGEST_NAME: Final = 200
_FILE_SUFFIXES: Final = (".csv", ".parquet")
Asked = TypeVar("Asked")

Name = Annotated[str, Field(min_length=1, max_length=LONGEST_NAME)]
ShortText = Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_NAME)]
MaybeText = Annotated[str, msgspec.Meta(max_length=LONGEST_NAME)]


class PathQuery(BaseModel):
    """How paths are searched and in which view; all of it is part of the answer."""

    model_config = ConfigDict(extra="forbid")

    view: Annotated[str, Field(max_length=LONGEST_NAME, description="Name of a preset view.", examples=["path-kg"])] = (
        "path-kg"
    )
    k: Annotated[int, Field(ge=1, le=100, description="Paths a pair.")] = 3
    slack: Annotated[int, Field(ge=0, le=2, description="Hops that a path may have more than the shortest.")] = 1
    max_hops: Annotated[int, Field(ge=1, le=8, description="Most hops of a path.")] = 6
    relation: Annotated[list[Relation], Field(max_length=20, description="Only these relationship types.")] = []
    minimum_score: Annotated[int, Field(ge=0, le=1000, description="Leave out STRING edges below this score.")] = 0
    exclude_node: Annotated[list[Name], Field(max_length=50, description="Ids of nodes to leave out.")] = []
    degree_cap: Annotated[int | None, Field(ge=1, le=10**9, description="Leave out nodes of this degree or more.")] = (
        None
    )
    provider: Annotated[list[Name], Field(max_length=20, description="Only these providers.")] = []
    exclude_evidence: Annotated[list[Name], Field(max_length=50, description="Evidence codes that do not count.")] = []
    annotated_until: Annotated[
        str | None, Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$", description="Statements dated later do not count.")
    ] = None
    permutation_seed: Annotated[
        int | None, Field(ge=0, le=2**31 - 1, description="Control: a degree-preserving permutation of the view.")
    ] = None
    release: Annotated[
        str | None, Field(min_length=1, max_length=64, description="A release other than the served.")
    ] = None

    def path_options(self) -> PathOptions:
        """Return the options for the search.

        Raises:
            UsageError: No such view, or values that do not fit it.
        """
        return _path_options(self.model_dump())


class PairQuery(PathQuery):
    """Paths of one pair."""

    perturbation: Annotated[Name, Field(description="Gene that is knocked down.", examples=["TULP1"])]
    target: Annotated[Name, Field(description="Gene that is read out.", examples=["ITCH"])]


class EvidenceQuery(PairQuery):
    """Evidence of one pair in one cell line."""

    cell_line: Annotated[Name, Field(description="Any name; unknown ones are flagged.", examples=["RPE1"])]
    cases: Annotated[int, Field(ge=0, le=100, description="Contrastive cases listed, of each kind.")] = 5
    withhold: Annotated[
        list[Name],
        Field(max_length=100, description="Outcomes not to be seen: split:NAME, perturbation:GENE, cell-line:NAME."),
    ] = []

    def options(self) -> EvidenceOptions:
        """Return the options for the evidence."""
        return EvidenceOptions(self.path_options(), self.cases)

    def withheld(self) -> tuple[str, ...]:
        """Return what is not to be seen, checked."""
        return check_withhold(self.withhold)


class PromptQuery(EvidenceQuery):
    """Evidence of one pair as text."""

    template: Annotated[str, Field(max_length=LONGEST_NAME, description="Name of a template.")] = "aroma"
    budget: Annotated[int | None, Field(ge=1, le=1_000_000, description="Most tokens.")] = None


class NeighbourhoodQuery(BaseModel):
    """What is around a node."""

    model_config = ConfigDict(extra="forbid")

    view: Annotated[str, Field(max_length=LONGEST_NAME, description="Name of a preset view.")] = "gene-kg"
    hops: Annotated[int, Field(ge=0, le=3, description="How far.")] = 1
    limit: Annotated[int, Field(ge=1, le=5_000, description="Most nodes; the nearest stay.")] = 100
    release: Annotated[
        str | None, Field(min_length=1, max_length=64, description="A release other than the served.")
    ] = None


class PageQuery(BaseModel):
    """A page of a list."""

    model_config = ConfigDict(extra="forbid")

    offset: Annotated[int, Field(ge=0, le=1_000_000, description="Entries to skip.")] = 0
    limit: Annotated[int, Field(ge=1, le=200, description="Entries on the page.")] = 20


class GeneSearchQuery(PageQuery):
    """A search for genes by name."""

    q: Annotated[Name, Field(description="A symbol, part of one, or one mistyped.", examples=["TULP"])]


class TextSearchQuery(BaseModel):
    """A search for nodes by text."""

    model_config = ConfigDict(extra="forbid")

    q: Annotated[Name, Field(description="Words.", examples=["photoreceptor"])]
    limit: Annotated[int, Field(ge=1, le=100, description="Most entries.")] = 20


class EmbeddingsQuery(BaseModel):
    """Which release's vector sets."""

    model_config = ConfigDict(extra="forbid")

    release: Annotated[
        str | None, Field(min_length=1, max_length=64, description="A release other than the served.")
    ] = None


class SimilarQuery(EmbeddingsQuery):
    """What lies nearest to a node by an encoder's vectors."""

    name: Annotated[Name, Field(description="A gene by any name, or a node id.", examples=["TULP1"])]
    encoder: Annotated[
        str | None,
        Field(min_length=1, max_length=LONGEST_NAME, description="Name or id; not needed where there is one alone."),
    ] = None
    k: Annotated[int, Field(ge=1, le=200, description="Most nodes.")] = 10
    shares: Annotated[
        list[Literal["complex", "pathway", "term", "string"]],
        Field(max_length=4, description="What a gene must share with the one asked for, all of them."),
    ] = []
    label: Annotated[Label | None, Field(description="Label of the nodes wanted; else that of the node asked for.")] = (
        None
    )
    index: Annotated[
        Literal["auto", "numpy", "flat", "hnsw", "neo4j"], Field(description="What searches; auto is exact.")
    ] = "auto"

    def options(self) -> SimilarOptions:
        """Return the options for the search; a request makes no index."""
        shares = tuple(dict.fromkeys(self.shares))
        return SimilarOptions(self.k, shares, self.label, self.index, build=False)


class LineageQuery(BaseModel):
    """Of what the lineage is asked."""

    model_config = ConfigDict(extra="forbid")

    against: Annotated[
        Name | None, Field(description="Another id: say which inputs differ between that one and this one.")
    ] = None


class VectorsAsked(msgspec.Struct, forbid_unknown_fields=True):
    """Nodes by id, or genes by any name, whose vectors are wanted; at most 2,000,000 numbers."""

    ids: list[MaybeText]
    encoder: ShortText | None = None
    release: Annotated[str, msgspec.Meta(min_length=1, max_length=64)] | None = None


class Names(msgspec.Struct, forbid_unknown_fields=True):
    """Gene names to resolve, at most 10,000."""

    names: list[MaybeText]


class BatchPair(msgspec.Struct, forbid_unknown_fields=True):
    """One question."""

    perturbation: MaybeText
    target: MaybeText
    cell_line: MaybeText = ""


class Pairs(msgspec.Struct, forbid_unknown_fields=True):
    """Pairs to be counted, at most 10,000."""

    pairs: list[BatchPair]


class PredictionsAsked(msgspec.Struct, forbid_unknown_fields=True):
    """Pairs, at most 10,000; ``plugin`` is not needed where one model alone is served. At most 50 are explained."""

    pairs: list[BatchPair]
    plugin: ShortText | None = None
    explain: bool = False


class ViewAsked(msgspec.Struct, forbid_unknown_fields=True):
    """A view defined in a request, fields as in the definitions of ``/v1/views``; nothing of it is written."""

    relations: Annotated[list[Relation], msgspec.Meta(min_length=1, max_length=20)]
    name: ShortText = "own"
    co_membership: bool = False
    minimum_score: Annotated[int, msgspec.Meta(ge=0, le=1000)] = 0
    dropped_nodes: Annotated[list[ShortText], msgspec.Meta(max_length=50)] = []
    degree_cap: Annotated[int, msgspec.Meta(ge=1, le=10**9)] | None = None
    providers: Annotated[list[ShortText], msgspec.Meta(max_length=20)] | None = None
    excluded_evidence: Annotated[list[ShortText], msgspec.Meta(max_length=50)] = []
    annotated_until: Annotated[str, msgspec.Meta(pattern="^[0-9]{4}-[0-9]{2}-[0-9]{2}$", max_length=10)] | None = None
    permutation_seed: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)] | None = None

    def definition(self) -> ViewDefinition:
        """Return the definition of the view."""
        return ViewDefinition.model_validate(msgspec.to_builtins(self))


class EvidenceBatch(msgspec.Struct, forbid_unknown_fields=True):
    """Questions, at most 10,000, and how they are answered; ``view`` is a preset's name or a definition."""

    pairs: list[BatchPair]
    view: MaybeText | ViewAsked = "path-kg"
    k: Annotated[int, msgspec.Meta(ge=1, le=100)] = 3
    slack: Annotated[int, msgspec.Meta(ge=0, le=2)] = 1
    max_hops: Annotated[int, msgspec.Meta(ge=1, le=8)] = 6
    cases: Annotated[int, msgspec.Meta(ge=0, le=100)] = 5
    withhold: Annotated[list[ShortText], msgspec.Meta(max_length=100)] = []
    release: Annotated[str, msgspec.Meta(min_length=1, max_length=64)] | None = None

    def options(self) -> EvidenceOptions:
        """Return the options for the evidence.

        Raises:
            UsageError: No such view.
        """
        view = self.view.definition() if isinstance(self.view, ViewAsked) else self.view
        if isinstance(view, str):
            preset(view)
        return EvidenceOptions(PathOptions(view, self.k, self.slack, self.max_hops), self.cases)

    def withheld(self) -> tuple[str, ...]:
        """Return what is not to be seen, checked."""
        return check_withhold(self.withhold)


def _path_options(said: dict[str, Any]) -> PathOptions:
    view = preset(said["view"])
    changes: dict[str, Any] = {}
    if said["relation"]:
        changes["relations"] = tuple(said["relation"])
    if said["minimum_score"]:
        changes["minimum_score"] = said["minimum_score"]
    if said["exclude_node"]:
        changes["dropped_nodes"] = tuple(sorted(set(said["exclude_node"])))
    if said["provider"]:
        changes["providers"] = tuple(sorted(set(said["provider"])))
    if said["exclude_evidence"]:
        changes["excluded_evidence"] = tuple(sorted(set(said["exclude_evidence"])))
    for name in ("degree_cap", "annotated_until", "permutation_seed"):
        if said[name] is not None:
            changes[name] = said[name]
    definition: Any = adjusted(view, **changes) if changes else said["view"]
    return PathOptions(definition, said["k"], said["slack"], said["max_hops"])


def check_withhold(asked: list[str]) -> tuple[str, ...]:
    """Return what is withheld; a request can name no files of the server.

    Raises:
        UsageError: Something that looks like a file.
    """
    for item in asked:
        if item.lower().endswith(_FILE_SUFFIXES):
            raise UsageError(f"withhold {item!r}: a request cannot name files; use aroma serve --withhold FILE")
    return tuple(asked)


def require_preset(name: str) -> None:
    """Check the name of a view.

    Raises:
        UsageError: There is no such preset.
    """
    if name not in PRESETS:
        preset(name)


async def read_body(request: Request, kind: type[Asked]) -> Asked:
    """Read and check a JSON body.

    Raises:
        ProblemError: 415 not JSON by its type, 400 malformed, 422 of another shape.
    """
    media = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if media != "application/json":
        raise ProblemError(415, f"the body is {media!r}; send application/json")
    body = await request.body()
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise ProblemError(422, f"the body does not fit: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProblemError(400, f"the body is no JSON: {error}") from error


def check_number(count: int, most: int) -> None:
    """Check how many things one request asks.

    Raises:
        ProblemError: 413, with the number allowed.
    """
    if count > most:
        raise ProblemError(
            413,
            f"{count:,} in one request; at most {most:,}: send them in parts, or use aroma evidence --pairs",
            limit=most,
        )


__all__ = ["EvidenceBatch", "EvidenceQuery", "Names", "PairQuery", "PathQuery", "Query", "read_body"]
