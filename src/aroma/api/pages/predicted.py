"""What the models in service predict for one pair, as the pair's page shows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from aroma.api.answering import Desk
from aroma.errors import AromaError
from aroma.model.serving.answer_model import MovedBy, PredictedPair
from aroma.model.serving.answering import OpenedModel, answer_pairs

_REASONS: Final = 5
LABELS: Final = {0: "● not significant", 1: "▼ down", 2: "▲ up"}


@dataclass(frozen=True, slots=True)
class Predicted:
    """One model's answer, or why there is none.

    Attributes:
        plugin: Name of the plug-in.
        model: Model id.
        problem: Why it did not answer; empty where it did.
        prediction: Id of the answer, by which its lineage can be asked.
        release: Release that it answers from.
        probabilities: Down, not significant, up.
        label: For people.
        flags: What it had to do without.
        reasons: What moved it most.
    """

    plugin: str
    model: str
    problem: str = ""
    prediction: str = ""
    release: str = ""
    probabilities: tuple[float, float, float] = (0.0, 0.0, 0.0)
    label: str = ""
    flags: tuple[str, ...] = ()
    reasons: tuple[MovedBy, ...] = ()


async def predictions_of(desk: Desk, perturbation: str, target: str, cell_line: str) -> list[Predicted]:
    """Return the answers of all models in service; a model that fails is shown with its reason, and hides no other."""
    try:
        served = (await desk.quick.run(desk.models.listed)).items
    except AromaError as error:
        return [Predicted("all", "", problem=str(error))]
    found = []
    for one in served:
        try:
            opened = await desk.model(one.plugin)
            found.append(await desk.quick.run(_answer, desk, opened, (perturbation, target, cell_line)))
        except AromaError as error:
            found.append(Predicted(one.plugin, one.model, problem=str(error)))
    return found


def _answer(desk: Desk, opened: OpenedModel, pair: tuple[str, str, str]) -> Predicted:
    batch = answer_pairs(desk.served.home, opened, [pair], explain=True)
    said: PredictedPair = batch.items[0]
    return Predicted(
        plugin=batch.plugin,
        model=batch.model,
        prediction=batch.prediction,
        release=batch.release,
        probabilities=(said.p_down, said.p_not_significant, said.p_up),
        label=LABELS[said.label],
        flags=tuple(said.flags),
        reasons=tuple(said.reasons[:_REASONS]),
    )
