"""Tables 1-5 and 8-11 of the AROMA paper (arXiv 2604.20263), filled for the plug-ins that are installed.

A cell whose model or input is not here says so; it is never filled from elsewhere. The paper's own figures stand in a
row that is marked as printed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import polars as pl

from aroma.errors import UsageError
from aroma.model.evaluation import ablations, strata
from aroma.model.evaluation.metrics import Floats, Scored, f1_by_line, mean_known
from aroma.model.evaluation.predictions import read_predictions
from aroma.model.evaluation.run import Request
from aroma.model.evaluation.strata import by_rank
from aroma.model.evaluation.text import figure
from aroma.model.evaluation.trials import (
    Compared,
    Question,
    Say,
    Trial,
    ask,
    baselines,
    compare,
    run_file,
    run_plugin,
)
from aroma.model.ground import ROWS, Ground
from aroma.model.plugin_settings import read_settings
from aroma.model.registry import available, plugin
from aroma.model.splits import Fold
from aroma.retrieval.vector_store import list_vector_sets
from aroma.retrieval.withhold import line_key

NOT_HERE: Final = "not available here"
PAPER_LINES: Final = ("K562", "HepG2", "Jurkat", "RPE1")
UNSEEN: Final = "RPE1"
_ORDER: Final = (1, 2, 0)
"""The paper's order of classes: not significant, up, down."""
_HEADS: Final = ("ND", "Up", "Down")
_LANGUAGE_MODEL: Final = "aroma"
_PRINTED_1: Final = (.96, .66, .36, .97, .65, .65, .97, .58, .69, .97, .60, .73, .73)  # fmt: skip
_PRINTED_2: Final = {"unseen cell line": (.96, .57, .66, .73), "training": (.97, .60, .73, .77)}  # fmt: skip
_HOPS: Final = (1, 2, 3)
_ABLATIONS: Final = {3: "Parts of the model", 5: "Number of roll-outs", 11: "Backbones"}
_GROUPS: Final = ("popularity", "degree")
_NOT_OFFICIAL: Final = (
    "these outcomes have no official test rows, so the split is {split}: the paper's figures are on other rows"
)


def paper_table(ground: Ground, request: Request, number: int, say: Say) -> dict[str, Any]:
    """Return one of the paper's tables: ``number, title, columns, rows, notes, split``, cells as text.

    Args:
        ground: The release.
        request: Outcomes, split, plug-ins (none: all that are installed) and predictions files.
        number: 1, 2, 3, 4, 5, 8, 9, 10 or 11.
        say: Told what is being done.

    Raises:
        UsageError: Not one of these tables, or a cell line that the outcomes have not.
    """
    makers: dict[int, Callable[[Ground, Request, Say], dict[str, Any]]] = {
        1: _table_1,
        2: _table_2,
        3: lambda ground, request, say: _ablation(ground, request, say, 3),
        4: lambda ground, request, say: _strata_table(ground, request, say, (UNSEEN,)),
        5: lambda ground, request, say: _ablation(ground, request, say, 5),
        8: _table_8,
        9: _table_9,
        10: lambda ground, request, say: _strata_table(ground, request, say, PAPER_LINES),
        11: lambda ground, request, say: _ablation(ground, request, say, 11),
    }
    if number not in makers:
        raise UsageError(f"--table {number}: there are {', '.join(map(str, makers))}")
    found = makers[number](ground, request, say)
    if _LANGUAGE_MODEL in _plugins(request) or number in _ABLATIONS:
        found["notes"] += ablations.notes_on(_language_model_settings(request))
    return {"number": number, "release": ground.release, **found}


def _language_model_settings(request: Request) -> dict[str, Any]:
    """Return the language model's settings as asked; of several bases the first."""
    given = dict(request.parameters.get(_LANGUAGE_MODEL, {}))
    if "base" in given:
        given["base"] = str(given["base"]).split(",")[0].strip()
    return read_settings(plugin(_LANGUAGE_MODEL), given)


