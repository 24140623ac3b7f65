"""Plots of a report as inline SVG: nothing is fetched, and text stays text."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from aroma.model.evaluation.results import TITLES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS: Final = ("#374151", "#a3a3a3", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Greys for the baselines, then the colour-blind-safe set of Okabe and Ito."""
_DECLARATION: Final = re.compile(r"^.*?(?=<svg)", re.DOTALL)
_HEADLINES: Final = ("mean_f1", "change", "direction", "skill")


def colour(place: int) -> str:
    """Return the colour of a model by its place in the table."""
    return COLOURS[place % len(COLOURS)]


def headline_plot(found: Mapping[str, Any]) -> str:
    """Return the headline measures with their intervals, one panel each, as SVG."""
    models = found["models"]
    with _figure(1, len(_HEADLINES), (3.1 * len(_HEADLINES), 0.75 + 0.32 * len(models))) as (figure, panels):
        for panel, name in zip(panels, _HEADLINES, strict=True):
            for place, model in enumerate(models):
                _bar(panel, len(models) - 1 - place, model["measures"][name], colour(place))
            if name in {"change", "direction"}:
                panel.axvline(0.5, color="#999999", linewidth=0.8, linestyle=":")
            if name == "skill":
                panel.axvline(0.0, color="#999999", linewidth=0.8, linestyle=":")
            names = [model["name"] for model in reversed(models)]
            panel.set_yticks(range(len(models)), names if panel is panels[0] else [""] * len(models))
            panel.set_ylim(-0.6, len(models) - 0.4)
            panel.set_title(TITLES[name])
        return _svg(figure, "Headline measures of each model with their intervals")


def _bar(panel: Axes, height: int, valued: Mapping[str, float | None], shade: str) -> None:
    value, low, high = valued["value"], valued["low"], valued["high"]
    if value is None:
        return
    if low is not None and high is not None:
        panel.plot([low, high], [height, height], color=shade, linewidth=2.5, solid_capstyle="butt")
    panel.plot([value], [height], "o", color=shade, markersize=6)


def f1_plot(found: Mapping[str, Any]) -> str:
    """Return F1 by line and class, one panel a line, as SVG."""
    lines, models = found["lines"], found["models"]
    with _figure(1, len(lines), (2.7 * len(lines), 2.6), sharey=True) as (figure, panels):
        for panel, line in zip(panels, lines, strict=True):
            width = 0.8 / len(models)
            for place, model in enumerate(models):
                values = [model["f1"][line][name]["value"] or 0.0 for name in found["classes"]]
                at = [number - 0.4 + width * (place + 0.5) for number in range(len(values))]
                panel.bar(at, values, width * 0.92, color=colour(place), label=model["name"])
            panel.set_xticks(range(len(found["classes"])), [name.replace("not ", "not\n") for name in found["classes"]])
            panel.set_ylim(0, 1)
            panel.set_title(line)
        panels[0].set_ylabel("F1")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
        return _svg(figure, "F1 by cell line and class")


def reliability_plot(found: Mapping[str, Any]) -> str:
    """Return predicted against measured shares, one panel a class, as SVG."""
    with _figure(1, len(found["classes"]), (3.1 * len(found["classes"]), 3.2)) as (figure, panels):
        for panel, column in zip(panels, range(len(found["classes"])), strict=True):
            _curves(panel, [model["calibration"][column] for model in found["models"]])
            panel.set_title(found["classes"][column])
        panels[0].set_ylabel("measured share")
        return _svg(figure, "Reliability by class")


def quartile_plot(found: Mapping[str, Any]) -> str:
    """Return reliability of "changed" classes within quartiles of the target's rate, as SVG; empty without any."""
    quartiles = len(found["models"][0]["calibration_by_quartile"])
    if not quartiles:
        return ""
    classes = [0, 2]
    size = (2.7 * quartiles, 2.7 * len(classes))
    with _figure(len(classes), quartiles, size) as (figure, panels):
        for row, column in enumerate(classes):
            for quartile in range(quartiles):
                panel = panels[row * quartiles + quartile]
                curves = [model["calibration_by_quartile"][quartile][column] for model in found["models"]]
                _curves(panel, curves, square=False)
                panel.set_title(f"{found['classes'][column]}, quartile {quartile + 1}")
        return _svg(figure, "Reliability within quartiles of the target's rate")


def _curves(panel: Axes, curves: Sequence[Mapping[str, Any]], *, square: bool = True) -> None:
    for place, curve in enumerate(curves):
        panel.plot(curve["predicted"], curve["observed"], "o-", color=colour(place), markersize=3, linewidth=1.2)
    points = [value for curve in curves for value in (*curve["predicted"], *curve["observed"]) if value is not None]
    top = 1.0 if square or not points else min(1.0, max(points) * 1.1 + 1e-6)
    panel.plot([0, top], [0, top], color="#999999", linewidth=0.8, linestyle=":")
    panel.set_xlabel("predicted")


def strata_plot(found: Mapping[str, Any], strata: Mapping[str, Any]) -> str:
    """Return mean F1 by stratum as SVG; empty where none is scored."""
    kept = [one for one in strata["strata"] if one["models"]]
    if not kept:
        return ""
    models = found["models"]
    with _figure(1, 1, (6.2, 2.5)) as (figure, panels):
        for place, model in enumerate(models):
            at = [number + (place - (len(models) - 1) / 2) * 0.12 for number in range(len(kept))]
            said = [one["models"][model["name"]]["mean_f1"] for one in kept]
            for x, valued in zip(at, said, strict=True):
                if valued["low"] is not None and valued["high"] is not None:
                    panels[0].plot([x, x], [valued["low"], valued["high"]], color=colour(place), linewidth=2)
            values = [valued["value"] for valued in said]
            panels[0].plot(at, values, "o", color=colour(place), markersize=5, label=model["name"])
        panels[0].set_xticks(range(len(kept)), [f"{one['name']}\n{one['rows']:,} rows" for one in kept])
        panels[0].set_ylabel("mean F1")
        panels[0].set_title(f"by {strata['name']}")
        return _svg(figure, f"Mean F1 by {strata['name']}")


@contextmanager
def _figure(
    rows: int, columns: int, size: tuple[float, float], *, sharey: bool = False
) -> Iterator[tuple[Figure, list[Axes]]]:
    """Yield a figure and its panels, row by row; no window system is asked for."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    style: Any = {
        "svg.fonttype": "none",
        "text.parse_math": False,  # a file's name may have a dollar sign
        "svg.hashsalt": "aroma",
        "font.family": "sans-serif",
        "font.size": 8.5,
        "axes.titlesize": 9.5,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
    with rc_context(style):
        made = Figure(figsize=size, layout="constrained")
        panels = made.subplots(rows, columns, squeeze=False, sharey=sharey)
        yield made, list(panels.ravel())


def _svg(figure: Figure, title: str) -> str:
    """Return a figure as an SVG element with a title for those who cannot see it."""
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None, "Title": title})
    text = _DECLARATION.sub("", stream.getvalue(), count=1)
    return text.replace("<svg ", f'<svg role="img" aria-label="{title}" ', 1)
