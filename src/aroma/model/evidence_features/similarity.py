"""Learned similarity: from what the kernels say of two genes to how much their measured responses agree.

Two perturbations agree when the same targets respond to both in the same direction; two targets, when they respond to
the same perturbations. Responses are standardised by the target's own mean and spread in the cell line, so that a
target that always changes makes nobody alike. Boosted trees learn the agreement from the kernel values of the pair;
what the release knows of a gene is then enough to say which trained genes it resembles, measured or not.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import lightgbm
import numpy as np
import numpy.typing as npt
from scipy import linalg, optimize, sparse

from aroma.model.evidence_features.forest import Forest
from aroma.model.evidence_features.layers import LAYERS, Float32
from aroma.model.evidence_features.observations import Observations
from aroma.retrieval.csr import Int32, Int64, compiled

_CLIP: Final = 3.0
_PSEUDO_ROWS: Final = 4.0
_TRAINED_PAIRS: Final = 800_000
_DRAWN_PAIRS: Final = 2_000
_TREES: Final = {
    "objective": "regression",
    "num_leaves": 15,
    "learning_rate": 0.16,
    "min_data_in_leaf": 200,
    "verbosity": -1,
    "deterministic": True,
    "force_row_wise": True,
    "max_bin": 63,
}
_ROUNDS: Final = 50
_PAIRS_A_THREAD: Final = 50_000
_PSD: Final = np.array([name != "link" for name in LAYERS])
"""Layers that are cosines: sums of them and of their squares are covariances, a link's score is none."""


def responses(seen: Observations) -> sparse.csr_matrix:
    """Return float32 (perturbations, targets): the mean standardised response over cell lines, where measured.

    Args:
        seen: Training rows.
    """
    lines, perturbations, targets = seen.sizes
    signed = np.choose(seen.label, [0.0, -1.0, 1.0])
    cell = seen.target.astype(np.int64) * lines + seen.line
    count = np.bincount(cell, minlength=targets * lines)
    total, squares = (np.bincount(cell, weights=w, minlength=targets * lines) for w in (signed, signed * signed))
    mean = total / (count + _PSEUDO_ROWS)
    usual = float(np.mean(signed * signed))
    spread = np.sqrt(np.maximum((squares + _PSEUDO_ROWS * usual) / (count + _PSEUDO_ROWS) - mean * mean, 1e-3))
    score = np.clip((signed - mean[cell]) / spread[cell], -_CLIP, _CLIP)
    shape = (perturbations, targets)
    summed = sparse.csr_matrix((score, (seen.perturbation, seen.target)), shape=shape)
    times = sparse.csr_matrix((np.ones(len(score)), (seen.perturbation, seen.target)), shape=shape)
    summed.data /= times.data
    summed.data[summed.data == 0] = 1e-12  # measured and at its mean is not the same as not measured
    summed.sort_indices()
    return summed.astype(np.float32)


def agreement(rows: sparse.csr_matrix, one: Int32, other: Int32) -> tuple[Float32, Float32]:
    """Return, for each pair of rows, the mean product over the columns that both have, and how many those are.

    Args:
        rows: float32 CSR, columns ascending.
        one: int32 (pairs), first rows.
        other: int32 (pairs), second rows.
    """
    mean, count = np.zeros(len(one), dtype=np.float32), np.zeros(len(one), dtype=np.float32)
    _products(rows.indptr.astype(np.int64), rows.indices.astype(np.int32), rows.data, one, other, mean, count)
    return mean, count


def agreement_of_all(rows: sparse.csr_matrix) -> tuple[Float32, Float32]:
    """Return ``agreement`` of every two rows (upper triangle, row by row), by two dense products."""
    dense = rows.toarray()
    count = (dense != 0).astype(np.float32)
    upper = np.triu_indices(rows.shape[0], k=1)
    product, both = (dense @ dense.T)[upper], (count @ count.T)[upper]
    return np.divide(product, both, out=np.zeros_like(product), where=both > 0), both


@compiled
def _products(
    indptr: Int64, indices: Int32, data: Float32, ones: Int32, others: Int32, mean: Float32, count: Float32
) -> None:
    for pair in range(len(ones)):
        first, second = indptr[ones[pair]], indptr[others[pair]]
        first_end, second_end = indptr[ones[pair] + 1], indptr[others[pair] + 1]
        while first < first_end and second < second_end:
            if indices[first] < indices[second]:
                first += 1
            elif indices[first] > indices[second]:
                second += 1
            else:
                mean[pair] += data[first] * data[second]
                count[pair] += np.float32(1.0)
                first, second = first + 1, second + 1
        if count[pair] > 0:
            mean[pair] /= count[pair]