def _ablation(ground: Ground, request: Request, say: Say, number: int) -> dict[str, Any]:
    question, notes = _question(ground, request)
    beside = [run_plugin(ground, question, name, seed=request.seed, say=say) for name in baselines(question)]
    compared = compare(question, [*beside, *ablations.run_variants(ground, question, request, number, say)])
    columns = ["model", *_line_columns(PAPER_LINES), "Average"]
    rows = [[name, *_cells(f1, lines)] for name, f1, lines in _f1s(compared)]
    return {"title": _ABLATIONS[number], "columns": columns, "rows": rows, "notes": notes, "split": question.name}


def _question(ground: Ground, request: Request) -> tuple[Question, list[str]]:
    """Return the official question, or that of the split asked for; outcomes without an official one need a name."""
    question = ask(ground, request.outcomes, split=request.split, training=request.training, seed=request.seed)
    notes = [] if question.name == "official" else [_NOT_OFFICIAL.format(split=question.name)]
    return question, notes


def _plugins(request: Request) -> list[str]:
    return list(request.plugins) if request.plugins else list(available())


def _trials(ground: Ground, question: Question, request: Request, say: Say) -> list[Trial]:
    """Fit the plug-ins, baselines first, and read the files."""
    beside = baselines(question)
    names = [*beside, *(name for name in _plugins(request) if name not in beside)]
    trials = [
        run_plugin(
            ground,
            question,
            name,
            seed=request.seed,
            parameters=dict(request.parameters.get(name, {})),
            label=_label(request, name),
            say=say,
        )
        for name in names
    ]
    return trials + [run_file(ground, question, read_predictions(path))[0] for path in request.predictions]


def _label(request: Request, name: str) -> str:
    return ablations.label_of(name, _language_model_settings(request)) if name == _LANGUAGE_MODEL else name


def _table_1(ground: Ground, request: Request, say: Say) -> dict[str, Any]:
    question, notes = _question(ground, request)
    compared = compare(question, _trials(ground, question, request, say))
    columns = ["model", *_line_columns(PAPER_LINES), "Average"]
    rows = [[name, *_cells(f1, lines)] for name, f1, lines in _f1s(compared)]
    rows += _missing_model(request, len(columns) - 1)
    rows.append(["AROMA, as printed", *(figure(value, 2) for value in _PRINTED_1)])
    return {"title": "F1 by cell line and class", "columns": columns, "rows": rows, "notes": notes,
            "split": question.name}  # fmt: skip


def _table_2(ground: Ground, request: Request, say: Say) -> dict[str, Any]:
    question, notes = _question(ground, request)
    asked = _only_line(question, UNSEEN)
    columns = ["model", "setting", *_HEADS, "Avg"]
    rows = []
    for setting, one in (("unseen cell line", _without_line(asked, UNSEEN)), ("training", asked)):
        compared = compare(one, _trials(ground, one, request, say))
        rows += [[name, setting, *_cells(f1, lines, (UNSEEN,))] for name, f1, lines in _f1s(compared)]
    rows = sorted(rows, key=lambda row: [name for name, *_ in rows].index(row[0]))
    rows += [[name, "both", *cells] for name, *cells in _missing_model(request, 4)]
    rows += [["AROMA, as printed", name, *(figure(v, 2) for v in values)] for name, values in _PRINTED_2.items()]
    notes.append(f"unseen cell line: nothing of {UNSEEN} is trained on; both settings are asked the same rows")
    return {"title": f"{UNSEEN} unseen and trained on", "columns": columns, "rows": rows, "notes": notes,
            "split": question.name}  # fmt: skip


