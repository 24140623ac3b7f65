"""One self-contained HTML page of results: tables and plots, no script, nothing fetched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from aroma.model.evaluation import plots, text


def html_report(found: Mapping[str, Any]) -> str:
    """Return the page.

    Args:
        found: What ``aroma.model.evaluation.run.evaluate`` returned, or its JSON read again.
    """
    environment = Environment(
        loader=PackageLoader("aroma.model.evaluation"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    strata = [(text.stratum_table(found, one), plots.strata_plot(found, one)) for one in found["strata"]]
    return environment.get_template("report.html").render(
        found=found,
        heading=text.heading(found),
        notes=list(text.notes(found)),
        legend=[(model["name"], model["kind"], plots.colour(place)) for place, model in enumerate(found["models"])],
        headline=(text.headline_table(found), plots.headline_plot(found)),
        f1=(text.f1_table(found), plots.f1_plot(found)),
        within=text.line_table(found),
        calibration=text.calibration_table(found),
        reliability=plots.reliability_plot(found),
        quartiles=plots.quartile_plot(found),
        differences=text.difference_table(found) if found["differences"] else None,
        permutations=[text.permutation_table(one) for one in found.get("permutations", [])],
        strata=strata,
    )
