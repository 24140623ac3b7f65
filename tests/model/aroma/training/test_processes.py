from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.model.aroma.training.two_processes import train


def test_two_processes_give_the_losses_of_one(tmp_path: Path) -> None:
    """What ``accelerate launch`` starts on one machine (torchrun with its settings), here on the CPU."""
    (tmp_path / "two").mkdir()
    (tmp_path / "one").mkdir()
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    script = ["-m", "tests.model.aroma.training.two_processes", str(tmp_path / "two")]
    quiet = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "PYTHONWARNINGS": "ignore"}
    ended = subprocess.run([*launch, *script], capture_output=True, text=True, env=quiet, timeout=240, check=False)
    assert ended.returncode == 0, ended.stderr[-3000:]
    train(tmp_path / "one")
    two, one = (json.loads((tmp_path / name / "said.json").read_text()) for name in ("two", "one"))
    assert (two["size"], one["size"]) == (2, 1)
    assert two["losses"] == pytest.approx(one["losses"], abs=5e-3)
    assert two["validation"] == pytest.approx(one["validation"], abs=5e-3)
    assert two["groups"] == one["groups"] == 8