@dataclass(frozen=True)
class Similarity:
    """What was learned of how kernel values tell that two genes respond alike.

    Attributes:
        trees: From kernel values to agreement.
        floor: What the trees say of two genes that share nothing.
        linear: float64 (2, layers): weights, none negative, of the kernels and of their squares; they sum to one. The
            weighted sum is a covariance, since sums and products of covariances are.
    """

    trees: lightgbm.Booster
    floor: float
    linear: npt.NDArray[np.float64]

    def __call__(self, values: Float32) -> Float32:
        """Return float32 similarities, 0 where the genes share no more than any two.

        Args:
            values: float32 (pairs, layers).
        """
        return np.maximum(self._forest(values) - self.floor, 0.0).astype(np.float32)

    @cached_property
    def _forest(self) -> Forest:
        return Forest.of(self.trees)

    def covariance(self, values: Float32) -> Float32:
        """Return the float32 covariance of each pair (pairs, layers), 0 to 1."""
        found = np.zeros(len(values), dtype=np.float32)
        for layer in range(len(LAYERS)):
            one = values[:, layer]
            found += np.float32(self.linear[0, layer]) * one + np.float32(self.linear[1, layer]) * (one * one)
        return found


def learn(values: Float32, agree: Float32, weight: Float32, seed: int, threads: int = 2) -> Similarity:
    """Learn a similarity; where there is no pair to learn from, the mean of the kernels stands for what they agree on.

    Args:
        values: float32 (pairs, layers), kernel values.
        agree: float32 (pairs), mean agreement of the two over what both have.
        weight: float32 (pairs), over how many rows.
        seed: Of the choice of pairs, where there are very many.
        threads: Threads; the result does not depend on them.
    """
    if not len(values):
        values = np.random.default_rng(seed).random((_DRAWN_PAIRS, len(LAYERS)), dtype=np.float32) ** 3
        agree, weight = values.mean(axis=1), np.ones(_DRAWN_PAIRS, dtype=np.float32)
    if len(values) > _TRAINED_PAIRS:
        chosen = np.sort(np.random.default_rng(seed).choice(len(values), _TRAINED_PAIRS, replace=False))
        values, agree, weight = values[chosen], agree[chosen], weight[chosen]
    data = lightgbm.Dataset(values, agree, weight=weight, free_raw_data=True)
    threads = threads if len(values) > _PAIRS_A_THREAD else 1
    trees = booster(lightgbm.train({**_TREES, "seed": seed, "num_threads": threads}, data, _ROUNDS).model_to_string())
    floor = float(np.asarray(trees.predict(np.zeros((1, len(LAYERS)), dtype=np.float32)))[0])
    return Similarity(trees, floor, _linear(values, agree, weight))


def booster(text: str) -> lightgbm.Booster:
    """Return trees from LightGBM's text format."""
    return lightgbm.Booster(model_str=text)


def _linear(values: Float32, agree: Float32, weight: Float32) -> npt.NDArray[np.float64]:
    """Return the non-negative least-squares weights of kernels and their squares, scaled to sum to one."""
    wide = np.concatenate([values * _PSD, values * values * _PSD], axis=1).astype(np.float64)
    mean = np.average(wide, axis=0, weights=weight)
    centred, wanted = wide - mean, agree - np.average(agree, weights=weight)
    gram = (centred * weight[:, None]).T @ centred + 1e-6 * len(values) * np.eye(wide.shape[1])
    root = linalg.cholesky(gram, lower=True)
    found, _ = optimize.nnls(root.T, linalg.solve_triangular(root, (centred * weight[:, None]).T @ wanted, lower=True))
    found = found * np.tile(_PSD, 2)
    if not found.any():
        found = np.tile(_PSD, 2).astype(np.float64)
    scaled: npt.NDArray[np.float64] = (found / found.sum()).reshape(2, -1)
    return scaled


def neighbours(similarity: Float32, active: npt.NDArray[np.bool_], count: int) -> tuple[Int32, Float32]:
    """Return the most similar active genes of one row and their squared similarity, scaled to sum to one.

    Args:
        similarity: float32 (genes).
        active: bool (genes): which may be named.
        count: At most this many.
    """
    squared = np.where(active, similarity, 0.0).astype(np.float32) ** 2
    count = min(count, len(squared))
    best = np.argpartition(-squared, count - 1)[:count] if count else np.zeros(0, dtype=np.int64)
    best = np.sort(best[squared[best] > 0])
    weights = squared[best]
    total = weights.sum(dtype=np.float64)
    return best.astype(np.int32), (weights / total if total > 0 else weights).astype(np.float32)


def pad(rows: list[tuple[Int32, Float32]], count: int) -> tuple[Int32, Float32]:
    """Return neighbour lists as int32 and float32 (genes, count) arrays, filled up with -1 and 0."""
    names = np.full((len(rows), count), -1, dtype=np.int32)
    weights = np.zeros((len(rows), count), dtype=np.float32)
    for place, (found, weight) in enumerate(rows):
        names[place, : len(found)], weights[place, : len(found)] = found, weight
    return names, weights
