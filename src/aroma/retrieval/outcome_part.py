"""Measured outcomes laid out beside a release's snapshot: what contrastive evidence reads, mapped and shared.

Reading, checking and sorting half a million outcomes takes a second of every process; laid out once for a release and
a version of the outcomes, opening them takes none. Only outcomes of which nothing is withheld are laid out: what a
guard takes out is taken out of the stored table, each time.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from aroma.errors import SnapshotError
from aroma.kgstore.home import Home
from aroma.kgstore.outcomes import list_outcomes, load_outcomes
from aroma.retrieval.columns import open_array
from aroma.retrieval.contrastive import OutcomeIndex
from aroma.retrieval.parts import make_part, open_part
from aroma.retrieval.snapshot import Snapshot

_ARRAYS: Final = ("targets", "perturbations", "lines", "labels", "perturbed")
_DIGITS: Final = 16


def open_outcomes(home: Home, snapshot: Snapshot, ref: str) -> OutcomeIndex:
    """Return one version's outcomes, all to be seen; they are laid out first where that was not done yet.

    Args:
        home: Where they are stored.
        snapshot: The release whose genes they are about.
        ref: The version's sha256 or the first digits of it.

    Raises:
        UsageError: No version, or several, begin with ``ref``.
        ReleaseError: The stored table is damaged.
        SnapshotError: The part cannot be put in place.
    """
    fitting = [version.sha256 for version in list_outcomes(home) if version.sha256.startswith(ref)]
    if len(fitting) != 1:
        return OutcomeIndex(load_outcomes(home, ref), snapshot.nodes)  # raises, and says what there is
    place = home.snapshot(snapshot.release) / f"outcomes-{fitting[0][:_DIGITS]}"
    try:
        said = open_part(place, snapshot.release)
    except SnapshotError:
        _make(home, snapshot, fitting[0], place)
        said = open_part(place, snapshot.release)
    arrays = {name: open_array(place / f"{name}.npy") for name in _ARRAYS}
    return OutcomeIndex.of_arrays(said["cell_lines"], arrays, said["digest"])


def _make(home: Home, snapshot: Snapshot, sha256: str, place: Path) -> None:
    index = OutcomeIndex(load_outcomes(home, sha256), snapshot.nodes)

    def fill(target: Path) -> None:
        for name in _ARRAYS:
            np.save(target / f"{name}.npy", index.arrays[name])

    facts = {"outcomes": sha256, "cell_lines": index.cell_lines, "digest": index.digest}
    make_part(place, snapshot.release, facts, fill)
