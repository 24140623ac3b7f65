"""What a user may set of the plug-in ``aroma`` (``aroma train aroma --param …``), and what follows from it.

Only what needs no torch stands here, so that listing plug-ins stays fast.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from aroma.errors import ModelError, UsageError
from aroma.model.aroma.options import ENCODERS, MODALITIES, TINY, AromaOptions
from aroma.model.plugin import read_card
from aroma.retrieval.vector_store import find_vector_set

if TYPE_CHECKING:
    from aroma.model.ground import Ground

DEFAULTS: Final[dict[str, bool | int | float | str]] = {
    "base": "tiny",
    "start": "",
    "stages": "sft",
    "traces": "auto",
    "direct": True,
    "reasoning": "none",
    "template": "auto",
    "retrieval": True,
    "modalities": "auto",
    "encoders": "",
    "interaction": "attention",
    "hops": 1,
    "neighbours": 32,
    "budget": 0,
    "rows": 0,
    "reserve": 5000,
    "grpo_rows": 0,
    "epochs": 0,
    "grpo_epochs": 0,
    "samples": 16,
    "votes": 8,
    "max_new_tokens": 0,
    "rate": 0.0,
    "grpo_rate": 0.0,
    "rows_per_step": 0,
    "prompts_per_step": 0,
    "tokens_per_batch": 8192,
    "calibrate": True,
    "calibration_rows": 0,
    "lora_rank": 16,
    "train_base": True,
    "dtype": "float32",
    "device": "cpu",
    "batch_tokens": 0,
    "shuffle": False,
    "directory": "",
}
"""Settings and their defaults; 0 and an empty text stand for what fits the base (``SIZES``)."""
STAGES: Final = {"none": (), "sft": ("sft",), "grpo": ("grpo",), "sft+grpo": ("sft", "grpo")}
REASONING: Final = ("none", "greedy", "votes")
AUTO: Final = "auto"
NO_TRACES: Final = "none"
TEMPLATE_TRACES: Final = "template"
RANDOM_WEIGHTS: Final = "random weights: shows that the machinery runs, no result"
_MAKES: Final = {
    "gene-kg": "aroma embed gat --view gene-kg",
    "path-kg": "aroma embed gat --view path-kg",
    "protein": "aroma embed protein",
}


@dataclass(frozen=True, slots=True)
class Sizes:
    """What 0 stands for."""

    budget: int
    rows: int
    grpo_rows: int
    epochs: int
    grpo_epochs: int
    max_new_tokens: int
    rate: float
    grpo_rate: float
    rows_per_step: int
    prompts_per_step: int
    calibration_rows: int


_PAPER: Final = Sizes(2048, 0, 0, 3, 2, 2048, 1e-4, 1e-6, 16, 16, 2000)
"""The paper's, where it says one (tables 14 and 15); no limit of rows."""
_TINY: Final = Sizes(256, 480, 16, 3, 1, 32, 5e-3, 1e-3, 16, 8, 192)
"""A tiny base learns what fits a few seconds: it shows that the machinery runs."""


def sizes_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings with each 0 that stands for something replaced by it."""
    usual = _TINY if is_tiny(settings) else _PAPER
    return {**settings, **{name: settings[name] or getattr(usual, name) for name in Sizes.__slots__}}


def traces_of(settings: Mapping[str, Any]) -> str:
    """Return where the first stage's reasoning comes from; ``auto`` is the template writer, none for a tiny base."""
    said = str(settings["traces"])
    if said != AUTO:
        return said
    return NO_TRACES if is_tiny(settings) else TEMPLATE_TRACES


def template_of(settings: Mapping[str, Any]) -> str:
    """Return the prompt template; ``auto`` is ``aroma``, and ``brief`` for a tiny base, which reads slowly."""
    said = str(settings["template"])
    if said != AUTO:
        return said
    return "brief" if is_tiny(settings) else "aroma"


def is_tiny(settings: Mapping[str, Any]) -> bool:
    """Tell whether the base has random weights made on the spot."""
    return str(settings["base"]) in TINY


