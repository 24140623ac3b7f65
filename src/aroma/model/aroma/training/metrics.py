"""What a training says of itself: one JSON line a step, and the curves as a picture."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from aroma.errors import ModelError
from aroma.kgstore.publications import write_durably

METRICS: Final = "metrics.jsonl"
PICTURE: Final = "curves.png"
_COLOUR: Final = "#1b6ca8"
_FEW: Final = 30


class MetricLines:
    """``metrics.jsonl``, written line by line; lines after the step that is gone on from are taken away first.

    Args:
        directory: Where.
        step: The last step whose line stays.
    """

    def __init__(self, directory: Path, step: int) -> None:
        self.path = directory / METRICS
        kept = [line for line in read_lines(self.path) if line.get("step", 0) <= step] if step else []
        write_durably(self.path, "".join(f"{json.dumps(line)}\n" for line in kept))

    def write(self, line: Mapping[str, Any]) -> None:
        """Add a line; it can be read at once.

        Raises:
            ModelError: The disk is full or the place cannot be written.
        """
        try:
            with self.path.open("a") as stream:
                stream.write(json.dumps(dict(line)) + "\n")
        except OSError as error:
            raise ModelError(f"{self.path}: cannot be written ({error.strerror or error}); free some space") from error


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines of a ``metrics.jsonl``; one that a kill cut off is left out."""
    try:
        text = path.read_text()
    except OSError:
        return
    for line in text.splitlines():
        try:
            found = json.loads(line)
        except ValueError:
            continue
        if isinstance(found, dict):
            yield found


def draw_curves(directory: Path, title: str, panels: Mapping[str, Sequence[str]], best: int) -> Path:
    """Draw columns of ``metrics.jsonl`` over the steps, and return the picture's path.

    Args:
        directory: Where the lines are; the picture is put beside them, in one rename.
        title: Stands over the picture.
        panels: By label of a panel: the columns drawn in it. A panel without any value is left out.
        best: The step that was kept; a line marks it.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    lines = list(read_lines(directory / METRICS))
    shown = {label: names for label, names in panels.items() if any(name in line for line in lines for name in names)}
    figure = Figure(figsize=(4.5 * max(len(shown), 1), 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    places = figure.subplots(1, max(len(shown), 1), squeeze=False)[0]
    for place, (label, names) in zip(places, shown.items(), strict=False):
        for number, name in enumerate(names):
            points = [(line["step"], line[name]) for line in lines if line.get(name) is not None]
            if points:
                colour = _COLOUR if number == 0 else f"C{number}"
                place.plot(
                    *zip(*points, strict=True), color=colour, label=name, marker="." if len(points) < _FEW else ""
                )
        place.axvline(best, color="0.6", linewidth=1, linestyle="--")
        place.set(xlabel="step", ylabel=label)
        if len(names) > 1:
            place.legend(frameon=False, fontsize="small")
    figure.suptitle(title)
    picture = directory / PICTURE
    partial = picture.with_name(f".{os.getpid()}.{picture.name}")
    figure.savefig(partial, dpi=120, metadata={"Software": None})  # the same curve gives the same bytes
    partial.replace(picture)
    return picture
