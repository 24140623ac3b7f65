"""Which plug-ins a refresh retrains: those that depend on what changed since their served model was trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl

from aroma.kgstore.home import Home
from aroma.kgstore.outcomes import list_outcomes, load_outcomes
from aroma.kgstore.releases import known_releases
from aroma.kgstore.tables import read_table
from aroma.model.plugin import Card, Plugin
from aroma.model.registry import plugin
from aroma.model.serving.held_out import default_split
from aroma.model.serving.history import served_models
from aroma.model.serving.store import StoredModel, find_model


@dataclass(frozen=True, slots=True)
class Retraining:
    """A plug-in of a refresh.

    Attributes:
        plugin: Its name.
        reason: Why it is retrained, or why not.
        inputs: Of the training; None where it is not retrained.
    """

    plugin: str
    reason: str
    inputs: dict[str, Any] | None = None


def plan_retraining(home: Home, release: str, plugins: tuple[str, ...] | None, split: str | None) -> list[Retraining]:
    """Return what a new release means for each plug-in.

    Args:
        home: Where.
        release: The release to train on.
        plugins: Names; None for those that are served.
        split: Split to withhold; None for that of the served model, else the official one, else ``dev``.
    """
    served = served_models(home)
    names = tuple(served) if plugins is None else plugins
    versions = list_outcomes(home)
    if not versions:
        return [Retraining(name, "no outcomes are stored, so there is nothing to train on") for name in names]
    latest = versions[-1].sha256
    usual = split or default_split(load_outcomes(home, latest))
    found = []
    for name in names:
        model = find_model(home, served[name].model) if name in served else None
        why = _why(home, name, model, release, latest)
        if why is None:
            found.append(Retraining(name, "nothing that it reads has changed since it was trained"))
            continue
        inputs = {
            "plugin": name,
            "version": plugin(name).version,
            "release": release,
            "outcomes": latest,
            "split": usual,
            "seed": model.card.seed if model else 0,
            "parameters": _settings(name, model),
        }
        found.append(Retraining(name, why, inputs))
    return found


def _why(home: Home, name: str, model: StoredModel | None, release: str, outcomes: str) -> str | None:
    """Return why a plug-in is to be retrained; None where nothing that it reads has changed."""
    if model is None:
        return "no model of it is served"
    cls, card = plugin(name), model.card
    if card.version != cls.version:
        return f"version {cls.version} took the place of {card.version}"
    if model.origin.outcomes_sha256 != outcomes:
        return "the stored outcomes are others"
    return None if card.release == release else _why_release(home, cls, card, release)


def _why_release(home: Home, cls: type[Plugin], card: Card, new: str) -> str | None:
    """Return what of a new release a plug-in reads and the old one had otherwise; None for nothing."""
    old = card.release
    if old not in known_releases(home):
        return f"its release {old} is gone"
    if cls.embeddings:
        return "its embeddings are of another release"
    if _names(home, old) != _names(home, new):
        return "gene names are others"
    before, after = _edges(home, old), _edges(home, new)
    read = sorted({*cls.providers, *card.licences})
    changed = [one for one in read if before.get(one) != after.get(one)]
    return f"edges of {', '.join(changed)} are others" if changed else None


def _edges(home: Home, release: str) -> dict[str, tuple[int, int]]:
    """Return number and sum of hashes of each provider's edges, by what they say."""
    edges = read_table(home.release(release), "edges", ["provider", "subject", "relation", "object", "content"])
    said = edges.with_columns(hash=pl.struct("subject", "relation", "object", "content").hash(seed=0))
    rows = said.group_by("provider").agg(pl.len(), pl.col("hash").sum().alias("sum"))
    return {provider: (rows, total) for provider, rows, total in rows.iter_rows()}


def _names(home: Home, release: str) -> tuple[int, int]:
    names = read_table(home.release(release), "gene_names", ["name", "tier", "gene"])
    return names.height, int(names.hash_rows(0).sum() or 0)


def _settings(name: str, model: StoredModel | None) -> dict[str, Any]:
    """Return the settings that the served model was trained with."""
    if model is None:
        return {}
    return {key: value for key, value in model.card.parameters.items() if key in plugin(name).defaults}