def options_of(settings: Mapping[str, Any], ground: Ground, seed: int) -> AromaOptions:
    """Return the options of the model that settings describe.

    Raises:
        UsageError: A value that does not fit.
        ModelError: The home has no vectors that an interaction token could be made of.
    """
    whole = sizes_of(settings)
    encoders = _encoders(str(settings["encoders"]))
    return AromaOptions(
        base=str(settings["base"]),
        modalities=_modalities(str(settings["modalities"]), {**ENCODERS, **encoders}, ground),
        interaction=str(settings["interaction"]),
        interaction_dim=32 if is_tiny(settings) else 256,
        hops=int(settings["hops"]),
        neighbours=int(settings["neighbours"]),
        encoders=encoders,
        template=template_of(settings),
        budget=int(whole["budget"]),
        retrieval=bool(settings["retrieval"]),
        lora_rank=int(settings["lora_rank"]),
        lora_dropout=0.0 if is_tiny(settings) else 0.1,
        dtype=str(settings["dtype"]),
        device=str(settings["device"]),
        seed=seed,
    )


def inherited(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that a model takes over from the one that it goes on from (``start``).

    Raises:
        ModelError: There is no saved model of this plug-in.
    """
    if not settings["start"]:
        return {}
    start = Path(str(settings["start"]))
    card = read_card(start)
    if card.plugin != "aroma":
        raise ModelError(f"{start}: is a model of {card.plugin}; give one of aroma to start from")
    return {name: card.parameters[name] for name in _INHERITED if name in card.parameters}


_INHERITED: Final = (
    "base", "template", "retrieval", "modalities", "encoders", "interaction", "hops", "neighbours", "budget",
    "lora_rank", "dtype",
)  # fmt: skip
"""What is part of a model: of these, what is set otherwise beside ``start`` has no effect."""


def stages_of(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the stages to be trained, in order.

    Raises:
        UsageError: No such stages, or a second stage without a first.
    """
    said = str(settings["stages"])
    if said not in STAGES:
        raise UsageError(f"setting stages is {said!r}; give {', '.join(STAGES)}")
    if said == "grpo" and not settings["start"]:
        raise UsageError("setting stages is grpo, which goes on from a model of the first stage; give start=DIRECTORY")
    return STAGES[said]


def check(settings: Mapping[str, Any]) -> None:
    """Refuse settings that cannot be, before anything is opened.

    Raises:
        UsageError: A value that does not fit.
    """
    stages_of(settings)
    if settings["reasoning"] not in REASONING:
        raise UsageError(f"setting reasoning is {settings['reasoning']!r}; give {', '.join(REASONING)}")
    for name in ("rows", "reserve", "grpo_rows", "epochs", "grpo_epochs", "max_new_tokens", "budget", "batch_tokens",
                 "rows_per_step", "prompts_per_step", "calibration_rows", "rate", "grpo_rate"):  # fmt: skip
        if settings[name] < 0:
            raise UsageError(f"setting {name} is {settings[name]}; give 0 or more")
    for name, least in (("samples", 2), ("votes", 1), ("tokens_per_batch", 1)):
        if settings[name] < least:
            raise UsageError(f"setting {name} is {settings[name]}; give {least} or more")
    if settings["start"] and not Path(str(settings["start"])).is_dir():
        raise UsageError(f"setting start: there is no directory {settings['start']}; give a saved model")


def _encoders(said: str) -> dict[str, str]:
    found = {}
    for part in filter(None, (one.strip() for one in said.split(","))):
        modality, equals, name = part.partition("=")
        if not equals:
            raise UsageError(f"setting encoders has {part!r}; write MODALITY=VECTOR SET, apart by commas")
        found[modality.strip()] = name.strip()
    return found


def _modalities(said: str, encoders: Mapping[str, str], ground: Ground) -> tuple[str, ...]:
    """Return the modalities that are named; ``auto`` is those whose vectors the home holds."""
    if said == "none":
        return ()
    if said != AUTO:
        return tuple(one.strip() for one in said.split(",") if one.strip())
    found = []
    for name in MODALITIES:
        try:
            find_vector_set(ground.home, ground.release, encoders[name])
        except UsageError:
            continue
        found.append(name)
    if not found:
        raise ModelError(
            f"{ground.home.path} has no vectors of release {ground.release} for interaction tokens; make some: "
            f"{'; '.join(_MAKES[name] for name in MODALITIES[::-1])}; or train on text alone with modalities=none"
        )
    return tuple(found)
