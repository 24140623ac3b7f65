"""Checkpoints of a training: safetensors with a JSON header, replaced in one rename, never unpickled.

``last.safetensors`` holds the trained weights, the optimiser's state and, as JSON in the file's own header, where the
training stands; ``best.safetensors`` the weights of the best step. Both are written whole beside their place and
renamed, so a kill at any moment leaves one whole file of each. The random state is no part of them: every draw comes
from the seed and the number of the step (``steps.seed_of``).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from aroma.errors import ModelError

LAST: Final = "last.safetensors"
BEST: Final = "best.safetensors"
REFERENCE: Final = "reference.safetensors"
_LAYOUT: Final = 1
_DESCRIPTION: Final = "training"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A training at the end of a step.

    Attributes:
        facts: JSON values: options, step, history of losses, best step.
        weights: Trained tensors by name.
        optimiser: The optimiser's tensors by parameter and kind (``<parameter>|exp_avg``).
    """

    facts: Mapping[str, Any]
    weights: Mapping[str, Tensor]
    optimiser: Mapping[str, Tensor] = field(default_factory=dict)


def write_checkpoint(place: Path, found: Checkpoint) -> None:
    """Write a checkpoint; it is on the disk when this returns.

    Raises:
        ModelError: The disk is full or the place cannot be written.
    """
    arrays = {f"weights:{name}": _plain(tensor) for name, tensor in found.weights.items()}
    arrays |= {f"optimiser:{name}": _plain(tensor) for name, tensor in found.optimiser.items()}
    said = json.dumps({"layout": _LAYOUT, **found.facts})
    partial = place.with_name(f".{place.name}.{os.getpid()}")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        save_file(arrays, partial, {_DESCRIPTION: said})
        with partial.open("rb") as stream:
            os.fsync(stream.fileno())
        partial.replace(place)
    except OSError as error:
        raise ModelError(f"{place}: cannot be written ({error.strerror or error}); free some space") from error
    finally:
        partial.unlink(missing_ok=True)


def read_checkpoint(place: Path) -> Checkpoint | None:
    """Return a checkpoint, or None where there is none.

    Raises:
        ModelError: The file is no checkpoint, damaged, or of another layout.
    """
    if not place.exists():
        return None
    try:
        with safe_open(place, framework="pt") as opened:
            facts = json.loads(opened.metadata()[_DESCRIPTION])
            arrays = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - not a mapping
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{place}: is no checkpoint ({error}); remove it to begin anew") from error
    if facts.get("layout") != _LAYOUT:
        raise ModelError(f"{place}: has layout {facts.get('layout')}, not {_LAYOUT}; remove it to begin anew")
    return Checkpoint(facts, _under(arrays, "weights:"), _under(arrays, "optimiser:"))


def read_facts(place: Path) -> dict[str, Any] | None:
    """Return what a checkpoint says of itself without reading its tensors; None where there is no whole one."""
    try:
        with safe_open(place, framework="pt") as opened:
            found: dict[str, Any] = json.loads(opened.metadata()[_DESCRIPTION])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None
    return found


def refuse_other(place: Path, before: Mapping[str, Any], now: Mapping[str, Any], may_change: tuple[str, ...]) -> None:
    """Refuse to go on with a training that was begun with other settings.

    Raises:
        ModelError: The message names the setting.
    """
    names = sorted((set(before) | set(now)) - set(may_change))
    changed = next((name for name in names if before.get(name) != now.get(name)), None)
    if changed is not None:
        raise ModelError(
            f"{place}: was made with {changed}={before.get(changed)!r}, and now it is {now.get(changed)!r}; "
            "remove the directory to begin anew, or give the same"
        )


def _plain(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True).contiguous() if isinstance(tensor, Tensor) else torch.tensor(tensor)


def _under(arrays: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in arrays.items() if name.startswith(prefix)}
