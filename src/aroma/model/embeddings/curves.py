"""The curve of a training as JSON and as a picture."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from aroma.model.embeddings.gat_training import Epoch

CURVE: Final = "curve.json"
PICTURE: Final = "curve.png"


def write_curve(
    directory: Path, title: str, history: Sequence[Epoch], best: int, test: Mapping[str, float] | None = None
) -> None:
    """Write ``curve.json`` and ``curve.png``.

    Args:
        directory: Where; must be there.
        title: Stands over the picture.
        history: Every epoch.
        best: Number of the epoch whose weights are kept.
        test: AUROC on test edges by kind of negatives, once it is known.
    """
    said = {"title": title, "best": best, "test": dict(test or {}), "epochs": [asdict(epoch) for epoch in history]}
    (directory / CURVE).write_text(json.dumps(said, indent=1) + "\n")
    _draw(directory / PICTURE, title, history, best, test or {})


def _draw(place: Path, title: str, history: Sequence[Epoch], best: int, test: Mapping[str, float]) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    FigureCanvasAgg(figure)
    losses, scores = figure.subplots(1, 2)
    numbers = [epoch.number for epoch in history]
    losses.plot(numbers, [epoch.loss for epoch in history], color="#1b6ca8")
    losses.set(xlabel="epoch", ylabel="binary cross-entropy, training")
    for kind, values, colour in (
        ("uniform", [epoch.auroc for epoch in history], "#1b6ca8"),
        ("degree", [epoch.auroc_degree for epoch in history], "#d1495b"),
    ):
        shown = f"{kind} negatives" + (f"; test {test[kind]:.3f}" if kind in test else "")
        scores.plot(numbers, values, color=colour, label=shown)
    scores.axvline(best, color="0.6", linewidth=1, linestyle="--", label=f"kept: epoch {best}")
    scores.set(xlabel="epoch", ylabel="AUROC, validation", ylim=(0.45, 1.0))
    scores.legend(loc="lower right", frameon=False)
    figure.suptitle(title)
    figure.savefig(place, dpi=120, metadata={"Software": None})  # the same curve gives the same bytes
