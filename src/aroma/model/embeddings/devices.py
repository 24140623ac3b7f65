"""The device that an encoder was asked to run on, memory that ends, and quiet loading of weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aroma.errors import ModelError

if TYPE_CHECKING:
    import torch

_CPU_SAYS: Final = ("can't allocate memory", "not enough memory", "could not create a memory")
"""What PyTorch's CPU allocator and oneDNN say in a plain RuntimeError."""


def open_device(name: str) -> torch.device:
    """Return a device that is there.

    Raises:
        ModelError: The name is no device's, there is no such GPU, or this PyTorch cannot use it.
    """
    import torch

    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ModelError(f"device {name!r} is not understood; give cpu, cuda or cuda:<number>") from error
    if device.type == "cpu":
        return device
    if device.type != "cuda":
        raise ModelError(f"device {name!r} is not used here; give cpu, cuda or cuda:<number>")
    if not torch.cuda.is_available():
        why = "this PyTorch is built without CUDA" if torch.version.cuda is None else "no GPU or driver was found"
        raise ModelError(
            f"device {name!r} was asked for and {why} (look at nvidia-smi and CUDA_VISIBLE_DEVICES); "
            "go on without one by asking for cpu"
        )
    if device.index is not None and device.index >= torch.cuda.device_count():
        raise ModelError(
            f"device {name!r} was asked for and there are {torch.cuda.device_count()} GPUs, counted from cuda:0"
        )
    return device


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error of PyTorch says that memory ended."""
    import torch

    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(said in str(error) for said in _CPU_SAYS)


def free_memory(device: torch.device) -> None:
    """Give back what PyTorch keeps of a GPU's memory, so that a smaller batch finds room in one piece."""
    import torch

    if device.type == "cuda":
        torch.cuda.empty_cache()


def quiet_loading() -> None:
    """Stop transformers from drawing a progress bar over a command's own."""
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
