"""Promotion: a model takes the place of the one that serves, or is kept back, and the report says why."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from aroma.errors import AromaError, UsageError
from aroma.kgstore.home import Home
from aroma.kgstore.publications import write_durably
from aroma.kgstore.releases import now
from aroma.model.data_sets import STORED
from aroma.model.evaluation.text import headline_table
from aroma.model.ground import Ground
from aroma.model.plugin import read_card
from aroma.model.predicting import open_model
from aroma.model.serving.comparing import Check, Terms, Verdict, checks_table, weigh
from aroma.model.serving.held_out import HeldOut, held_out, refuse_trained_rows
from aroma.model.serving.history import (
    KEEP,
    OVERRIDE,
    PROMOTE,
    Promotion,
    anchor_of,
    append_promotion,
    deciding,
    put_in_service,
    read_promotions,
    served_models,
)
from aroma.model.serving.store import Origin, StoredModel, add_model, find_model, known_models, models_directory
from aroma.model.serving.vector_origins import vectors_behind

REPORT: Final = "promotion.json"
PAGE: Final = "promotion.html"
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class PromotionRequest:
    """What is to be promoted, on which rows, on what terms.

    Attributes:
        model: Directory of a saved model, or the id of a stored one.
        outcomes: File, directory, ``stored`` or a stored version.
        split: As ``aroma train --split`` was told; None for the official one where there is one, else ``dev``.
        terms: See ``Terms``.
        force: Serve it whatever the comparison says.
        reason: Why, where ``force`` is set.
    """

    model: str
    outcomes: str = STORED
    split: str | None = None
    terms: Terms = field(default_factory=Terms)
    force: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Evaluated:
    """A candidate, compared.

    Attributes:
        model: The candidate, in the store.
        anchor: Id of the model that it was compared with; None for the first of its plug-in.
        verdict: None where it could not be compared and ``force`` was set.
        report: Name of the report's directory below ``HOME/models/reports``.
    """

    model: StoredModel
    anchor: str | None
    verdict: Verdict | None
    report: str


def _silent(_text: str) -> None:
    """Say nothing."""


def promote(home: Home, request: PromotionRequest, say: Say = _silent) -> tuple[Promotion, dict[str, Any]]:
    """Compare a model with the best ever served and serve it, or keep it back; return the decision and its report.

    A model that serves already changes nothing.

    Raises:
        UsageError: A split that it was not trained with, rows that one of the models learned from, or ``force`` without
            a reason.
        ModelError: No model, or a damaged one.
        ReleaseError: Its release, or that of the model it is compared with, is gone.
        LockHeldError: Another process decides.
    """
    if request.force and not request.reason.strip():
        raise UsageError("--force puts a model in service whatever was measured; say why by --reason TEXT")
    with deciding(home):
        evaluated = evaluate_candidate(home, request, say)
        return decide(home, evaluated, force=request.force, reason=request.reason)


def evaluate_candidate(home: Home, request: PromotionRequest, say: Say = _silent) -> Evaluated:
    """Put a model into the store, compare it with the anchor, and write the report.

    Raises:
        AromaError: As for ``promote``.
    """
    model, withheld, ground = admit(home, request)
    anchor = anchor_of(home, model.card.plugin)
    against = anchor.model if anchor is not None and anchor.model != model.id else None
    name = _report_name(model.id, against, withheld, request.terms)
    try:
        verdict = _weighed(home, model, against, withheld, ground, request.terms, say)
    except AromaError as error:
        if not request.force:
            raise
        _write_report(home, name, _said(model, against, None, withheld, request.terms) | {"problem": str(error)})
        return Evaluated(model, against, None, name)
    _write_report(home, name, _said(model, against, verdict, withheld, request.terms))
    return Evaluated(model, against, verdict, name)


def admit(home: Home, request: PromotionRequest) -> tuple[StoredModel, HeldOut, Ground]:
    """Put a saved model into the store, its training rows proved by its card.

    Raises:
        AromaError: As for ``promote``.
    """
    place = Path(request.model)
    stored = find_model(home, request.model) if not place.is_dir() and _is_stored(home, request.model) else None
    directory = stored.directory if stored else place
    card = read_card(directory)
    ground = Ground(home, card.release)
    withheld = held_out(ground, card, request.outcomes, request.split)
    origin = Origin(
        str(request.outcomes), withheld.outcomes, request.split or withheld.fold.kind, vectors_behind(home, card)
    )
    return stored or add_model(home, directory, withheld.rows, origin), withheld, ground


def evaluated_of(home: Home, report: str) -> Evaluated:
    """Return an evaluation from its report.

    Raises:
        UsageError: There is no such report, or another model became the one to be compared with since.
    """
    said = read_report(home, report)
    model, found = find_model(home, said["model"]), said["comparison"]
    anchor = anchor_of(home, model.card.plugin)
    if anchor is not None and anchor.model not in {model.id, said["against"]}:
        raise UsageError(
            f"report {report} compares with {said['against']}, and the best served is {anchor.model} now; "
            "evaluate again"
        )
    verdict = None
    if found is not None:
        verdict = Verdict(said["passed"], said["best"], tuple(Check(**one) for one in said["checks"]), found)
    return Evaluated(model, said["against"], verdict, report)


def decide(
    home: Home, evaluated: Evaluated, *, force: bool = False, reason: str = ""
) -> tuple[Promotion, dict[str, Any]]:
    """Write the decision that an evaluation leads to; call it under ``deciding``."""
    model, verdict = evaluated.model, evaluated.verdict
    plugin, release = model.card.plugin, model.card.release
    current = served_models(home).get(plugin)
    said = read_report(home, evaluated.report)
    if current is not None and current.model == model.id:
        return current, said | {"decision": "unchanged"}
    why = verdict.reason() if verdict is not None else f"not compared: {said['problem']}"
    if verdict is not None and verdict.passed:
        entry = put_in_service(
            home, plugin, model.id, release, action=PROMOTE, reason=why, report=evaluated.report, anchor=verdict.best
        )
    elif force:
        entry = put_in_service(
            home, plugin, model.id, release, action=OVERRIDE, reason=f"{reason} ({why})", report=evaluated.report
        )
    else:
        entry = _kept(home, evaluated, why)
    said |= {"decision": entry.action, "reason": entry.reason, "decided_at": entry.at}
    _write_report(home, evaluated.report, said)
    return entry, said


def _kept(home: Home, evaluated: Evaluated, why: str) -> Promotion:
    """Write that a model was not promoted; the same finding again is not written twice."""
    model = evaluated.model
    for entry in reversed(read_promotions(home)):
        if entry.plugin == model.card.plugin:
            if (entry.action, entry.model, entry.report) == (KEEP, model.id, evaluated.report):
                return entry
            break
    return append_promotion(
        home, plugin=model.card.plugin, model=model.id, release=model.card.release, action=KEEP, reason=why,
        report=evaluated.report,
    )  # fmt: skip


def read_report(home: Home, name: str) -> dict[str, Any]:
    """Return a promotion's report.

    Raises:
        UsageError: There is none of that name.
    """
    path = reports_directory(home) / name / REPORT
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: cannot be read ({error}); promote the model again") from error
    return found


def reports_directory(home: Home) -> Path:
    """Return where the reports of promotions are."""
    return models_directory(home) / "reports"


def _is_stored(home: Home, asked: str) -> bool:
    return bool(asked) and any(name.startswith(asked) for name in known_models(home))


def _weighed(
    home: Home, model: StoredModel, against: str | None, withheld: HeldOut, ground: Ground, terms: Terms, say: Say
) -> Verdict:
    candidate = open_model(home, model.directory, ground=ground)
    anchor = None
    if against is not None:
        stored = find_model(home, against)
        refuse_trained_rows(stored, withheld.question.asked, "the best served model")
        same = stored.card.release == ground.release
        anchor = open_model(home, stored.directory, ground=ground if same else None)
    refuse_trained_rows(model, withheld.question.asked, "the candidate")
    return weigh(ground, withheld.question, candidate, anchor, terms, say)


def _report_name(model: str, against: str | None, withheld: HeldOut, terms: Terms) -> str:
    rows = withheld.question.asked.hash_rows(0).sort().sum()
    said = f"{model}|{against}|{withheld.question.asked.height}|{rows}|{asdict(terms)}"
    return f"{model}-{hashlib.sha256(said.encode()).hexdigest()[:8]}"


def _said(
    model: StoredModel, against: str | None, verdict: Verdict | None, withheld: HeldOut, terms: Terms
) -> dict[str, Any]:
    about = {
        "model": model.id,
        "plugin": model.card.plugin,
        "version": model.card.version,
        "release": model.card.release,
        "against": against,
        "outcomes": withheld.question.source,
        "outcomes_sha256": withheld.outcomes,
        "split": withheld.fold.name,
        "held_out_rows": withheld.question.asked.height,
        "terms": asdict(terms),
        "made_at": now(),
    }
    if verdict is None:
        return about | {"passed": None, "checks": [], "comparison": None}
    shown = verdict.found | {"release": model.card.release, "outcomes": withheld.question.source}
    checks = [asdict(check) for check in verdict.checks]
    return about | {"passed": verdict.passed, "best": verdict.best, "checks": checks, "comparison": shown}


def _write_report(home: Home, name: str, said: dict[str, Any]) -> None:
    place = reports_directory(home) / name
    write_durably(place / REPORT, json.dumps(said, indent=1, ensure_ascii=False))
    write_durably(place / PAGE, report_page(said))


def report_page(said: dict[str, Any]) -> str:
    """Return the report as one self-contained HTML page."""
    environment = Environment(
        loader=PackageLoader("aroma.model.serving"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    checks = checks_table([Check(**one) for one in said["checks"]])
    measures = headline_table(said["comparison"]) if said["comparison"] else None
    return environment.get_template("promotion.html").render(said=said, checks=checks, measures=measures)
