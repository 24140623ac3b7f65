"""``nearest-perturbation``: the most similar perturbation with a known outcome on the target decides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from aroma.model.plugin import Setting
from aroma.model.predictors.cases import MEAN
from aroma.model.predictors.core_voting import CoreVoting


class NearestPerturbation(CoreVoting):
    """Voting in which only the heaviest case (or ``top_n`` of them) votes."""

    name: ClassVar[str] = "nearest-perturbation"
    summary: ClassVar[str] = "What the most similar perturbation with a known outcome did to the same target."
    defaults: ClassVar[Mapping[str, Setting]] = {
        "kernel": MEAN, "temperature": 1.0, "top_n": 1, "other_lines": 0.5, "same": 1.0,
    }  # fmt: skip
