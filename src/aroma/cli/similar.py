"""``aroma similar``: what lies nearest to a gene among the vectors of an encoder, and what it shares in the graph."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aroma.cli.options import HomeOption, JsonOption, UriOption
from aroma.cli.output import console, print_json, print_table, progress
from aroma.errors import UsageError

if TYPE_CHECKING:
    from aroma.kgstore.home import GraphTarget, Home
    from aroma.retrieval.embedding_model import SharedInGraph, SimilarAnswer
    from aroma.retrieval.evidence import EvidenceStore
    from aroma.retrieval.similar import SimilarOptions


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("similar")(similar_command)


def similar_command(
    name: Annotated[
        str | None, typer.Argument(help="A gene by any name, or a node id.", metavar="[NAME]", show_default=False)
    ] = None,
    encoder: Annotated[
        str | None, typer.Option("--encoder", help="Name or id (else the only one).", show_default=False)
    ] = None,
    every: Annotated[bool, typer.Option("--all-encoders", help="Ask each encoder of the release.")] = False,
    k: Annotated[int, typer.Option("-k", help="Most nodes (1-200).")] = 10,
    shares: Annotated[
        list[str] | None,
        typer.Option(
            "--shares", help="complex, pathway, term, string: must be shared; repeatable.", show_default=False
        ),
    ] = None,
    label: Annotated[
        str | None, typer.Option("--label", help="Label wanted (else that of NAME).", show_default=False)
    ] = None,
    index: Annotated[str, typer.Option("--index", help="auto, numpy, flat, hnsw or neo4j.")] = "auto",
    release: Annotated[
        str | None, typer.Option("--release", help="A release other than the published one.", show_default=False)
    ] = None,
    fill_neo4j: Annotated[
        str | None,
        typer.Option("--fill-neo4j", help="Put an encoder's vectors into Neo4j's index.", show_default=False),
    ] = None,
    home: HomeOption = None,
    uri: UriOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find what lies nearest to a gene by an encoder's vectors; graph-svd is made when it is first asked for."""
    from aroma.kgstore.home import GraphTarget
    from aroma.retrieval.similar import SimilarOptions

    place, target = _home(home), GraphTarget.locate(uri)
    if (name is None) == (fill_neo4j is None):
        raise UsageError("give a gene (aroma similar TP53), or --fill-neo4j ENCODER alone")
    if fill_neo4j is not None:
        _fill(place, target, release, fill_neo4j, as_json=as_json)
        return
    options = SimilarOptions(k, tuple(dict.fromkeys(shares or ())), label, index)
    _ask(place, target, release, str(name), encoder, options, every=every, as_json=as_json)


def _home(home: Path | None) -> Home:
    from aroma.kgstore.home import Home

    return Home.locate(home)


def _ask(
    home: Home,
    target: GraphTarget,
    release: str | None,
    name: str,
    encoder: str | None,
    options: SimilarOptions,
    *,
    every: bool,
    as_json: bool,
) -> None:
    from aroma.retrieval.evidence import EvidenceStore
    from aroma.retrieval.evidence_model import to_builtins
    from aroma.retrieval.similar import NoVectorError, similar_in

    store = EvidenceStore(home, release)
    for one in _encoders(store, encoder, every=every):
        try:
            answer = similar_in(store, name, one, options, target=target)
        except NoVectorError as error:
            if not every:
                raise
            if as_json:
                print_json({"encoder": one, "query": name, "problem": str(error)})
            else:
                console().print(str(error), markup=False)
            continue
        if as_json:
            print_json(to_builtins(answer))
        else:
            _show(answer)


def _encoders(store: EvidenceStore, encoder: str | None, *, every: bool) -> list[str | None]:
    """Return the encoders to ask; ``graph-svd`` is made where it is asked for and not there."""
    from aroma.retrieval.structural import NAME
    from aroma.retrieval.structural_set import write_structural_set
    from aroma.retrieval.vector_store import vector_sets_of

    if encoder is not None and every:
        raise UsageError("give --encoder or --all-encoders, not both")
    home, release = store.snapshot.home, store.snapshot.release
    sets = vector_sets_of(home, release)
    if (encoder == NAME or every) and not any(one.card.name == NAME for one in sets):
        progress(f"making {NAME} for release {release}")
        made = write_structural_set(store.snapshot)
        sets = vector_sets_of(home, release)
        progress(f"{len(made.ids):,} genes have a vector of {made.card.dim} numbers")
    return [one.card.id for one in sets] if every else [encoder]


def _fill(home: Home, target: GraphTarget, release: str | None, encoder: str, *, as_json: bool) -> None:
    from aroma.retrieval.snapshot import open_snapshot
    from aroma.retrieval.vector_store import find_vector_set
    from aroma.retrieval.vectors_in_neo4j import fill_neo4j

    snapshot = open_snapshot(home, release)
    vectors = find_vector_set(home, snapshot.release, encoder)
    said = fill_neo4j(snapshot, vectors, target, progress=progress)
    if as_json:
        print_json(said)
    else:
        console().print(
            f"{said['nodes']} nodes of {said['database']} have their vector of {said['encoder']}", markup=False
        )


def _show(answer: SimilarAnswer) -> None:
    encoder = answer.encoder
    found = f"recall {answer.recall:.3f}" if answer.recall is not None else f"{answer.compared:,} compared"
    title = (
        f"{answer.query.name} by {encoder.encoder} ({encoder.id}, {answer.index}, {found}), release {answer.release}"
    )
    genes = any(item.shared is not None for item in answer.items)
    rows: list[list[Any]] = [
        [item.rank, item.node.name, item.node.id, f"{item.score:.3f}", *([_shared(item.shared)] if genes else [])]
        for item in answer.items
    ]
    print_table(title, ["", "name", "id", "cosine", *([f"shares with {answer.query.name}"] if genes else [])], rows)
    if not encoder.commercial_use:
        console().print(
            f"Licences of what the vectors were made of: {_licences(encoder.licences)}; one of them forbids commercial "
            "use or is not known.",
            markup=False,
        )


def _licences(licences: dict[str, str]) -> str:
    return ", ".join(f"{provider} {licence}" for provider, licence in licences.items())


def _shared(shared: SharedInGraph | None) -> str:
    if shared is None:
        return ""
    said = [f"STRING {shared.string}"] if shared.string is not None else []
    said += [node.name for part in (shared.complexes, shared.pathways, shared.terms) for node in part[:2]]
    return "; ".join(said) or "nothing"
