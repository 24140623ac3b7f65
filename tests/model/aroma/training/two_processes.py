"""A training to be started by ``accelerate launch``: stage 1 for some steps, then stage 2, on the toy rule."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import torch

from aroma.model.aroma.training.grpo import train_grpo
from aroma.model.aroma.training.options import GrpoOptions, SftOptions
from aroma.model.aroma.training.processes import processes
from aroma.model.aroma.training.sft import train_sft
from tests.support.toy_rule import toy_aroma, toy_bank, toy_rows

SFT = SftOptions(epochs=1, rate=2e-3, rows_per_step=8, validation_share=0.25, evaluate_every=2, train_base=True)
GRPO = GrpoOptions(epochs=1, samples=2, prompts_per_step=4, max_new_tokens=4, save_every=1)


def train(directory: Path) -> None:
    """Train, and write what came of it."""
    torch.set_num_threads(1)
    many, bank = processes(), toy_bank()
    aroma = toy_aroma(bank)
    rows = toy_rows(aroma.tokenizer, 40, vary=True)
    found = train_sft(aroma, rows, bank, SFT, directory / "sft", lambda _what, _share: None)
    prompts = [(row.prompt, row.label) for row in rows[:8]]
    after = train_grpo(aroma, prompts, bank, replace(GRPO), directory / "grpo", lambda _what, _share: None)
    if many.is_first:
        said = {"size": many.size, "losses": found.losses, "validation": list(found.validation.values())}
        (directory / "said.json").write_text(json.dumps({**said, "groups": after.groups}))


if __name__ == "__main__":
    train(Path(sys.argv[1]))
