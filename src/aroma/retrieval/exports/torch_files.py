"""Tensors to files that ``torch.load(weights_only=True)`` reads: plain containers of tensors, numbers and texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy.typing as npt

from aroma.errors import UsageError


def tensor(array: npt.NDArray[Any]) -> Any:
    """Return a tensor over the same numbers.

    Raises:
        UsageError: PyTorch is not installed.
    """
    return _torch().from_numpy(array)


def save_tensors(content: Any, path: Path) -> None:
    """Write nested dictionaries, lists and tuples of tensors, numbers and texts.

    Raises:
        UsageError: PyTorch is not installed.
    """
    _torch().save(content, path)


def _torch() -> Any:
    try:
        import torch
    except ImportError as error:
        raise UsageError(
            "PyTorch is not installed; install it with: pip install 'aroma-evidence[embeddings]'"
        ) from error
    return torch
