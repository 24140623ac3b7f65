"""Gene vectors from the graph alone: what stands in for an encoder where none was trained.

The kernels of a release (shared terms, complexes, pathways, interaction partners, each weighted by rarity, unit rows)
are put side by side, and their truncated singular value decomposition gives each gene its ``dim`` coordinates: the dot
product of two vectors is close to the sum of the two genes' similarities under the kernels (latent semantic analysis:
Deerwester et al. 1990, doi:10.1002/(SICI)1097-4571(199009)41:6<391::AID-ASI1>3.0.CO;2-9).
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse.linalg import svds

from aroma.errors import UsageError
from aroma.retrieval.gene_kernels import KERNELS, GeneKernels, Kernel

NAME: Final = "graph-svd"
"""What cards call these vectors."""
SMALLEST: Final = 1e-3
"""Length below which a vector says nothing: a gene's rows have length one in each kernel that knows it."""


class StructuralVectors(NamedTuple):
    """Vectors of the genes that the kernels know.

    Attributes:
        genes: int32, release node numbers, ascending.
        vectors: float32, (genes, dim), columns by falling singular value.
        kernels: Kernels that went in.
        faint: int32, release node numbers of genes that a kernel knows and ``dim`` columns do not reach (a pair with no
            other partner, say); they have no vector.
    """

    genes: npt.NDArray[np.int32]
    vectors: npt.NDArray[np.float32]
    kernels: tuple[str, ...]
    faint: npt.NDArray[np.int32]


def structural_vectors(
    kernels: GeneKernels, dim: int, *, seed: int = 0, names: tuple[str, ...] = KERNELS
) -> StructuralVectors:
    """Return gene vectors; the same kernels, dim and seed give the same ones.

    Args:
        kernels: The release's kernels.
        dim: Columns wanted.
        seed: Of the vector that the decomposition starts from. The coordinates do not depend on it beyond rounding,
            except among components of equal weight.
        names: Kernels taken.

    Raises:
        UsageError: The kernels have fewer genes or features than ``dim`` needs, or no kernel is asked for.
    """
    genes, rows, used = side_by_side(kernels, names)
    most = min(rows.shape) - 1
    if not 1 <= dim <= most:
        raise UsageError(f"--dim {dim}: this release gives vectors of 1 to {most} numbers")
    coordinates = _coordinates(rows.astype(np.float64), dim, seed)
    reached = np.linalg.norm(coordinates, axis=1) >= SMALLEST
    return StructuralVectors(genes[reached], coordinates[reached].astype(np.float32), used, genes[~reached])


def side_by_side(
    kernels: GeneKernels, names: tuple[str, ...] = KERNELS
) -> tuple[npt.NDArray[np.int32], Any, tuple[str, ...]]:
    """Return the rows of several kernels as one matrix.

    Args:
        kernels: The release's kernels.
        names: Kernels taken.

    Returns:
        int32 release node numbers of the genes that any of them knows, ascending; float32 CSR (genes, features of all
        kernels), empty in the columns of a kernel that does not know the gene; the kernels that know any gene.

    Raises:
        UsageError: None of the kernels knows a gene.
    """
    chosen = [kernel for name in names if len((kernel := kernels[name]).genes)]
    if not chosen:
        raise UsageError(f"no gene is known to the kernels ({', '.join(names) or 'none is left'}); nothing can be made")
    genes = np.unique(np.concatenate([kernel.genes for kernel in chosen])).astype(np.int32)
    rows = sparse.hstack([_aligned(kernel, genes) for kernel in chosen], format="csr")
    return genes, rows, tuple(kernel.name for kernel in chosen)


def _aligned(kernel: Kernel, genes: npt.NDArray[np.int32]) -> Any:
    """Return a kernel's rows in the order of ``genes``, empty for those it does not know."""
    lengths = np.zeros(len(genes), dtype=np.int64)
    lengths[np.searchsorted(genes, kernel.genes)] = np.diff(kernel.rows.indptr)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    shape = (len(genes), kernel.rows.shape[1])
    return sparse.csr_matrix((kernel.rows.data, kernel.rows.indices, starts), shape=shape)


def _coordinates(matrix: Any, dim: int, seed: int) -> npt.NDArray[np.float64]:
    """Return left singular vectors times singular values, largest first, each column's largest entry positive."""
    start = np.random.default_rng(seed).standard_normal(min(matrix.shape))
    left, weights, _ = svds(matrix, k=dim, v0=start, return_singular_vectors="u", solver="arpack")
    order = np.argsort(-weights, kind="stable")
    scaled: npt.NDArray[np.float64] = left[:, order] * weights[order]
    largest = np.abs(scaled).argmax(axis=0)
    signs = np.where(scaled[largest, np.arange(dim)] < 0, -1.0, 1.0)
    return scaled * signs
