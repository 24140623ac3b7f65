"""One process, or several that ``accelerate launch`` started, each with its share of a step's rows.

Without FSDP every process holds the whole model, and the gradients of what is trained (adapter and modules: little) are
added up once a step, so processes may have different numbers of batches. With FSDP the model is cut up by
``accelerate``; every process then does as many batches as the one with most (``batches.most_batches``).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Final

import torch
from torch import Tensor, nn

from aroma.errors import ModelError

_WORLD: Final = "WORLD_SIZE"


class Processes:
    """The processes of a training.

    Attributes:
        rank: Number of this one.
        size: How many there are.
        is_sharded: Whether the model is cut up among them (FSDP).
    """

    def __init__(self, accelerator: Any = None) -> None:
        self._accelerator = accelerator
        self.rank: int = accelerator.process_index if accelerator else 0
        self.size: int = accelerator.num_processes if accelerator else 1
        self.is_sharded = accelerator is not None and str(accelerator.distributed_type).endswith("FSDP")

    @property
    def is_first(self) -> bool:
        """Whether this process writes files."""
        return self.rank == 0

    @property
    def device(self) -> torch.device | None:
        """Device of this process; None where there is one process, whose model says."""
        return self._accelerator.device if self._accelerator else None

    def prepare(self, model: nn.Module, optimiser: torch.optim.Optimizer) -> tuple[Any, Any]:
        """Return what is to be called and stepped: cut up with FSDP, else as they are."""
        if not self.is_sharded:
            return model, optimiser
        prepared = self._accelerator.prepare(model, optimiser)
        return prepared[0], prepared[1]

    def add_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Add up gradients over the processes; one that has none counts as zero. FSDP has done it already."""
        if self.size == 1 or self.is_sharded:
            return
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            parameter.grad = self._accelerator.reduce(parameter.grad, reduction="sum")

    def add(self, numbers: Mapping[str, float]) -> dict[str, float]:
        """Return numbers added up over the processes, in float64."""
        if self.size == 1:
            return dict(numbers)
        names = sorted(numbers)
        held = torch.tensor([numbers[name] for name in names], dtype=torch.float64, device=self._accelerator.device)
        return dict(zip(names, self._accelerator.reduce(held, reduction="sum").tolist(), strict=True))

    def wait(self) -> None:
        """Wait until every process is here."""
        if self._accelerator is not None:
            self._accelerator.wait_for_everyone()


@lru_cache(maxsize=1)
def processes() -> Processes:
    """Return the processes of this training: one, unless ``accelerate launch`` or ``torchrun`` started several.

    Raises:
        ModelError: ``accelerate`` is not installed.
    """
    if int(os.environ.get(_WORLD, "1")) <= 1:
        return Processes()
    try:
        from accelerate import Accelerator  # type: ignore[import-untyped]
    except ModuleNotFoundError as error:
        raise ModelError(
            "training in several processes needs accelerate; pip install 'aroma-evidence[language-model]'"
        ) from error
    return Processes(Accelerator())


def whole(tensor: Tensor) -> Tensor:
    """Return a tensor that FSDP cut up, put together; every process must ask."""
    full = getattr(tensor, "full_tensor", None)
    found: Tensor = full() if full is not None else tensor
    return found


def put(target: Tensor, value: Tensor) -> None:
    """Copy a whole tensor into one that may be cut up."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    with torch.no_grad():
        if isinstance(target, DTensor):
            target.copy_(distribute_tensor(value.to(target.device), target.device_mesh, target.placements))
        else:
            target.copy_(value)