def _table_8(ground: Ground, request: Request, say: Say) -> dict[str, Any]:
    columns = ["model", "hops", *_line_columns((*PAPER_LINES[:3], f"{UNSEEN} (unseen)"))]
    names = [name for name in _plugins(request) if "hops" in plugin(name).defaults]
    rows: list[list[str]] = []
    notes: list[str] = []
    split = request.split or "official"
    if names:
        question, notes = _question(ground, request)
        question, split = _without_line(question, UNSEEN), question.name
        beside = [run_plugin(ground, question, name, seed=request.seed, say=say) for name in baselines(question)]
        for name in names:
            for hops in _HOPS:
                parameters = {**request.parameters.get(name, {}), "hops": hops}
                label = f"{_label(request, name)} ({hops})"
                trial = run_plugin(
                    ground, question, name, seed=request.seed, parameters=parameters, label=label, say=say
                )
                compared = compare(question, [*beside, trial])
                rows.append([_label(request, name), str(hops), *_cells(*_f1s(compared)[-1][1:], average=False)])
        rows = [
            *([found, "-", *_cells(f1, lines, average=False)] for found, f1, lines in _f1s(compare(question, beside))),
            *rows,
        ]
    else:
        notes.append("no plug-in that was asked for has a setting 'hops' (the neighbourhood of a gene it encodes)")
    rows += [[name, str(hops), *cells] for hops in _HOPS for name, *cells in _missing_model(request, len(columns) - 2)]
    return {"title": "Range of the local subgraph", "columns": columns, "rows": rows, "notes": notes, "split": split}


def _table_9(ground: Ground, _request: Request, _say: Say) -> dict[str, Any]:
    columns = ["knowledge graph", "test AUROC", "test AUROC, degree-matched non-edges", "vectors", "printed"]
    sets = [one for one in list_vector_sets(ground.home) if one.release == ground.release]
    rows, notes = [], []
    for view, shown, printed in (("gene-kg", "Gene-KG", 0.95), ("path-kg", "Path-KG", 0.92)):
        mine = [one for one in sets if one.card.name == f"gat:{view}" and "test" in one.facts]
        for one in mine:
            test = one.facts["test"]
            cells = [figure(test.get(kind)) for kind in ("uniform", "degree")]
            rows.append([shown, *cells, one.card.id, figure(printed, 2)])
        if not mine:
            rows.append([shown, NOT_HERE, NOT_HERE, NOT_HERE, figure(printed, 2)])
            notes.append(f"no graph attention network was trained on {view} of this release: aroma embed gat")
    notes.append("non-edges of the paper are drawn uniformly; against degree-matched ones degree alone gains nothing")
    return {"title": "Graph attention networks, link prediction", "columns": columns, "rows": rows, "notes": notes,
            "split": None}  # fmt: skip


def _strata_table(ground: Ground, request: Request, say: Say, lines: Sequence[str]) -> dict[str, Any]:
    question, notes = _question(ground, request)
    compared = compare(question, _trials(ground, question, request, say))
    mentions = request.mentions
    popularity = strata.read_mentions(ground, mentions) if mentions else strata.annotation_references(ground)
    values = {"popularity": popularity, "degree": strata.degrees(ground)}
    columns = ["cell line", "model", "gene", *(f"{group} {name}" for group in _GROUPS for name, _ in strata.SHARES)]
    rows = []
    for line in lines:
        place = _place(compared.scored[0].lines, line)
        for trial, whole in zip(compared.trials, compared.scored, strict=True):
            rows += [_stratum_row(compared, trial, whole, place, side, values) for side in strata.SIDES]
        rows += [[line, name, "both", *cells] for name, *cells in _missing_model(request, 2 * len(strata.SHARES))]
    counted = (
        f"mentions in {mentions.name}" if mentions else "distinct references of annotations, for want of --mentions"
    )
    notes += [
        f"popularity: {counted}; degree: neighbours in {strata.VIEW}",
        "high, mid, low: the top 20 %, next 40 % and last 40 % of a line's rows",
        "the paper does not say whether perturbation or target genes are ranked, so both are",
    ]
    title = "Macro F1 by popularity and degree"
    return {"title": title, "columns": columns, "rows": rows, "notes": notes, "split": question.name}


