"""The models that a running server answers with: opened once, and exchanged when another one is promoted."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import polars as pl

from aroma.errors import AromaError, ModelError, UsageError
from aroma.kgstore.home import Home
from aroma.kgstore.publications import require_published
from aroma.model.ground import Ground
from aroma.model.identity import inputs_hash, prediction_id
from aroma.model.plugin import Plugin, Reason, read_card
from aroma.model.predicting import open_model, predict_rows, reasons_of
from aroma.model.serving.answer_model import MovedBy, PredictedPair, PredictionBatch, ServedModel, ServedModelList
from aroma.model.serving.history import Promotion, served_models, served_path
from aroma.model.serving.store import models_directory

MOST_EXPLAINED: Final = 50
"""Pairs of one request that are explained."""
_LOOK_SECONDS: Final = 0.25
_log = logging.getLogger("aroma.served")
Asked = tuple[str, str, str]
"""Perturbation, target, cell line."""


@dataclass(frozen=True)
class OpenedModel:
    """A model that answers."""

    entry: Promotion
    plugin: Plugin


class ServedModels:
    """What is promoted, opened; a newer decision is noticed within a quarter of a second, without a restart.

    The old model answers until the new one is open. One that cannot be opened is said (``problems``), and the old one
    goes on. Nothing is opened before it is asked for.

    Args:
        home: Where models and releases are.
    """

    def __init__(self, home: Home) -> None:
        self.home = home
        self.problems: dict[str, str] = {}
        self._opened: dict[str, OpenedModel] = {}
        self._wanted: dict[str, Promotion] = {}
        self._opening: set[str] = set()
        self._mark: tuple[int, int, int] | None = None
        self._looked = 0.0
        self._lock, self._making = threading.Lock(), threading.Lock()

    def find(self, plugin: str | None = None) -> OpenedModel:
        """Return the model that answers now; opened first where none of its plug-in is.

        Args:
            plugin: Name of the plug-in; not needed where one alone is served.

        Raises:
            UsageError: None is served, or several are and none was named.
            ModelError: It cannot be opened.
        """
        entry = self._entry(plugin)
        opened = self._opened.get(entry.plugin)
        if opened is None:
            return self._open(entry)
        if opened.entry.model != entry.model:
            self._exchange(entry)
        return opened

    def is_ready(self, plugin: str | None = None) -> bool:
        """Tell whether ``find`` answers at once."""
        return self._entry(plugin).plugin in self._opened

    def listed(self) -> ServedModelList:
        """Return what is in service, as cards say it.

        Raises:
            ModelError: A card or the list of decisions is damaged.
        """
        self._look()
        published = require_published(self.home).release
        items = [self._listed(entry, published) for entry in self._wanted.values()]
        return ServedModelList(release=published, items=items)

    def _listed(self, entry: Promotion, published: str) -> ServedModel:
        card = read_card(models_directory(self.home) / entry.model)
        opened = self._opened.get(entry.plugin)
        if opened is not None and opened.entry.model != entry.model:
            self._exchange(entry)
        return ServedModel(
            plugin=entry.plugin,
            version=card.version,
            model=entry.model,
            release=entry.release,
            is_published_release=entry.release == published,
            since=entry.at,
            action=entry.action,
            reason=entry.reason,
            split=card.split,
            training_rows=card.training_rows,
            cell_lines=list(card.cell_lines),
            licence=card.licence,
            licences=dict(card.licences),
            answers_now=opened.entry.model if opened else None,
            problem=self.problems.get(entry.plugin),
        )

    def _entry(self, plugin: str | None) -> Promotion:
        self._look()
        served = self._wanted
        if plugin is None and len(served) == 1:
            return next(iter(served.values()))
        if plugin is not None and plugin in served:
            return served[plugin]
        there = ", ".join(served) or "none (aroma promote puts one in service)"
        what = "name a plug-in" if plugin is None else f"no model of plug-in {plugin!r} is served"
        raise UsageError(f"{what}; served are: {there}")

    def _look(self) -> None:
        """Read the decisions again where their file is another; a file that cannot be read leaves what is known."""
        present = time.monotonic()
        with self._lock:
            if self._mark is not None and present - self._looked < _LOOK_SECONDS:
                return
            self._looked = present
            stamp = self._stamp()
            if stamp == self._mark:
                return
            try:
                self._wanted, self._mark = served_models(self.home), stamp
            except (ModelError, OSError) as error:
                if self._mark is None:
                    raise
                _log.error("promotions cannot be read", extra={"fields": {"error": str(error)}})

    def _stamp(self) -> tuple[int, int, int]:
        try:
            state = served_path(self.home).stat()
        except OSError:
            return (0, 0, 0)
        return (state.st_mtime_ns, state.st_ino, state.st_size)

    def _exchange(self, entry: Promotion) -> None:
        """Open a newer model beside the old one, once."""
        with self._lock:
            if entry.plugin in self._opening or self.problems.get(entry.plugin, "").startswith(entry.model):
                return
            self._opening.add(entry.plugin)
        threading.Thread(target=self._open_beside, args=(entry,), name="aroma-model", daemon=True).start()

    def _open_beside(self, entry: Promotion) -> None:
        try:
            self._open(entry)
        except (AromaError, OSError) as error:
            self.problems[entry.plugin] = f"{entry.model} cannot be opened: {error}"
            _log.error("model cannot be opened", extra={"fields": {"model": entry.model, "error": str(error)}})
        finally:
            with self._lock:
                self._opening.discard(entry.plugin)

    def _open(self, entry: Promotion) -> OpenedModel:
        with self._making:
            there = self._opened.get(entry.plugin)
            if there is not None and there.entry.model == entry.model:
                return there
            started = time.perf_counter()
            ground = next(
                (one.plugin.ground for one in self._opened.values() if one.entry.release == entry.release), None
            )
            model = open_model(
                self.home, models_directory(self.home) / entry.model, ground=ground or Ground(self.home, entry.release)
            )
            made = OpenedModel(entry, model)
            self._opened[entry.plugin] = made
            self.problems.pop(entry.plugin, None)
            seconds = round(time.perf_counter() - started, 2)
            _log.info("opened model", extra={"fields": {"model": entry.model, "seconds": seconds}})
            return made


def answer_pairs(home: Home, opened: OpenedModel, pairs: Sequence[Asked], *, explain: bool = False) -> PredictionBatch:
    """Return one model's answers to pairs, in their order; unknown genes are answered and flagged.

    Args:
        home: Names the published release beside the model's own.
        opened: The model; the same for every pair.
        pairs: See ``Asked``.
        explain: Whether to say what moved each answer.

    Raises:
        UsageError: More than ``MOST_EXPLAINED`` pairs to be explained.
    """
    if explain and len(pairs) > MOST_EXPLAINED:
        raise UsageError(f"{len(pairs):,} pairs to explain; at most {MOST_EXPLAINED} in one request, or leave it out")
    columns = ("perturbation", "target", "cell_line")
    asked = pl.DataFrame(list(pairs), schema=dict.fromkeys(columns, pl.String), orient="row")
    model, entry = opened.plugin, opened.entry
    found = predict_rows(model, asked)
    return PredictionBatch(
        prediction=prediction_id(entry.model, inputs_hash(asked)),
        model=entry.model,
        plugin=entry.plugin,
        version=model.card.version,
        release=entry.release,
        published_release=require_published(home).release,
        items=[_pair(model, row, explain=explain) for row in found.iter_rows(named=True)],
    )


def _pair(model: Plugin, row: dict[str, Any], *, explain: bool) -> PredictedPair:
    line, perturbation, target = (str(row[name] or "") for name in ("cell_line", "perturbation", "target"))
    parts, reasons = reasons_of(model, cell_line=line, perturbation=perturbation, target=target, explain=explain)
    return PredictedPair(
        cell_line=line,
        perturbation=perturbation,
        target=target,
        perturbation_genes=parts["perturbation_gene"].to_list(),
        target_gene=parts["target_gene"][0],
        p_down=row["p_down"],
        p_not_significant=row["p_not_significant"],
        p_up=row["p_up"],
        label=int(row["label"]),
        flags=list(row["flags"]),
        reasons=[_moved(reason) for reason in reasons],
    )


def _moved(reason: Reason) -> MovedBy:
    return MovedBy(
        kind=reason.kind,
        text=reason.text,
        share=float(reason.share),
        towards=reason.towards,
        sources=list(reason.sources),
    )
