"""``aroma models``, ``aroma train``, ``aroma predict``: plug-ins by name, what they learned, and what they say."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from aroma.cli.options import HomeOption, JsonOption
from aroma.cli.output import console, print_json, print_table, progress
from aroma.errors import UsageError

if TYPE_CHECKING:
    from aroma.model.data_sets import DataSet
    from aroma.model.plugin import Card, Plugin
    from aroma.model.predicting import Answer
    from aroma.model.splits import Fold

_WORDS: Final = {0: "does not change significantly", 1: "goes down", 2: "goes up"}


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command("models")(models_command)
    app.command("train")(train_command)
    app.command("predict")(predict_command)


def models_command(
    model: Annotated[Path | None, typer.Argument(help="A saved model; without it, the plug-ins are listed.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List the plug-ins that are installed, or show what a saved model says of itself."""
    if model is not None:
        from aroma.model.plugin import read_card

        _show_card(model, read_card(model), as_json=as_json)
        return
    from aroma.model.registry import available, plugin

    rows: list[dict[str, Any]] = []
    for name, entry in available().items():
        cls = plugin(name)
        rows.append(
            {
                "name": name,
                "version": cls.version,
                "summary": cls.summary,
                "settings": dict(cls.defaults),
                "providers": list(cls.providers),
                "licence": cls.licence,
                "package": entry.package,
            }
        )
    if as_json:
        print_json({"models": rows})
        return
    columns = ("name", "version", "summary", "settings", "package")
    shown = [{**row, "settings": [f"{key}={value}" for key, value in row["settings"].items()]} for row in rows]
    print_table("Plug-ins", columns, [[row[column] for column in columns] for row in shown])


def _show_card(directory: Path, card: Card, *, as_json: bool) -> None:
    if as_json:
        print_json(asdict(card))
        return
    licences = [f"{name} {licence}" for name, licence in card.licences.items()]
    said: dict[str, Any] = {
        "plug-in": f"{card.plugin} {card.version}",
        "release": card.release,
        "split": f"{card.split}, seed {card.seed}",
        "training": f"{card.training_rows:,} rows of {', '.join(card.cell_lines)} (sha256 {card.training_sha256[:12]})",
        "withheld": f"{card.withheld_rows:,} rows",
        "settings": [f"{key}={value}" for key, value in card.parameters.items() if not isinstance(value, list | dict)],
        "licence": f"{card.licence}; evidence: {', '.join(licences) or 'none'}",
        "made at": card.made_at,
        "files": [f"{name} {sha256[:12]}" for name, sha256 in card.files.items()],
    }
    print_table(str(directory), ("", "value"), said.items())


OutcomesOption = Annotated[
    str,
    typer.Option(
        "--outcomes", help="PerturbQA's files or any outcomes table (file or directory), 'stored', or a version."
    ),
]
SplitOption = Annotated[
    str,
    typer.Option(
        "--split",
        help="all, official, dev, by-perturbation[:K], strict[:SPLIT], unseen-line[:LINE], unseen-target[:K], or the "
        "name of a stored split.",
    ),
]


