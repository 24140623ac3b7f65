"""The answers of one question as a tree of tokens, so that all of them are scored in one pass of the model.

After the prompt's last tokens comes a stem that every answer shares (``<think>…</think><answer>``), then one branch an
answer. In the attention mask a branch sees the prompt, the stem and itself; its positions go on from the stem, so each
branch is computed as if it stood alone after the prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

Tokens = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class AnswerTree:
    """Answers that begin alike.

    Attributes:
        stem: Tokens that all answers begin with; at least one.
        branches: What follows in each answer; none is empty, and no two are equal.
    """

    stem: Tokens
    branches: tuple[Tokens, ...]

    @property
    def inputs(self) -> Tokens:
        """Tokens that the model has to read: the stem, and each branch but for its last token."""
        return self.stem + tuple(token for branch in self.branches for token in branch[:-1])

    @property
    def read(self) -> int:
        """How many places at the end of the inputs predict a token of a branch: the stem's last, and the branches'."""
        return 1 + sum(len(branch) - 1 for branch in self.branches)


def answer_tree(answers: Sequence[Sequence[int]]) -> AnswerTree:
    """Return the tree of tokenised answers, in their order.

    Raises:
        ValueError: Two answers are the same, one begins another, or they have no token in common at the start; the
            texts are this package's own, so that is a defect of a tokenizer.
    """
    shortest = min(map(len, answers))
    shared = 0
    while shared < shortest and len({answer[shared] for answer in answers}) == 1:
        shared += 1
    if shared in (0, shortest):
        raise ValueError(f"answers of {shortest} tokens and more share {shared}; they cannot be told apart by tokens")
    return AnswerTree(tuple(answers[0][:shared]), tuple(tuple(answer[shared:]) for answer in answers))


def layout(tree: AnswerTree, before: int) -> tuple[list[int], list[tuple[int, int]]]:
    """Return the position of each input token of a row, and where the row's branches lie.

    Args:
        tree: Of the row.
        before: Tokens of the row that are read in the same pass, ahead of the stem.

    Returns:
        Positions counted from the first of ``before`` (one an input, ``before`` first), and (start, end) of each
        branch's inputs among them.
    """
    main = before + len(tree.stem)
    positions, spans = list(range(main)), []
    for branch in tree.branches:
        start = len(positions)
        positions.extend(range(main, main + len(branch) - 1))
        spans.append((start, len(positions)))
    return positions, spans


def visible(size: int, padding: int, spans: Sequence[tuple[int, int]], device: torch.device) -> torch.Tensor:
    """Return bool (size, size): which inputs of a left-padded row each of its inputs may look at.

    Args:
        size: Inputs of the row with its padding.
        padding: Places on the left that hold nothing; nobody looks at them but they themselves.
        spans: Of the branches, counted without the padding.
        device: Where to make it.
    """
    import torch

    seen = torch.ones((size, size), dtype=torch.bool, device=device).tril()
    seen[:, :padding] = False
    for start, end in spans:
        seen[padding + end :, padding + start : padding + end] = False
    seen.fill_diagonal_(True)
    return seen


def branch_scores(logits: torch.Tensor, tree: AnswerTree) -> list[float]:
    """Return the summed log-probability of each branch.

    Args:
        logits: float32 or wider (``tree.read``, vocabulary), at the places that predict a token of a branch.
        tree: Of the row.
    """
    import torch

    rows: list[int] = []
    tokens: list[int] = []
    owner: list[int] = []
    following = 1
    for place, branch in enumerate(tree.branches):
        rows += [0, *range(following, following + len(branch) - 1)]
        tokens += branch
        owner += [place] * len(branch)
        following += len(branch) - 1
    said = torch.log_softmax(logits, dim=-1)
    each = said[torch.tensor(rows), torch.tensor(tokens)].double()
    sums = torch.zeros(len(tree.branches), dtype=torch.float64).index_add_(0, torch.tensor(owner), each.cpu())
    found: list[float] = sums.tolist()
    return found
