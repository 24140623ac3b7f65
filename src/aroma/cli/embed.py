"""``aroma embed``: vectors of proteins, texts and graphs, and the sets that are there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aroma.cli.options import HomeOption, JsonOption
from aroma.cli.output import console, print_json, print_table, progress
from aroma.errors import UsageError

if TYPE_CHECKING:
    from aroma.jobs.asking import Wish
    from aroma.kgstore.home import Home
    from aroma.kgstore.ledger import Ledger, Run

EncoderOption = Annotated[
    str | None, typer.Option("--encoder", help="Encoder's name (else one that needs no download).", show_default=False)
]
WeightsOption = Annotated[
    Path | None,
    typer.Option("--weights", help="Directory or .pt file (else the hub's cache).", show_default=False),
]
PrecisionOption = Annotated[
    str | None,
    typer.Option("--precision", "--dtype", help="float32, bfloat16 or float16, where it has one.", show_default=False),
]
SettingOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="Another option of the encoder: NAME=VALUE, the value as JSON or text.", show_default=False
    ),
]
DeviceOption = Annotated[
    str, typer.Option("--device", help="cpu, cuda, cuda:1; with workers, cuda means any GPU worker.")
]
ReleaseOption = Annotated[str, typer.Option("--release", help="A release other than the published one.")]
DetachOption = Annotated[bool, typer.Option("--detach", help="Leave it to workers and return at once.")]
ShardOption = Annotated[int, typer.Option("--shard-cost", min=1, help="Residues or tokens a shard.")]
_SHARD_COST = 200_000


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    embed = typer.Typer(name="embed", help="Vectors of proteins, texts and graphs.", no_args_is_help=True)
    embed.command("protein")(protein_command)
    embed.command("text")(text_command)
    embed.command("gat")(gat_command)
    embed.command("pooled")(pooled_command)
    embed.command("list")(list_command)
    embed.command("verify")(verify_command)
    embed.command("prune")(prune_command)
    app.add_typer(embed)


def protein_command(
    encoder: EncoderOption = None,
    weights: WeightsOption = None,
    precision: PrecisionOption = None,
    setting: SettingOption = None,
    fasta: Annotated[
        Path | None, typer.Option("--fasta", help="Sequences of a file in place of a release's.", show_default=False)
    ] = None,
    device: DeviceOption = "cpu",
    release: ReleaseOption = "published",
    shard_cost: ShardOption = _SHARD_COST,
    detach: DetachOption = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Embed every protein's sequence: composition, or ESM-2 of any published size."""
    from aroma.jobs.asking import Wish

    where = str(weights.resolve()) if weights else None  # workers start in another directory
    options = {"weights": where, "precision": precision, **_settings(setting)}
    wish = Wish("protein", encoder, options, device, release, fasta, shard_cost)
    _ask(home, wish, detach=detach, as_json=as_json)