def train_command(
    name: Annotated[str, typer.Argument(metavar="PLUGIN", help="A plug-in (aroma models lists them).")],
    out: Annotated[Path, typer.Option("--out", help="Directory of the model; must not exist.")],
    outcomes: OutcomesOption = "stored",
    split: SplitOption = "all",
    fold: Annotated[int, typer.Option("--fold", min=1, help="Which fold, where the split has several.")] = 1,
    store_split: Annotated[
        str | None, typer.Option("--store-split", help="Store what is withheld under this name.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of every random choice.")] = 0,
    param: Annotated[list[str] | None, typer.Option("--param", help="A setting, k=v; repeatable.")] = None,
    expression: Annotated[
        Path | None,
        typer.Option("--expression", help="Baseline expression: gene and one column a cell line, log counts."),
    ] = None,
    as_of: Annotated[str | None, typer.Option("--as-of", help="A release other than the published one.")] = None,
    detach: Annotated[
        bool, typer.Option("--detach", help="Leave it to workers, which must reach --out, and return.")
    ] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train a plug-in on measured outcomes and save it."""
    from aroma.kgstore.home import Home
    from aroma.model.data_sets import read_data_set, read_expression
    from aroma.model.ground import Ground
    from aroma.model.plugin import Training
    from aroma.model.plugin_settings import read_settings
    from aroma.model.registry import plugin

    cls = plugin(name)
    settings = read_settings(cls, _settings(param or []))
    if out.exists():
        raise UsageError(f"--out {out}: something is there already; choose another name or remove it")
    ground = Ground(Home.locate(home), as_of)
    data = read_data_set(ground, outcomes)
    for said in data.problems():
        progress(said)
    chosen = _fold(ground.home, data, split, fold, seed)
    if store_split is not None:
        from aroma.model.splits import store_fold

        store_fold(ground.home, chosen, data.outcomes, store_split)
    training = Training(
        chosen.training, seed, store_split or chosen.name, chosen.withheld,
        expression=read_expression(ground, expression) if expression else None,
        magnitudes=data.magnitudes, parameters=settings,
    )  # fmt: skip
    if detach:
        _leave(ground, cls, training, out, as_json=as_json)
        return
    model = cls.fit(training, ground, progress=lambda what, share: progress(f"{share:.0%} {what}"))
    if os.environ.get("RANK", "0") != "0":  # accelerate launch started several: the first one saves
        return
    model.save(out)
    _told(out, model, data, chosen, as_json=as_json)


def _leave(ground: Any, cls: type[Plugin], training: Any, out: Path, *, as_json: bool) -> None:
    """Plan a training as a run and wake workers for it."""
    from aroma.cli.embed import finish
    from aroma.jobs.devices import queue_of
    from aroma.model.embeddings.runs import embeddings_ledger
    from aroma.model.training_runs import plan_training

    device = str(training.parameters.get("device", "cpu"))
    ledger = embeddings_ledger(ground.home)
    run = plan_training(ground.home, ledger, cls, training, ground.release, out, queue=queue_of(device))
    finish(ground.home, ledger, run, device, detach=True, as_json=as_json)


def _settings(given: list[str]) -> dict[str, str]:
    found = {}
    for item in given:
        name, separator, value = item.partition("=")
        if not separator or not name.strip():
            raise UsageError(f"--param {item}: expected name=value")
        found[name.strip()] = value
    return found


def _fold(home: Any, data: DataSet, split: str, number: int, seed: int) -> Fold:
    from aroma.model.splits import make_folds

    folds = make_folds(data.outcomes, split, seed=seed, home=home)
    if number > len(folds):
        raise UsageError(f"--fold {number}: split {split} has {len(folds)}")
    return folds[number - 1]


def _told(out: Path, model: Plugin, data: DataSet, fold: Fold, *, as_json: bool) -> None:
    from aroma.model.leakage import leakage

    leaks = leakage(fold) if fold.test.height else None
    if as_json:
        rejected = {"rejected": data.reasons, "repeated": data.repeated, "unresolved": data.unresolved}
        found = {"leakage": leaks.to_dict() if leaks else None}
        print_json({"model": str(out), "outcomes": data.name, **rejected, **found, "card": asdict(model.card)})
        return
    card = model.card
    console().print(
        f"{card.plugin} learned from {card.training_rows:,} rows of {', '.join(card.cell_lines)} "
        f"(split {card.split}, {card.withheld_rows:,} rows withheld); saved in {out}"
    )
    if leaks:
        for sentence in leaks.sentences():
            progress(sentence)


def predict_command(
    model: Annotated[Path, typer.Argument(help="A saved model.")],
    perturbation: Annotated[
        str | None, typer.Argument(help="The gene that is knocked down; several at once as A+B.")
    ] = None,
    target: Annotated[str | None, typer.Argument(help="The gene that is read out.")] = None,
    cell_line: Annotated[
        str | None, typer.Option("--cell-line", help="For the pair, or for rows of --pairs that name none.")
    ] = None,
    pairs: Annotated[
        Path | None, typer.Option("--pairs", help="CSV or Parquet: perturbation,target[,cell_line], or pert,gene.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Parquet, or CSV by suffix.")] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Show which evidence moved the answer.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask a saved model about one pair, or about every row of a file."""
    from aroma.kgstore.home import Home
    from aroma.model.predicting import open_model, predict_file, predict_one

    if pairs is not None and out is None:
        raise UsageError("--pairs needs --out FILE")
    if pairs is None and not (perturbation and target and cell_line):
        raise UsageError(
            "give two genes and a line (aroma predict MODEL RPL3 TP53 --cell-line K562), or --pairs FILE --out FILE"
        )
    opened = open_model(Home.locate(home), model)
    if pairs is None or out is None:
        answer = predict_one(opened, str(perturbation), str(target), str(cell_line), explain=explain)
        _show(opened, answer, as_json=as_json)
        return
    counts = predict_file(
        opened, pairs, out, cell_line=cell_line,
        progress=lambda done, total: progress(f"{done:,} of {total:,} rows"),
    )  # fmt: skip
    if as_json:
        print_json({**counts, "model": str(model), "release": opened.ground.release, "out": str(out)})
        return
    flags = "; ".join(
        f"{flag}: {count:,}" for flag, count in sorted(counts.items()) if flag not in {"pairs", "flagged"}
    )
    console().print(
        f"{counts['pairs']:,} rows, {counts['flagged']:,} flagged"
        + (f" ({flags})" if flags else "")
        + f"; written to {out}"
    )


def _show(model: Plugin, answer: Answer, *, as_json: bool) -> None:
    if as_json:
        card = model.card
        print_json({"plugin": card.plugin, "release": card.release, "split": card.split, **answer.to_dict()})
        return
    screen = console()
    screen.print(
        f"[bold]{answer.target} {_WORDS[answer.label]}[/bold] when {answer.perturbation} is perturbed in "
        f"{answer.cell_line}, says {model.card.plugin}."
    )
    screen.print(
        f"down {answer.p_down:.1%}, not significant {answer.p_not_significant:.1%}, up {answer.p_up:.1%}"
        + ("" if max((answer.p_not_significant, 0), (answer.p_down, 1), (answer.p_up, 2))[1] == answer.label else
           " (the label follows thresholds learned for the line, not the largest probability)")
    )  # fmt: skip
    for flag in answer.flags:
        screen.print(f"[yellow]{flag}[/yellow]")
    if answer.reasons:
        rows = [(f"{reason.share:.0%}", reason.towards, reason.kind, reason.text) for reason in answer.reasons]
        print_table("What moved the answer", ("share", "towards", "kind", "what"), rows)
    screen.print(f"[dim]prediction {answer.prediction} (aroma lineage)[/dim]")
