"""Tiny AROMAs for tests, and what they read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from aroma.kgstore.home import Home
from aroma.model.aroma.language_model import Aroma
from aroma.model.aroma.modalities import ModalityBank, ModalityBatch
from aroma.model.aroma.options import AromaOptions
from aroma.model.aroma.prompting import PromptRow
from aroma.model.aroma.tokens import encode_prompt
from aroma.model.embeddings.composition import CompositionEncoder
from aroma.model.embeddings.items import items_of
from aroma.model.embeddings.runs import embeddings_ledger, plan_run, work_on_items
from aroma.model.ground import Ground


def options_of(**given: Any) -> AromaOptions:
    """Return options whose encoders are those of ``aroma_home``."""
    return AromaOptions(**{"encoders": {"protein": "composition"}, "interaction_dim": 16, "heads": 2, **given})


def embed_proteins(home: Home) -> None:
    """Add the vectors of all proteins' amino-acid composition."""
    release, ledger = Ground(home).release, embeddings_ledger(home)
    items, missing = items_of(home, release, "protein")
    spec = {"encoder": "composition"}
    run = plan_run(home, ledger, release, CompositionEncoder(), spec, items, missing=missing)
    work_on_items(home, ledger, run.id)


def make_tiny(options: AromaOptions, bank: ModalityBank, seed: int = 1) -> Aroma:
    """Return a tiny model in evaluation mode, every weight moved, so that adapter and modules matter."""
    aroma = Aroma.make(options, bank, texts_for_tiny_tokenizer=["TP53 is a gene of the K562 cell line."] * 3)
    shaken(aroma, seed)
    return aroma.eval()


def shaken(aroma: Aroma, seed: int = 1) -> Aroma:
    """Move every weight of a model a little, the same way for the same seed."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in aroma.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return aroma


def padded(tokenizer: Any, rows: Sequence[PromptRow], side: str = "left") -> tuple[torch.Tensor, torch.Tensor]:
    """Return int64 (rows, longest) token ids and mask of prompts."""
    encoded = [encode_prompt(tokenizer, row.text, row.name) for row in rows]
    longest = max(map(len, encoded))
    ids = torch.full((len(rows), longest), tokenizer.pad_token_id)
    mask = torch.zeros((len(rows), longest), dtype=torch.long)
    for place, one in enumerate(encoded):
        span = slice(longest - len(one), longest) if side == "left" else slice(0, len(one))
        ids[place, span] = torch.tensor(one)
        mask[place, span] = 1
    return ids, mask


def batch_of(bank: ModalityBank, rows: Sequence[PromptRow]) -> dict[str, ModalityBatch]:
    """Return the vectors of some rows."""
    return bank.batch([row.perturbation_gene for row in rows], [row.target_gene for row in rows])