def text_command(
    encoder: EncoderOption = None,
    precision: PrecisionOption = None,
    setting: SettingOption = None,
    device: DeviceOption = "cpu",
    release: ReleaseOption = "published",
    shard_cost: ShardOption = _SHARD_COST,
    detach: DetachOption = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Embed names, definitions and descriptions of genes, GO terms, pathways and complexes.

    The default encoder comes in a PyPI package; any other is text:DIRECTORY or text:HUB_NAME.
    """
    from aroma.jobs.asking import Wish

    options = {"precision": precision, **_settings(setting)}
    _ask(home, Wish("text", encoder, options, device, release, None, shard_cost), detach=detach, as_json=as_json)


def gat_command(
    view: Annotated[str, typer.Option("--view", help="A preset view.")] = "gene-kg",
    layer: Annotated[str | None, typer.Option("--layer", help="gat or gatv2.", show_default=False)] = None,
    inputs: Annotated[
        str | None,
        typer.Option("--inputs", help="random, structural, or the name of another encoder's set.", show_default=False),
    ] = None,
    negatives: Annotated[str | None, typer.Option("--negatives", help="uniform or degree.", show_default=False)] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", help="At most so many.", show_default=False)] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of all that is drawn.", show_default=False)] = None,
    setting: SettingOption = None,
    device: DeviceOption = "cpu",
    release: ReleaseOption = "published",
    detach: DetachOption = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train graph attention on a view by link prediction, and embed its nodes."""
    from aroma.jobs.asking import plan_training
    from aroma.kgstore.home import Home
    from aroma.model.embeddings.runs import embeddings_ledger

    options = {"view": view, "layer": layer, "inputs": inputs, "negatives": negatives, "epochs": epochs, "seed": seed}
    place = Home.locate(home)
    _check_here(device, detach=detach)
    ledger = embeddings_ledger(place)
    run = plan_training(place, ledger, {**options, **_settings(setting)}, device, release)
    finish(place, ledger, run, device, detach=detach, as_json=as_json)


def pooled_command(
    encoder: Annotated[str, typer.Argument(help="A graph encoder's set: gat:gene-kg, or its id.")],
    hops: Annotated[int, typer.Option("--hops", min=1, max=3, help="How far a gene's neighbourhood goes.")] = 1,
    exact: Annotated[
        bool, typer.Option("--exact", help="Encode each gene's subgraph, as the paper does; slower.")
    ] = False,
    release: ReleaseOption = "published",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Embed genes by their neighbourhoods: the mean over what a trained graph encoder makes of them."""
    from aroma.jobs.status import set_facts
    from aroma.kgstore.home import Home
    from aroma.kgstore.releases import find_release
    from aroma.model.embeddings.subgraph_vectors import publish_pooled
    from aroma.retrieval.vector_store import find_vector_set

    place = Home.locate(home)
    source = find_vector_set(place, find_release(place, release), encoder)
    found = set_facts(publish_pooled(place, source, hops, exact=exact))
    if as_json:
        print_json(found)
    else:
        progress(f"{found['encoder']} ({found['encoder_id']}): {found['vectors']:,} genes, {found['dim']} numbers each")


def list_command(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """List the vector sets that are there."""
    from aroma.jobs.status import set_facts
    from aroma.kgstore.home import Home
    from aroma.retrieval.vector_store import list_vector_sets

    found = [set_facts(one) for one in list_vector_sets(Home.locate(home))]
    if as_json:
        for one in found:
            print_json(one)
        return
    columns = ("encoder", "encoder_id", "kind", "release", "vectors", "dim", "dtype", "bytes")
    print_table("Vector sets", columns, [[one[name] for name in columns] for one in found])


def verify_command(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Compare every vector set with its checksums; ends with 1 where one is damaged."""
    from aroma.kgstore.home import Home
    from aroma.retrieval.vector_store import check_vector_sets, list_vector_sets

    place = Home.locate(home)
    damaged = check_vector_sets(place)
    if as_json:
        print_json({"checked": len(list_vector_sets(place)), "damaged": damaged})
    elif not damaged:
        console().print(f"{len(list_vector_sets(place))} vector sets are sound", markup=False)
    for name, files in damaged.items():
        progress(f"{name}: damaged: {', '.join(files)}; aroma embed prune removes it, then embed again")
    if damaged:
        raise typer.Exit(1)


def prune_command(
    sets: Annotated[
        list[str] | None, typer.Argument(metavar="[SET]...", help="Sets to delete too: ENCODER_ID/RELEASE.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would go.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete vector sets of releases that are gone, damaged ones, and files of runs that ended."""
    from aroma.jobs.pruning import find_prunable, remove
    from aroma.kgstore.home import Home
    from aroma.model.embeddings.runs import embeddings_ledger

    place = Home.locate(home)
    ledger = embeddings_ledger(place)
    found = find_prunable(place, ledger, sets or ())
    if not dry_run:
        remove(ledger, found)
    rows = [{"path": str(one.path), "why": one.why, "bytes": one.bytes} for one in found]
    if as_json:
        print_json({"dry_run": dry_run, "pruned": rows, "bytes": sum(one.bytes for one in found)})
        return
    title = "Would go" if dry_run else "Gone"
    print_table(title, ("what", "why", "bytes"), [[row["path"], row["why"], row["bytes"]] for row in rows])


def _ask(home: Path | None, wish: Wish, *, detach: bool, as_json: bool) -> None:
    from aroma.jobs.asking import plan_wish
    from aroma.kgstore.home import Home
    from aroma.model.embeddings.runs import embeddings_ledger

    place = Home.locate(home)
    _check_here(wish.device, detach=detach)
    ledger = embeddings_ledger(place)
    asked = plan_wish(place, ledger, wish)
    for note in asked.notes:
        progress(note)
    finish(place, ledger, asked.run, wish.device, detach=detach, as_json=as_json)


def finish(home: Home, ledger: Ledger, run: Run, device: str, *, detach: bool, as_json: bool) -> None:
    """Have a planned run done, by workers where there is a broker, else here; show how far it is and what it gave."""
    from aroma.cli.run_progress import shown_progress
    from aroma.jobs.broker import broker_address
    from aroma.jobs.finishing import leave_to_workers, outcome
    from aroma.jobs.watching import do_here, require_done, watch

    if detach:
        note = leave_to_workers(run)
        progress(note or f"run {run.id}: {sum(run.shards.values())} shards left to workers; aroma runs show {run.id}")
        if as_json:
            print_json({"run": run.id, "state": str(run.state)})
        return
    address = broker_address()
    try:
        with shown_progress() as show:
            ended = watch(home, ledger, run, address, show) if address else do_here(home, ledger, run, device, show)
    except KeyboardInterrupt:
        what = (
            "the workers go on; to end it: aroma runs cancel"
            if address
            else "what is done is kept; to go on: aroma runs resume"
        )
        progress(f"run {run.id}: {what} {run.id}")
        raise typer.Abort from None
    found = outcome(home, require_done(ended))
    if found["note"]:
        progress(found["note"])
    if as_json:
        print_json(found)
        return
    console().print(_sentence(found), markup=False)


def _sentence(found: dict[str, Any]) -> str:
    if "model" in found:
        return f"{found['encoder']}: trained, saved in {found['model']}"
    new = found["to_embed"]
    taken = "" if new is None else f" ({new:,} inputs embedded now, the others taken over or equal)"
    lacking = f"; {found['without']:,} have none: see problem in items.parquet" if found["without"] else ""
    return f"{found['encoder']}: {found['vectors']:,} vectors of {found['dim']}{taken}{lacking}\n{found['directory']}"


def _check_here(device: str, *, detach: bool) -> None:
    """Refuse a device that this process would compute on and that is not here; workers look for themselves."""
    from aroma.jobs.broker import broker_address
    from aroma.jobs.devices import check_device, queue_of

    if detach or broker_address():
        queue_of(device)
    else:
        check_device(device)


def _settings(given: list[str] | None) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for text in given or ():
        name, sign, value = text.partition("=")
        if not sign or not name:
            raise UsageError(f"--set {text!r} is not understood; give NAME=VALUE")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found
