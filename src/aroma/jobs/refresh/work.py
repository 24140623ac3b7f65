"""What each step of a refresh does: from inputs to outputs, JSON values, safe to do twice."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from aroma.errors import ModelError
from aroma.kgstore.home import GraphTarget, Home
from aroma.kgstore.releases import known_releases
from aroma.kgstore.work_loop import Keep

Inputs = Mapping[str, Any]


def do_build(home: Home, inputs: Inputs, _keep: Keep) -> dict[str, Any]:
    """Build and publish a release from a directory; what an earlier try staged is used."""
    from aroma.importers.build import BuildRequest, build

    request = BuildRequest(Path(inputs["source"]), accept=tuple(inputs["accept"]), notes=inputs["notes"])
    result = build(home, GraphTarget.locate(inputs["uri"]), request)
    return {name: value for name, value in asdict(result).items() if name not in {"views", "ignored"}}


def do_snapshot(home: Home, inputs: Inputs, _keep: Keep) -> dict[str, Any]:
    """Lay out the served views of a release."""
    from aroma.retrieval.snapshot import make_snapshot

    make_snapshot(home, inputs["release"])
    return {"release": inputs["release"]}


def do_plan(home: Home, inputs: Inputs, _keep: Keep) -> dict[str, Any]:
    """Decide which plug-ins are retrained and what they are compared with.

    A refresh that was killed after it promoted a model goes by what was decided before: the new model is what serves
    by then, and would make it seem that there was nothing to do.
    """
    from aroma.jobs.refresh.dependence import plan_retraining
    from aroma.model.serving.history import anchor_of

    plugins = None if inputs["plugins"] is None else tuple(inputs["plugins"])
    found = []
    for one in plan_retraining(home, inputs["release"], plugins, inputs["split"]):
        anchor = anchor_of(home, one.plugin)
        found.append({**asdict(one), "anchor": anchor.model if anchor else None})
    return {"models": found}


def do_train(home: Home, inputs: Inputs, keep: Keep) -> dict[str, Any]:
    """Train a plug-in on stored outcomes and put the model into the store."""
    from aroma.model.data_sets import read_data_set
    from aroma.model.ground import Ground
    from aroma.model.plugin import Training
    from aroma.model.registry import plugin
    from aroma.model.serving.promotion import PromotionRequest, admit
    from aroma.model.serving.store import beside_models
    from aroma.model.splits import make_folds

    ground = Ground(home, inputs["release"])
    data = read_data_set(ground, inputs["outcomes"])
    fold = make_folds(data.outcomes, inputs["split"], seed=inputs["seed"], home=home)[0]
    training = Training(
        fold.training, inputs["seed"], fold.name, fold.withheld,
        magnitudes=data.magnitudes, parameters=inputs["parameters"],
    )  # fmt: skip

    def progress(_what: str, _share: float) -> None:
        keep()

    model = plugin(inputs["plugin"]).fit(training, ground, progress=progress)
    with beside_models(home) as made:
        model.save(made / "model")
        stored, _, _ = admit(home, PromotionRequest(str(made / "model"), inputs["outcomes"], inputs["split"]))
    return {"model": stored.id, "training_rows": stored.card.training_rows, "split": stored.card.split}


def do_evaluate(home: Home, inputs: Inputs, _keep: Keep) -> dict[str, Any]:
    """Compare a stored model with the best ever served and write the report."""
    from aroma.model.serving.comparing import Terms
    from aroma.model.serving.promotion import PromotionRequest, evaluate_candidate

    request = PromotionRequest(inputs["model"], inputs["outcomes"], inputs["split"], Terms(inputs["margin"]))
    found = evaluate_candidate(home, request)
    if found.verdict is None:
        raise ModelError(f"model {inputs['model']} was not compared")
    return {"model": found.model.id, "against": found.anchor, "report": found.report, "passed": found.verdict.passed}


def do_promote(home: Home, inputs: Inputs, _keep: Keep) -> dict[str, Any]:
    """Serve a model that was compared, or keep it back."""
    from aroma.model.serving.history import deciding
    from aroma.model.serving.promotion import decide, evaluated_of

    with deciding(home):
        entry, said = decide(home, evaluated_of(home, inputs["report"]))
    is_ours = entry.report == inputs["report"]  # decided before, by this refresh, which was killed then
    return {**asdict(entry), "decision": entry.action if is_ours else said["decision"]}


STEPS: Final[Mapping[str, Callable[[Home, Inputs, Keep], dict[str, Any]]]] = {
    "build": do_build,
    "snapshot": do_snapshot,
    "plan": do_plan,
    "train": do_train,
    "evaluate": do_evaluate,
    "promote": do_promote,
}


def has_output(home: Home, step: str, result: Mapping[str, Any]) -> bool:
    """Tell whether what a task gave is still there; what is gone is made anew."""
    if step == "train":
        from aroma.model.serving.store import known_models

        return result["model"] in known_models(home)
    if step == "evaluate":
        from aroma.model.serving.promotion import REPORT, reports_directory

        return (reports_directory(home) / str(result["report"]) / REPORT).is_file()
    if step == "snapshot":
        return (home.snapshot(str(result["release"])) / "nodes" / "manifest.json").is_file()
    return step == "plan" or (step == "build" and result["release"] in known_releases(home))
