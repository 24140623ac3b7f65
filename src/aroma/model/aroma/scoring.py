"""Class probabilities of an AROMA: its three answers scored after the prompt, or sampled answers counted as votes.

The probability of a class is that of its answer's text, summed over tokens, among the three answers: it is computed,
not drawn, so it is the same every time. Reasoning can stand before the answers: none (``<think></think>``), or what the
model writes greedily. Sampling with votes, as the paper predicts, is the alternative.

Rows without a prompt (``PromptRow.problem``) get NaN: the caller says what becomes of them.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from aroma.model.aroma.answer_tree import AnswerTree, answer_tree
from aroma.model.aroma.prefix_scoring import Asked, PrefixScorer, plain_scores
from aroma.model.aroma.prompting import PromptRow
from aroma.model.aroma.tokens import encode_prompt, placeholder_ids
from aroma.model.labels import CLASSES, COLUMN_OF_LABEL, LABEL_OF_COLUMN, Probabilities
from aroma.model.traces.answers import completion, parse

if TYPE_CHECKING:
    import torch

    from aroma.model.aroma.language_model import Aroma
    from aroma.model.aroma.modalities import ModalityBank

Progress = Callable[[int], None]
_CLOSE: Final = "</think>"
_OPEN: Final = "<think>"


@dataclass(frozen=True, slots=True)
class Votes:
    """Answers that were sampled.

    Attributes:
        counts: int64 (rows, 3), in the order of ``CLASSES``.
        unreadable: int64 (rows,): samples that are no trace with exactly one answer.
        texts: Of each row, what was sampled.
    """

    counts: npt.NDArray[np.int64]
    unreadable: npt.NDArray[np.int64]
    texts: tuple[tuple[str, ...], ...]

    def probabilities(self, prior: Sequence[float] = (1 / 3, 1 / 3, 1 / 3)) -> Probabilities:
        """Return float64 (rows, 3): shares of the votes, one vote of ``prior`` added, so that nothing is impossible."""
        whole = self.counts + np.asarray(prior, dtype=np.float64)
        found: Probabilities = whole / whole.sum(axis=1, keepdims=True)
        return found


def score_answers(
    aroma: Aroma,
    rows: Sequence[PromptRow],
    bank: ModalityBank,
    *,
    reasoning: Sequence[str] | None = None,
    batch_tokens: int = 0,
    progress: Progress = lambda _done: None,
) -> Probabilities:
    """Return float64 (rows, 3) probabilities in the order of ``CLASSES``; NaN for a row that has a problem.

    Args:
        aroma: The model; it is left in the mode it was in.
        rows: Prompts; those of one cell line and perturbation share what they begin with, which is read once.
        bank: Vectors of the genes.
        reasoning: What stands in the think block of each row; None: nothing does.
        batch_tokens: 0: row by row, where nothing else that is asked changes a bit of the answer; more: rows are read
            together up to so many tokens, which is faster on a GPU and differs in the last digits.
        progress: Told how many rows are done.

    Raises:
        ModelError: A placeholder is missing from a prompt, or a row does not fit into memory.
    """
    good, asked = _asked(aroma, rows, reasoning)
    found = np.full((len(rows), len(CLASSES)), np.nan)
    if good:
        scorer = PrefixScorer(
            aroma.base, _embed(aroma, bank, good), pad=aroma.tokenizer.pad_token_id, batch_tokens=batch_tokens
        )
        with _Evaluating(aroma):
            found[[place for place, _ in good]] = _softmax(scorer.scores(asked, progress))
    return found


def score_answers_plainly(
    aroma: Aroma, rows: Sequence[PromptRow], bank: ModalityBank, *, reasoning: Sequence[str] | None = None
) -> Probabilities:
    """Return what ``score_answers`` does, with no cache and one answer at a time; to check and to compare with."""
    good, asked = _asked(aroma, rows, reasoning)
    found = np.full((len(rows), len(CLASSES)), np.nan)
    if good:
        with _Evaluating(aroma):
            found[[place for place, _ in good]] = _softmax(plain_scores(aroma.base, _embed(aroma, bank, good), asked))
    return found


def write_reasoning(
    aroma: Aroma,
    rows: Sequence[PromptRow],
    bank: ModalityBank,
    *,
    max_new_tokens: int,
    progress: Progress = lambda _done: None,
) -> list[str]:
    """Return what the model writes in the think block of each row, greedily; empty for a row that has a problem.

    Reasoning that is not closed after ``max_new_tokens`` ends there. Each row is written by itself, so that nothing
    else that is asked changes it.
    """
    stops = _stops(aroma.tokenizer)
    found = []
    with _Evaluating(aroma):
        for place, row in enumerate(rows):
            said = ""
            if row.problem is None:
                (said,) = _generate(
                    aroma, row, bank, do_sample=False, max_new_tokens=max_new_tokens, eos_token_id=stops
                )
            found.append(thought(said))
            progress(place + 1)
    return found


def sample_votes(
    aroma: Aroma,
    rows: Sequence[PromptRow],
    bank: ModalityBank,
    *,
    samples: int = 8,
    temperature: float = 1.0,
    top_p: float = 0.9,
    max_new_tokens: int = 2048,
    seed: int = 0,
    progress: Progress = lambda _done: None,
) -> Votes:
    """Return sampled answers of each row, counted; a row that has a problem has no votes.

    A row's samples depend on ``seed`` and the row alone.

    Args:
        aroma: The model.
        rows: Prompts.
        bank: Vectors of the genes.
        samples: Answers a row, sampled together.
        temperature: Of sampling.
        top_p: Share of probability sampled from.
        max_new_tokens: Longest reasoning and answer.
        seed: Of sampling.
        progress: Told how many rows are done.
    """
    import torch

    counts = np.zeros((len(rows), len(CLASSES)), dtype=np.int64)
    unreadable = np.zeros(len(rows), dtype=np.int64)
    texts: list[tuple[str, ...]] = []
    sampling = {"do_sample": True, "temperature": temperature, "top_p": top_p, "top_k": 0}
    devices = [aroma_device(aroma)] if aroma_device(aroma).type == "cuda" else []
    with _Evaluating(aroma), torch.random.fork_rng(devices=devices):
        for place, row in enumerate(rows):
            said: list[str] = []
            if row.problem is None:
                torch.manual_seed(zlib.crc32(f"{seed}\t{row.name}\t{row.evidence_id}".encode()))
                said = _generate(
                    aroma, row, bank, max_new_tokens=max_new_tokens, num_return_sequences=samples, **sampling
                )
            for text in said:
                label = parse(text).label if parse(text).problem is None else None
                if label is None:
                    unreadable[place] += 1
                else:
                    counts[place, COLUMN_OF_LABEL[label]] += 1
            texts.append(tuple(said))
            progress(place + 1)
    return Votes(counts, unreadable, tuple(texts))


def thought(text: str) -> str:
    """Return what stands in the think block of generated text, closed or not."""
    inside = text.split(_CLOSE, 1)[0]
    return inside.split(_OPEN, 1)[-1].strip()


def tree_of(tokenizer: Any, reasoning: str) -> AnswerTree:
    """Return the three answers after some reasoning as a tree, in the order of ``CLASSES``."""
    texts = [completion(reasoning, int(label)) for label in LABEL_OF_COLUMN]
    return answer_tree([tokenizer.encode(text, add_special_tokens=False) for text in texts])


def shared_tokens(tokenizer: Any, row: PromptRow, ids: Sequence[int]) -> int:
    """Return how many of a prompt's first tokens come before the first word of its target and the first placeholder.

    Templates put what is said of cell line and perturbation first, so this is what prompts of one perturbation share.
    It depends on the prompt alone. A tokenizer that does not tell where its tokens stand gives 0: nothing is shared.
    """
    if not tokenizer.is_fast:
        return 0
    first = re.search(rf"(?<!\w){re.escape(row.target)}(?!\w)", row.text) if row.target else None
    spans = tokenizer(row.text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    limit = first.start() if first else len(row.text)
    held = set(placeholder_ids(tokenizer))
    for place, ((_, end), token) in enumerate(zip(spans, ids, strict=True)):
        if end > limit or token in held:
            return place
    return max(len(ids) - 1, 0)


def aroma_device(aroma: Aroma) -> torch.device:
    """Return where the language model is."""
    found: torch.device = next(aroma.base.parameters()).device
    return found


def _asked(
    aroma: Aroma, rows: Sequence[PromptRow], reasoning: Sequence[str] | None
) -> tuple[list[tuple[int, PromptRow]], list[Asked]]:
    """Return the rows that have no problem with their places, and what is scored of each."""
    good = [(place, row) for place, row in enumerate(rows) if row.problem is None]
    without = tree_of(aroma.tokenizer, "")
    asked = []
    for place, row in good:
        ids = encode_prompt(aroma.tokenizer, row.text, row.name, aroma.options.modalities)
        said = reasoning[place] if reasoning is not None else ""
        tree = tree_of(aroma.tokenizer, said) if said else without
        asked.append(Asked(tuple(ids), shared_tokens(aroma.tokenizer, row, ids), tree))
    return good, asked


def _embed(
    aroma: Aroma, bank: ModalityBank, good: Sequence[tuple[int, PromptRow]]
) -> Callable[[torch.Tensor, Sequence[int]], torch.Tensor]:
    def embed(ids: torch.Tensor, places: Sequence[int]) -> torch.Tensor:
        rows = [good[place][1] for place in places]
        return aroma.embed(ids, _modalities(aroma, rows, bank))

    return embed


def _modalities(aroma: Aroma, rows: Sequence[PromptRow], bank: ModalityBank) -> dict[str, Any]:
    device = aroma_device(aroma)
    found = bank.batch([row.perturbation_gene for row in rows], [row.target_gene for row in rows])
    return {name: batch.to(device) for name, batch in found.items()}


def _generate(aroma: Aroma, row: PromptRow, bank: ModalityBank, **generation: Any) -> list[str]:
    """Return the texts that are generated after a row's prompt."""
    import torch

    ids = encode_prompt(aroma.tokenizer, row.text, row.name, aroma.options.modalities)
    given = torch.tensor([ids], device=aroma_device(aroma))
    with torch.inference_mode():
        made = aroma.generate(given, torch.ones_like(given), _modalities(aroma, [row], bank), **generation)
    kept = [_without_padding(aroma.tokenizer, one.tolist()) for one in made]
    return [aroma.tokenizer.decode(one, skip_special_tokens=True) for one in kept]


def _without_padding(tokenizer: Any, ids: list[int]) -> list[int]:
    """Return new tokens up to the first end token."""
    ends = {tokenizer.eos_token_id, tokenizer.pad_token_id}
    return ids[: next((place for place, token in enumerate(ids) if token in ends), len(ids))]


def _stops(tokenizer: Any) -> list[int]:
    """Return the tokens at which reasoning is over: the end of a text, and ``</think>`` where it is one token."""
    close = tokenizer.encode(_CLOSE, add_special_tokens=False)
    return [tokenizer.eos_token_id, *(close if len(close) == 1 else [])]


def _softmax(scores: npt.NDArray[np.float64]) -> Probabilities:
    found: Probabilities = np.exp(scores - scores.max(axis=1, keepdims=True))
    found /= found.sum(axis=1, keepdims=True)
    return found


class _Evaluating:
    """Puts a model into evaluation mode (no dropout) for a while."""

    def __init__(self, aroma: Aroma) -> None:
        self.aroma, self.was = aroma, aroma.training

    def __enter__(self) -> None:
        self.aroma.eval()

    def __exit__(self, *_: object) -> None:
        self.aroma.train(self.was)
