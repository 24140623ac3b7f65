"""What may be chosen about an AROMA, checked when it is made; kept as JSON beside the saved model.

Only the standard library and the prompts are imported here, so that a command can read and check options without torch.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, Final, Self

from aroma.errors import UsageError
from aroma.retrieval.prompts import PLACEHOLDERS

MODALITIES: Final = ("protein", "path-kg", "gene-kg")
"""The modalities in the order of ``aroma.retrieval.prompts.PLACEHOLDERS``."""
PLACEHOLDER_OF: Final[Mapping[str, str]] = MappingProxyType(dict(zip(MODALITIES, PLACEHOLDERS, strict=True)))
INTERACTIONS: Final = ("attention", "gated", "paper")
DTYPES: Final = ("float32", "bfloat16")
TINY: Final = ("tiny", "tiny-llama")
"""Bases that are made on the spot with random weights, for tests and demonstrations; they know nothing."""
ENCODERS: Final[Mapping[str, str]] = MappingProxyType(
    {"protein": "esm2_t33_650M_UR50D", "path-kg": "gat:path-kg", "gene-kg": "gat:gene-kg"}
)
MOST_NEIGHBOURS: Final = 4096
_WHOLE: Final = {
    "hops": (0, 3),
    "neighbours": (1, MOST_NEIGHBOURS),
    "budget": (64, 1_000_000),
    "lora_rank": (0, 1024),
    "lora_alpha": (1, 4096),
    "interaction_dim": (8, 4096),
    "heads": (1, 64),
    "seed": (0, 2**31 - 1),
}


@dataclass(frozen=True, slots=True)
class AromaOptions:
    """What is chosen about one AROMA; the defaults are the paper's where it says one.

    Attributes:
        base: Directory of a language model (``config.json``, safetensors, tokenizer), or one of ``TINY``.
        modalities: Which interaction tokens there are, some of ``MODALITIES``; none: text alone.
        interaction: ``attention`` over both genes' items, ``gated`` (a bilinear form of the two means), or ``paper``
            (attention over a single key, as published; kept for comparison).
        interaction_dim: Width of the interaction modules.
        heads: Attention heads in them.
        hops: How far around a gene the graph modalities look, 0 to 3.
        neighbours: Most nodes a gene, itself among them; the nearest stay. Also most residue windows a gene.
        encoders: By modality: name or id of the vector set (``aroma embed list``); modalities not named keep theirs.
        template: Prompt template: a bundled name, or a file.
        budget: Most tokens of a prompt; evidence is dropped by importance until it fits.
        retrieval: False: the prompt holds the query alone (the ablation "without retrieval").
        chat: Wrap the prompt in the tokenizer's chat template where it has one.
        lora_rank: Rank of the adapter on all linear layers; 0: no adapter, the base stays as it is.
        lora_alpha: Scale of the adapter.
        lora_dropout: Dropout of the adapter, 0 to below 1.
        dtype: Of the base's weights: ``float32`` or ``bfloat16``; the interaction modules are float32.
        device: ``cpu``, ``cuda``, ``cuda:1``.
        seed: Of the random start of interaction modules, adapter and tiny bases.

    Raises:
        UsageError: A value that does not fit; the message names it and the nearest right one.
    """

    base: str = "tiny"
    modalities: tuple[str, ...] = MODALITIES
    interaction: str = "attention"
    interaction_dim: int = 256
    heads: int = 4
    hops: int = 1
    neighbours: int = 32
    encoders: Mapping[str, str] = field(default_factory=dict)
    template: str = "aroma"
    budget: int = 2048
    retrieval: bool = True
    chat: bool = True
    lora_rank: int = 16
    lora_alpha: int = 32
    lora_dropout: float = 0.1
    dtype: str = "float32"
    device: str = "cpu"
    seed: int = 0

    def __post_init__(self) -> None:
        """Check every value, and complete ``encoders``."""
        if not isinstance(self.base, str) or not self.base:
            raise UsageError(f"base is {self.base!r}; give a model's directory, {' or '.join(TINY)}")
        object.__setattr__(self, "modalities", _modalities(self.modalities))
        object.__setattr__(self, "encoders", _encoders(self.encoders))
        _one_of("interaction", self.interaction, INTERACTIONS)
        _one_of("dtype", self.dtype, DTYPES)
        for name, (least, most) in _WHOLE.items():
            _whole(name, getattr(self, name), least, most)
        for name in ("retrieval", "chat"):
            if not isinstance(getattr(self, name), bool):
                raise UsageError(f"{name} is {getattr(self, name)!r}; give true or false")
        _share("lora_dropout", self.lora_dropout)
        if self.interaction_dim % self.heads:
            near = max(self.heads, round(self.interaction_dim / self.heads) * self.heads)
            raise UsageError(
                f"interaction_dim is {self.interaction_dim}, which {self.heads} heads do not divide; the nearest that "
                f"fits is {near}"
            )
        for name in ("template", "device"):
            if not isinstance(getattr(self, name), str) or not getattr(self, name):
                raise UsageError(f"{name} is {getattr(self, name)!r}; give a name")

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """Return options from JSON values; what is not given keeps its default.

        Raises:
            UsageError: An option that there is not, or a value that does not fit; each with the nearest right one.
        """
        known = [one.name for one in fields(cls)]
        for name in given:
            if name not in known:
                raise UsageError(f"AROMA has no option {name!r}; {_nearest(name, known)}")
        return cls(**given)

    def as_json(self) -> dict[str, Any]:
        """Return the options as JSON values, in the order of the attributes."""
        said = {one.name: getattr(self, one.name) for one in fields(self)}
        return {**said, "modalities": list(self.modalities), "encoders": dict(self.encoders)}

    @property
    def placeholders(self) -> tuple[str, ...]:
        """Placeholder tokens that a prompt has, in the order of ``modalities``."""
        return tuple(PLACEHOLDER_OF[name] for name in self.modalities)


def _modalities(given: Iterable[str]) -> tuple[str, ...]:
    names = [given] if isinstance(given, str) else list(given)
    for name in names:
        _one_of("modalities", name, MODALITIES)
    if len(set(names)) != len(names):
        raise UsageError(f"modalities is {', '.join(names)}; name each once")
    return tuple(name for name in MODALITIES if name in names)


def _encoders(given: Mapping[str, str]) -> Mapping[str, str]:
    for modality, name in given.items():
        _one_of("encoders", modality, MODALITIES)
        if not isinstance(name, str) or not name:
            raise UsageError(f"encoders: {modality} is {name!r}; give the name of a vector set (aroma embed list)")
    return dict(sorted({**ENCODERS, **given}.items()))


def _nearest(name: object, known: Iterable[str]) -> str:
    names = list(known)
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(names)}"


def _one_of(option: str, value: object, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UsageError(f"{option} has no {value!r}; {_nearest(value, known)}")


def _whole(option: str, value: object, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        number = _number(value)
        near = "" if number is None else f"; the nearest is {min(max(round(number), least), most)}"
        raise UsageError(f"{option} is {value!r}; give a whole number from {least} to {most}{near}")
    if not least <= value <= most:
        raise UsageError(f"{option} is {value}; it is {least} to {most}, the nearest is {min(max(value, least), most)}")


def _share(option: str, value: object) -> None:
    number = _number(value)
    if number is None or not 0 <= number < 1:
        near = "" if number is None else f"; the nearest is {0 if number < 0 else 0.99}"
        raise UsageError(f"{option} is {value!r}; give a number from 0 to below 1{near}")


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)