def _stratum_row(
    compared: Compared, trial: Trial, whole: Scored, place: int, side: str, values: dict[str, dict[str, float]]
) -> list[str]:
    mine = whole.line == place
    genes = compared.rows.filter(pl.Series(mine))[f"{side}_gene"]
    rows, cells = whole.only(mine), []
    for group in _GROUPS:
        parts = by_rank(group, "", genes, values[group]).of_row
        for number in range(len(strata.SHARES)):
            part = rows.only(parts == number)
            cells.append(figure(mean_known(f1_by_line(part)[place]), 2) if len(part) else "no rows")
    return [whole.lines[place], trial.name, side, *cells]


def _f1s(compared: Compared) -> list[tuple[str, Floats, tuple[str, ...]]]:
    return [
        (trial.name, f1_by_line(rows), rows.lines) for trial, rows in zip(compared.trials, compared.scored, strict=True)
    ]


def _cells(
    f1: Floats, lines: tuple[str, ...], wanted: Iterable[str] = PAPER_LINES, *, average: bool = True
) -> list[str]:
    """Return F1 in the paper's order of lines and classes, then their mean."""
    kept = np.stack([f1[_place(lines, line)][list(_ORDER)] for line in wanted])
    cells = [figure(_known(value), 2) for value in kept.ravel().tolist()]
    return [*cells, figure(_known(mean_known(kept)), 2)] if average else cells


def _known(value: float) -> float | None:
    return None if np.isnan(value) else value


def _place(lines: Sequence[str], wanted: str) -> int:
    for place, line in enumerate(lines):
        if line_key(line) == line_key(wanted):
            return place
    raise UsageError(f"the table needs rows of {wanted}; the outcomes asked are of {', '.join(lines)}")


def _line_columns(lines: Sequence[str]) -> list[str]:
    return [f"{line} {head}" for line in lines for head in _HEADS]


def _missing_model(request: Request, cells: int) -> list[list[str]]:
    """Return the row of the language model where it is not installed."""
    if _LANGUAGE_MODEL in _plugins(request):
        return []
    return [["AROMA (language model)", *[NOT_HERE] * cells]]


def _only_line(question: Question, line: str) -> Question:
    """Return the question of one line's test rows alone."""
    folds = tuple(
        replace(fold, test=_of_line(fold.test, line)) for fold in question.folds if _of_line(fold.test, line).height
    )
    if not folds:
        lines = ", ".join(question.asked["cell_line"].unique().sort().to_list())
        raise UsageError(f"the table needs rows of {line}; the outcomes asked are of {lines}")
    return _with_folds(question, folds)


def _without_line(question: Question, line: str) -> Question:
    """Return a question whose training rows have nothing of a line."""
    folds = []
    for fold in question.folds:
        kept = fold.training.filter(pl.col("cell_line") != _spelling(fold.training, line))
        if kept.is_empty():
            raise UsageError(f"without {line} nothing is left to train on; give outcomes of other cell lines")
        gone = fold.training.height - kept.height
        folds.append(Fold(f"{fold.name}-without-{line}", fold.kind, kept, fold.test, fold.left_out + gone))
    return _with_folds(question, tuple(folds))


def _with_folds(question: Question, folds: tuple[Fold, ...]) -> Question:
    tests = [fold.test.select(*ROWS, "label").with_columns(fold=pl.lit(fold.name)) for fold in folds]
    return replace(question, folds=folds, asked=pl.concat(tests).with_columns(pl.col("label").cast(pl.Int8)))


def _of_line(rows: pl.DataFrame, line: str) -> pl.DataFrame:
    return rows.filter(pl.col("cell_line") == _spelling(rows, line))


def _spelling(rows: pl.DataFrame, line: str) -> str:
    return next((name for name in rows["cell_line"].unique() if line_key(name) == line_key(line)), line)
