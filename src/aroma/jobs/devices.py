"""Devices that runs are computed on, and the queue of each."""

from __future__ import annotations

import re
from typing import Final

from aroma.errors import ModelError, UsageError

QUEUES: Final = ("cpu", "gpu")
_DEVICE: Final = re.compile(r"cpu|cuda(?::(?P<number>\d+))?")


def queue_of(device: str) -> str:
    """Return the queue whose workers have such a device.

    Raises:
        UsageError: No device is called so.
    """
    if _DEVICE.fullmatch(device) is None:
        raise UsageError(f"no device is called {device!r}; it is cpu, cuda, or cuda:1 for the second GPU")
    return "cpu" if device == "cpu" else "gpu"


def check_device(device: str) -> None:
    """Make sure that this process can compute on a device.

    Raises:
        UsageError: No device is called so.
        ModelError: It is not here, or PyTorch is not installed.
    """
    if queue_of(device) == "cpu":
        return
    try:
        from aroma.model.embeddings.devices import open_device

        open_device(device)
    except ImportError as error:
        raise ModelError(
            f"device {device}: PyTorch is not installed; pip install 'aroma-evidence[embeddings]'"
        ) from error


def check_queues(queues: str) -> tuple[str, ...]:
    """Return the queues of a list such as ``cpu,gpu``.

    Raises:
        UsageError: One is not known, or none is named.
    """
    named = tuple(dict.fromkeys(name.strip() for name in queues.split(",") if name.strip()))
    unknown = [name for name in named if name not in QUEUES]
    if unknown or not named:
        raise UsageError(f"no queue is called {(unknown or [''])[0]!r}; there are: {', '.join(QUEUES)}")
    return named
