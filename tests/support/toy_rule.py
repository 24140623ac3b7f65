"""A rule that only the interaction tokens can tell: planted vectors, prompts whose text says nothing of the label."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from aroma.model.aroma.language_model import Aroma
from aroma.model.aroma.modalities import ModalityBank
from aroma.model.aroma.options import AromaOptions
from aroma.model.aroma.prompting import PromptRow, completion
from aroma.model.aroma.tokens import wrap_chat
from aroma.model.aroma.training.options import TrainingRow
from aroma.retrieval.prompts import PLACEHOLDERS

DIM = 8
REASONING = {0: "No path leads there.", 1: "A path of repression leads there.", 2: "A path of activation leads there."}
_TEXT = "What becomes of the target? Gene-KG {gene}, Path-KG {path}, protein {protein}."


class _PlantedItems:
    """One vector a gene."""

    def __init__(self, vectors: dict[str, np.ndarray[Any, Any]]) -> None:
        self._rows = {gene: place for place, gene in enumerate(vectors)}
        matrix = np.stack(list(vectors.values())).astype(np.float32)
        self.vectors = SimpleNamespace(vectors=matrix, card=SimpleNamespace(dim=matrix.shape[1]))

    def of(self, genes: Sequence[str | None]) -> list[tuple[Any, Any]]:
        """Return the row of each gene, none for an unknown one."""
        found = [[self._rows[gene]] if gene in self._rows else [] for gene in genes]
        return [(np.array(rows, dtype=np.int32), np.zeros(len(rows), dtype=np.int32)) for rows in found]


def toy_bank(genes: int = 24, seed: int = 0) -> ModalityBank:
    """Return vectors of ``P0`` …, whose largest of the first three numbers is the label of its rows, and ``T0`` …."""
    chance = np.random.default_rng(seed)
    vectors = {}
    for number in range(genes):
        planted = chance.normal(0, 0.3, DIM)
        planted[number % 3] += 2.0
        vectors[f"P{number}"] = planted
        vectors[f"T{number}"] = chance.normal(0, 1, DIM)
    items: Any = _PlantedItems(vectors)
    return ModalityBank(
        {"protein": items, "path-kg": items, "gene-kg": items}, {"protein": 0, "path-kg": 0, "gene-kg": 0}
    )


def toy_prompt(tokenizer: Any, number: int, target: int, *, known: bool = True, padding: int = 0) -> PromptRow:
    """Return the prompt of a row; all have the same words, and ``padding`` adds more of them."""
    names = dict(zip(("protein", "path", "gene"), PLACEHOLDERS, strict=True))
    text = wrap_chat(tokenizer, "evidence " * padding + _TEXT.format(**names))
    gene = f"P{number}" if known else None
    tokens = len(tokenizer.encode(text, add_special_tokens=False))
    return PromptRow("K562", f"P{number}", f"T{target}", gene, f"T{target}", text, tokens)


def toy_rows(tokenizer: Any, count: int, genes: int = 24, *, vary: bool = False) -> list[TrainingRow]:
    """Return rows that follow the rule; with ``vary`` their prompts differ in length."""
    rows = []
    for place in range(count):
        number = place % genes
        prompt = toy_prompt(tokenizer, number, (place * 5 + 1) % genes, padding=(place * 7) % 40 if vary else 0)
        rows.append(TrainingRow(prompt, completion(REASONING[number % 3], number % 3), number % 3))
    return rows


def toy_aroma(bank: ModalityBank, **options: Any) -> Aroma:
    """Return a tiny model whose tokenizer knows the words of the rule."""
    chosen = AromaOptions(**{"interaction_dim": 32, "heads": 2, "lora_dropout": 0.0, **options})
    texts = [_TEXT, *(completion(text, label) for label, text in REASONING.items())] * 4
    return Aroma.make(chosen, bank, texts_for_tiny_tokenizer=texts)
