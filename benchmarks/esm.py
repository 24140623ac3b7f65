"""ESM-2 residues a second: packed batches sorted by length, beside transformers' EsmModel on padded batches.

    python benchmarks/esm.py FASTA [--entries 192] [--batch 16] [--threads 2] [--rounds 2] [--all]

The model has the size of esm2_t6_8M with random weights; the proteins are those of FASTA. The peer is transformers'
``EsmModel`` as it comes (scaled dot-product attention), in batches of ``--batch`` windows in the order of the file,
padded to the longest; the mean over residues is taken from its last states. Both are given the same windows, and
their vectors are compared in the same run. The entries are runs of ``--batch`` neighbours, evenly spaced over the file,
so that the peer's batches are real ones. Peer and ours take turns; wall-clock and processor seconds are both shown,
because other work on the machine spoils the first more than the second. ``--all`` then embeds every protein with ours.

Hours for the 650M and 15B models on one GPU are a projection from counted operations, not a measurement.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from aroma.model.embeddings.batches import Window, cut_windows, residue_weights
from aroma.model.embeddings.esm import OVERLAP, EsmEncoder
from aroma.model.embeddings.esm_config import CLS, EOS, FIRST_LETTER, LETTERS, PAD, PUBLISHED, TRAINED_WINDOW
from aroma.model.embeddings.esm_weights import RandomWeights
from aroma.model.embeddings.items import read_fasta

SIZE = "esm2_t6_8M_UR50D"
Vectors = npt.NDArray[np.float32]


@dataclass
class Timing:
    """Seconds of one way, the best of the rounds."""

    wall: float = float("inf")
    cpu: float = float("inf")

    def take(self, work: Callable[[], Vectors]) -> Vectors:
        """Run once and keep the time where it is the best."""
        wall, cpu = time.perf_counter(), time.process_time()
        found = work()
        self.wall = min(self.wall, time.perf_counter() - wall)
        self.cpu = min(self.cpu, time.process_time() - cpu)
        return found


def chosen(sequences: Sequence[str], entries: int, batch: int) -> list[str]:
    """Return runs of ``batch`` neighbours, evenly spaced over the file."""
    runs = max(entries // batch, 1)
    starts = np.linspace(0, max(len(sequences) - batch, 0), runs).astype(int)
    return [one for start in starts for one in sequences[start : start + batch]]


def peer(model: torch.nn.Module, sequences: Sequence[str], batch: int) -> Vectors:
    """Embed with transformers: padded batches of windows in file order."""
    lengths = [len(one) for one in sequences]
    windows = cut_windows(lengths, TRAINED_WINDOW, OVERLAP)
    weights = residue_weights(windows, lengths)
    found = np.zeros((len(sequences), model.config.hidden_size), dtype=np.float32)  # type: ignore[union-attr]
    with torch.inference_mode():
        for start in range(0, len(windows), batch):
            part = windows[start : start + batch]
            tokens = padded([sequences[one.sequence][one.start : one.stop] for one in part])
            states = model(tokens, attention_mask=(tokens != PAD).long()).last_hidden_state
            for row, one in enumerate(part):
                found[one.sequence] += pooled(states[row], one, weights[one])
    return found


def pooled(states: torch.Tensor, window: Window, weights: Vectors) -> Vectors:
    """Return the window's share in the mean over residues."""
    return (torch.from_numpy(weights) @ states[1 : len(window) + 1]).numpy()


def padded(sequences: Sequence[str]) -> torch.Tensor:
    """Return int64 (sequences, longest + 2) tokens."""
    longest = max(len(one) for one in sequences) + 2
    rows = [[CLS, *(FIRST_LETTER + LETTERS.index(letter) for letter in one), EOS] for one in sequences]
    return torch.tensor([row + [PAD] * (longest - len(row)) for row in rows])


def compare(sequences: Sequence[str], batch: int, rounds: int) -> EsmEncoder:
    """Time both ways in turns, compare their vectors, print, and return our encoder."""
    weights = RandomWeights(PUBLISHED[SIZE], 1)
    model = RandomWeights(PUBLISHED[SIZE], 1).load(torch.float32)
    encoder = EsmEncoder(SIZE, weights)
    residues = sum(len(one) for one in sequences)
    windows = cut_windows([len(one) for one in sequences], TRAINED_WINDOW, OVERLAP)
    print(f"{len(sequences)} proteins, {residues:,} residues, {len(windows)} windows; {SIZE}, random weights, float32")
    padding = sum(
        max(map(len, windows[at : at + batch])) * len(windows[at : at + batch]) for at in range(0, len(windows), batch)
    ) / sum(map(len, windows))
    print(f"peer: batches of {batch} in file order, {padding:.2f} tokens computed for one that is not padding")
    peer(model, sequences[:batch], batch)  # warm
    encoder.encode(sequences[:batch])
    theirs, ours = Timing(), Timing()
    for _ in range(rounds):
        wanted = theirs.take(lambda: peer(model, sequences, batch))
        found = ours.take(lambda: encoder.encode(sequences).vectors)
    norms = np.linalg.norm(wanted, axis=1) * np.linalg.norm(found, axis=1)
    cosine = float(((wanted * found).sum(axis=1) / norms).min())
    print("| way | residues/s | residues a processor second |\n|---|---|---|")
    print(f"| transformers, padded, file order | {residues / theirs.wall:,.0f} | {residues / theirs.cpu:,.0f} |")
    print(f"| aroma | {residues / ours.wall:,.0f} | {residues / ours.cpu:,.0f} |")
    print(f"ratio {theirs.wall / ours.wall:.2f} by the clock, {theirs.cpu / ours.cpu:.2f} by processor seconds")
    print(f"smallest cosine of the two ways' vectors: {cosine:.7f}")
    if cosine < 0.99999:
        raise SystemExit("the vectors differ")
    return encoder


def project(lengths: Sequence[int], peak: float, share: float) -> None:
    """Print hours for the large models on one GPU, from counted operations alone."""
    windows = cut_windows(lengths, TRAINED_WINDOW, OVERLAP)
    print(f"projection, not measured: one GPU of {peak:.0f} TFLOP/s (bfloat16, dense), {share:.0%} of it reached")
    for name in ("esm2_t33_650M_UR50D", "esm2_t48_15B_UR50D"):
        work = sum(PUBLISHED[name].flops(len(one) + 2, len(one) + 2) for one in windows)
        hours = work / (peak * 1e12 * share) / 3600
        print(f"  {name}: {work / 1e15:,.1f} PFLOP for {len(lengths):,} proteins, {hours:.3g} h")


def main() -> None:
    """Parse the arguments, compare, project."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fasta", type=Path)
    parser.add_argument("--entries", type=int, default=192)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--peak", type=float, default=989.0, help="TFLOP/s of the projection's GPU (H200, bfloat16)")
    parser.add_argument("--share", type=float, default=0.4, help="of the peak that is reached")
    parser.add_argument("--all", action="store_true", help="embed every protein of the file with ours, too")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    items = read_fasta(asked.fasta).items
    sequences = [item.text for item in items]
    encoder = compare(chosen(sequences, asked.entries, asked.batch), asked.batch, asked.rounds)
    if asked.all:
        every, residues = Timing(), sum(map(len, sequences))
        every.take(lambda: encoder.encode(sequences).vectors)
        print(f"all {len(sequences):,} proteins: {every.wall:,.0f} s, {residues / every.wall:,.0f} residues/s")
    project([len(one) for one in sequences], asked.peak, asked.share)


if __name__ == "__main__":
    main()
