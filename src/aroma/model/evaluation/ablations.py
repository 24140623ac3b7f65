"""Tables 3, 5 and 11 of the AROMA paper: a language model with one thing changed, on the same rows and baselines.

Each row is a plug-in fitted with other settings (``aroma.model.aroma.settings``), so a table is one command. Rows whose
base has random weights say so in their name and in the notes: they show that the machinery runs, and are no result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from aroma.errors import UsageError
from aroma.model.aroma.settings import RANDOM_WEIGHTS, is_tiny
from aroma.model.evaluation.run import Request
from aroma.model.evaluation.trials import Question, Say, Trial, run_plugin
from aroma.model.ground import Ground
from aroma.model.plugin_settings import read_settings
from aroma.model.registry import available, plugin

LANGUAGE_MODEL: Final = "aroma"
_RANDOM: Final = "random weights"


@dataclass(frozen=True, slots=True)
class Variant:
    """One row of an ablation: what it is called and which settings it changes."""

    name: str
    settings: dict[str, Any]


def variants(number: int, settings: dict[str, Any]) -> list[Variant]:
    """Return the rows of a table, from the settings of the whole model.

    Args:
        number: 3 (parts of the model), 5 (number of roll-outs) or 11 (backbones).
        settings: All settings of the plug-in, as asked.

    Raises:
        UsageError: Table 11 without bases to compare, or a modality that is to be left out is all there is.
    """
    return {3: _parts, 5: _rollouts, 11: _backbones}[number](settings)


def run_variants(ground: Ground, question: Question, request: Request, number: int, say: Say) -> list[Trial]:
    """Fit and ask every row of a table, in its order.

    Raises:
        UsageError: The plug-in is not installed, or a setting does not fit.
    """
    if LANGUAGE_MODEL not in available():
        raise UsageError(f"table {number} needs the plug-in {LANGUAGE_MODEL}; install this package's entry points")
    given = dict(request.parameters.get(LANGUAGE_MODEL, {}))
    several = str(given.get("base", "")) if number == _BACKBONES else ""
    if several:
        given["base"] = several.split(",")[0].strip()
    settings = read_settings(plugin(LANGUAGE_MODEL), given)
    if several:
        settings["base"] = several
    return [
        run_plugin(
            ground, question, LANGUAGE_MODEL, seed=request.seed, parameters=one.settings,
            label=label_of(one.name, one.settings), say=say,
        )
        for one in variants(number, settings)
    ]  # fmt: skip


def label_of(name: str, settings: dict[str, Any]) -> str:
    """Return what tables call a row; random weights are said in its name."""
    return f"{name} ({_RANDOM})" if is_tiny(settings) else name


def notes_on(settings: dict[str, Any]) -> list[str]:
    """Return what has to be said of a table with such a model."""
    return [f"{LANGUAGE_MODEL}: {RANDOM_WEIGHTS}"] if is_tiny(settings) else []


_BACKBONES: Final = 11
_ROLLOUTS: Final = (4, 8, 16)


def _parts(settings: dict[str, Any]) -> list[Variant]:
    modalities = _named(settings["modalities"])
    graphs = [name for name in modalities if name not in ("path-kg", "gene-kg")]
    proteins = [name for name in modalities if name != "protein"]
    both = {**settings, "stages": "sft+grpo"}
    return [
        Variant("AROMA", both),
        Variant("without retrieval", {**both, "retrieval": False}),
        Variant("without graph embeddings", {**both, "modalities": ",".join(graphs) or "none"}),
        Variant("without protein embeddings", {**both, "modalities": ",".join(proteins) or "none"}),
        Variant("stage 1 only", {**settings, "stages": "sft"}),
        Variant("base model, untrained", {**settings, "stages": "none"}),
    ]


def _rollouts(settings: dict[str, Any]) -> list[Variant]:
    return [Variant(f"{count} roll-outs", {**settings, "stages": "sft+grpo", "samples": count}) for count in _ROLLOUTS]


def _backbones(settings: dict[str, Any]) -> list[Variant]:
    bases = [one.strip() for one in str(settings["base"]).split(",") if one.strip()]
    if len(bases) < 2:  # noqa: PLR2004 - a comparison needs two
        raise UsageError(
            f"table {_BACKBONES} compares backbones; give several: --param {LANGUAGE_MODEL}.base=DIRECTORY,DIRECTORY "
            "(or tiny,tiny-llama)"
        )
    return [Variant(base.rstrip("/").rsplit("/", 1)[-1], {**settings, "base": base}) for base in bases]


def _named(said: str) -> Sequence[str]:
    names = [one.strip() for one in str(said).split(",") if one.strip()]
    if names == ["auto"]:
        raise UsageError(
            f"table 3 leaves out modalities by name; say which there are: --param {LANGUAGE_MODEL}.modalities="
            "protein,path-kg,gene-kg (those whose vectors this home has: aroma embed list)"
        )
    return names
