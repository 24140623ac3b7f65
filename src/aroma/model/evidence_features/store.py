"""Saving what was learned: arrays as ``.npy`` files without objects, trees as text, the rest as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import numpy as np

from aroma.errors import ModelError
from aroma.model.evidence_features.factorisation import Factors, Neighbours
from aroma.model.evidence_features.layers import GeneIndex, Layers
from aroma.model.evidence_features.observations import Codes, Observations
from aroma.model.evidence_features.rates import rates_of
from aroma.model.evidence_features.similarity import Similarity, booster
from aroma.model.evidence_features.state import Learned, View, excess_of

_NAMES: Final = "learned.json"
_OBSERVED: Final = ("line", "perturbation", "target", "label", "fold", "start")


def save_learned(directory: Path, learned: Learned, whole: View) -> None:
    """Write what serving needs: everything but the views that leave something out."""
    arrays: dict[str, Any] = {name: getattr(learned.seen, name) for name in _OBSERVED}
    arrays |= {"near_names": learned.near_targets.names, "near_weights": learned.near_targets.weights}
    arrays |= {"perturbation_nodes": learned.perturbations.nodes, "target_nodes": learned.targets.nodes}
    arrays["process_weights"] = whole.weights
    for place, fit in enumerate(whole.factors):
        arrays |= {f"u{place}": fit.perturbations, f"v{place}": fit.targets, f"bias{place}": fit.bias}
    similarities = {"perturbations": learned.similarity, "targets": learned.target_similarity}
    for name, one in similarities.items():
        arrays[f"linear_{name}"] = one.linear
        (directory / f"similarity-{name}.txt").write_text(one.trees.model_to_string())
    for name, array in arrays.items():
        np.save(directory / f"{name}.npy", array, allow_pickle=False)
    codes = learned.codes
    said = {
        "lines": codes.lines,
        "perturbations": codes.perturbations,
        "targets": codes.targets,
        "floors": {name: one.floor for name, one in similarities.items()},
        "pulls": [fit.pull for fit in whole.factors],
    }
    (directory / _NAMES).write_text(json.dumps(said))


def load_learned(directory: Path, layers: Layers) -> tuple[Learned, View]:
    """Read what ``save_learned`` wrote.

    Raises:
        ModelError: The files are not what they should be.
    """
    try:
        said = json.loads((directory / _NAMES).read_text())
        arrays = {path.stem: np.load(path, allow_pickle=False) for path in sorted(directory.glob("*.npy"))}
        codes = Codes(tuple(said["lines"]), tuple(said["perturbations"]), tuple(said["targets"]))
        sizes = len(codes.lines), len(codes.perturbations), len(codes.targets)
        seen = Observations(**{name: arrays[name] for name in _OBSERVED}, sizes=sizes)
        similarity, target_similarity = (
            _similarity(directory, name, said, arrays) for name in ("perturbations", "targets")
        )
        factors = tuple(
            Factors(arrays[f"u{place}"], arrays[f"v{place}"], arrays[f"bias{place}"], float(pull))
            for place, pull in enumerate(said["pulls"])
        )
        perturbations = GeneIndex(layers, arrays["perturbation_nodes"])
        targets = GeneIndex(layers, arrays["target_nodes"])
        near = Neighbours(arrays["near_names"], arrays["near_weights"])
        weights = arrays["process_weights"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{directory}: what was learned cannot be read ({error}); train again") from error
    left_out = np.zeros(len(seen.line), dtype=np.bool_)
    rates = rates_of(seen, left_out)
    view = View(left_out, rates, weights, factors, excess_of(seen, left_out, rates))
    return Learned(codes, seen, perturbations, targets, similarity, target_similarity, near), view


def _similarity(directory: Path, name: str, said: dict[str, Any], arrays: dict[str, Any]) -> Similarity:
    trees = booster((directory / f"similarity-{name}.txt").read_text())
    return Similarity(trees, float(said["floors"][name]), arrays[f"linear_{name}"])
