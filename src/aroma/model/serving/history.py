"""Which model of each plug-in is served, since when and why: one file, replaced in one rename, as publications are.

``HOME/models/served.json`` lists every decision. A model that was kept back is an entry too; what is served is the last
one that was promoted, put in by hand (``override``) or rolled back to.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from aroma.errors import ModelError, UsageError
from aroma.kgstore.home import Home
from aroma.kgstore.locks import exclusive
from aroma.kgstore.publications import write_durably
from aroma.kgstore.releases import now
from aroma.model.serving.store import models_directory

PROMOTE: Final = "promote"
KEEP: Final = "keep"
ROLLBACK: Final = "rollback"
OVERRIDE: Final = "override"
_SERVING: Final = frozenset({PROMOTE, ROLLBACK, OVERRIDE})


@dataclass(frozen=True, slots=True)
class Promotion:
    """One decision about a model.

    Attributes:
        sequence: 1, 2, 3, ….
        plugin: Name of the plug-in; each has one served model.
        model: Model id.
        release: Release that the model stands on.
        at: ISO 8601, UTC.
        action: ``promote``, ``keep`` (not promoted), ``rollback`` or ``override``.
        reason: Why, for people.
        report: Directory of the report below ``HOME/models/reports``; empty where nothing was compared.
        anchor: Whether later models are compared with this one: it is the best ever served, on every measure.
        before: Model that a roll back from this one goes to; None for the first.
    """

    sequence: int
    plugin: str
    model: str
    release: str
    at: str
    action: str
    reason: str
    report: str = ""
    anchor: bool = False
    before: str | None = None


def served_path(home: Home) -> Path:
    """Return the file of decisions."""
    return models_directory(home) / "served.json"


def read_promotions(home: Home) -> tuple[Promotion, ...]:
    """Return all decisions, oldest first; empty for a home without models.

    Raises:
        ModelError: The file is damaged.
    """
    path = served_path(home)
    try:
        return tuple(Promotion(**row) for row in json.loads(path.read_text()))
    except FileNotFoundError:
        return ()
    except (ValueError, TypeError) as error:
        raise ModelError(f"{path}: not readable ({error}); restore it from a backup") from error


def served_models(home: Home) -> dict[str, Promotion]:
    """Return what is served, by plug-in, in order of name."""
    found = {entry.plugin: entry for entry in read_promotions(home) if entry.action in _SERVING}
    return dict(sorted(found.items()))


def anchor_of(home: Home, plugin: str) -> Promotion | None:
    """Return the best model ever served of a plug-in, which every later one is compared with; None for the first.

    A model that was rolled back from is withdrawn and no anchor any more, nor is one that was put in by hand.
    """
    standing: Promotion | None = None
    withdrawn: set[str] = set()
    entries = [entry for entry in read_promotions(home) if entry.plugin == plugin and entry.action in _SERVING]
    for last, entry in zip([None, *entries], entries, strict=False):
        if entry.action == ROLLBACK and last is not None:
            withdrawn.add(last.model)
        if entry.action == PROMOTE:
            withdrawn.discard(entry.model)
    for entry in entries:
        if entry.anchor and entry.model not in withdrawn:
            standing = entry
    return standing


def releases_in_use(home: Home) -> dict[str, str]:
    """Return the releases that models need, with the reason: served ones, anchors, and what a roll back goes to.

    Retention keeps these: a model answers from the release that it was trained on.
    """
    found: dict[str, str] = {}
    everything = read_promotions(home)
    release_of = {entry.model: entry.release for entry in everything}
    for plugin, entry in served_models(home).items():
        if entry.before is not None:
            found[release_of[entry.before]] = f"model {entry.before} ({plugin}) is what a roll back goes to"
        if (anchor := anchor_of(home, plugin)) is not None:
            found[anchor.release] = f"model {anchor.model} ({plugin}) is what new ones are compared with"
    for plugin, entry in served_models(home).items():
        found[entry.release] = f"model {entry.model} ({plugin}) is served"
    return found


@contextmanager
def deciding(home: Home) -> Iterator[None]:
    """Hold the lock under which decisions are made and written.

    Raises:
        LockHeldError: Another process decides.
    """
    with exclusive(home.locks / "promotion.lock", "a promotion"):
        yield


def append_promotion(
    home: Home,
    *,
    plugin: str,
    model: str,
    release: str,
    action: str,
    reason: str,
    report: str = "",
    anchor: bool = False,
    before: str | None = None,
) -> Promotion:
    """Write one decision, durable before this returns; call it under ``deciding``."""
    entries = read_promotions(home)
    new = Promotion(len(entries) + 1, plugin, model, release, now(), action, reason, report, anchor, before)
    write_durably(served_path(home), json.dumps([asdict(entry) for entry in (*entries, new)], indent=1))
    return new


def put_in_service(
    home: Home, plugin: str, model: str, release: str, *, action: str, reason: str, report: str = "",
    anchor: bool = False,
) -> Promotion:  # fmt: skip
    """Write that a model is served from now on; a roll back from it goes to what is served now."""
    current = served_models(home).get(plugin)
    before = None if current is None else current.before if current.model == model else current.model
    return append_promotion(
        home, plugin=plugin, model=model, release=release, action=action, reason=reason, report=report,
        anchor=anchor, before=before,
    )  # fmt: skip


def roll_back_model(home: Home, plugin: str | None = None, reason: str = "") -> Promotion:
    """Serve again what was served before; asked twice, it goes back twice.

    Args:
        home: Where.
        plugin: Which plug-in's; not needed where one alone is served.
        reason: Why, for the history.

    Raises:
        UsageError: Nothing is served, several are and none was named, or there is no earlier model.
        LockHeldError: Another process decides.
    """
    with deciding(home):
        current = require_served(home, plugin)
        if current.before is None:
            raise UsageError(f"{current.plugin}: no model was served before {current.model}; nothing to roll back to")
        entries = [one for one in read_promotions(home) if one.plugin == current.plugin and one.action in _SERVING]
        earlier = next(one for one in reversed(entries) if one.model == current.before)
        return append_promotion(
            home,
            plugin=current.plugin,
            model=earlier.model,
            release=earlier.release,
            action=ROLLBACK,
            reason=reason or f"rolled back from {current.model}",
            before=earlier.before,
        )


def require_served(home: Home, plugin: str | None = None) -> Promotion:
    """Return what is served of a plug-in.

    Raises:
        UsageError: Nothing is, or several are and none was named.
    """
    served = served_models(home)
    if plugin is None and len(served) == 1:
        return next(iter(served.values()))
    if plugin is not None and plugin in served:
        return served[plugin]
    there = ", ".join(served) or "none; promote one first (aroma promote MODEL --outcomes …)"
    if plugin is None and served:
        raise UsageError(f"models of several plug-ins are served, name one: {there}")
    what = "no model is served" if plugin is None else f"no model of plug-in {plugin!r} is served"
    raise UsageError(f"{what}; there are: {there}")
