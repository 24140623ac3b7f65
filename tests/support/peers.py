"""Other programs, in an environment of their own (``make install-peers``): what exports are loaded with."""

from __future__ import annotations

import json
import subprocess
import textwrap
from typing import Any

import pytest

from tests.support.samples import ROOT

PEER_PYTHON = ROOT / ".venv-peers" / "bin" / "python"


def ask_peer(script: str, *arguments: object, timeout: float = 240) -> Any:
    """Run a script with the peers' interpreter and return the JSON that its last line of output is.

    Args:
        script: Python source, indented or not; ``sys.argv[1:]`` are the arguments.
        *arguments: Shown as text to the script.
        timeout: Seconds.
    """
    if not PEER_PYTHON.exists():
        pytest.skip(".venv-peers is not installed; run: make install-peers")
    done = subprocess.run(
        [str(PEER_PYTHON), "-c", textwrap.dedent(script), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return json.loads(done.stdout.splitlines()[-1])
