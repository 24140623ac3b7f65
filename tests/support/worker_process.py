"""Real worker processes (``aroma worker``) for tests."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

_CODE = "import sys; from aroma.cli import main; main(sys.argv[1:])"
QUIET = {"OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1", "AROMA_BROKER": "", "AROMA_LEDGER": ""}
"""Several workers on a small machine: one thread each; the settings of who runs the tests do not count."""


def environment(broker: str | None = None) -> dict[str, str]:
    """Return the environment of a command or worker."""
    return {**os.environ, **QUIET, **({"AROMA_BROKER": broker} if broker else {})}


def aroma(home: Path, *words: str, broker: str | None = None, seconds: float = 240) -> subprocess.CompletedProcess[str]:
    """Run a command of ``aroma`` to its end."""
    return subprocess.run(
        [sys.executable, "-c", _CODE, *words, "--home", str(home)],
        capture_output=True,
        text=True,
        env=environment(broker),
        timeout=seconds,
        check=False,
    )


class Worker:
    """``aroma worker``, ended with the block."""

    def __init__(self, home: Path, log: Path, *, broker: str | None = None, more: tuple[str, ...] = ()) -> None:
        self._log = log
        with log.open("wb") as stream:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _CODE, "worker", "--home", str(home), *more],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                env=environment(broker),
            )

    def kill(self) -> None:
        """Kill it as the kernel does (signal 9)."""
        self.process.kill()
        self.process.wait()

    def end(self) -> int:
        """Tell it to end, and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the worker did not end: {self.log()[-2000:]}") from None

    def log(self) -> str:
        """Return what it has logged."""
        return self._log.read_text(errors="replace")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.kill()
