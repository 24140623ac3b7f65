"""Simulated outcomes over the sample genes with a planted response, large enough to fit every plug-in on.

Perturbations belong to the modules of the samples' genes; a module moves some modules down or up in every line, with
little noise, and one line turns one of the responses round, so that lines differ.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import polars as pl

MODULES = {
    "ribosome": ("RPL3", "RPL11", "RPL5", "RPS6"),
    "proteasome": ("PSMA1", "PSMB5", "PSMC1", "PSMD1"),
    "stress": ("ATF4", "DDIT3", "EIF2S1", "HSPA5"),
    "p53": ("TP53", "MDM2", "CDKN1A", "BAX"),
    "respiration": ("NDUFS1", "SDHA", "UQCRC1", "COX4I1"),
    "hippo": ("YAP1", "WWTR1", "TEAD1", "LATS1"),
}
RESPONSE = {
    ("ribosome", "p53"): 2,
    ("proteasome", "stress"): 2,
    ("respiration", "stress"): 2,
    ("ribosome", "ribosome"): 1,
    ("p53", "p53"): 1,
    ("hippo", "hippo"): 1,
    ("stress", "stress"): 1,
}
CELL_LINES = ("HepG2", "Jurkat", "K562")


@cache
def planted(seed: int = 0, noise: float = 0.05, missing: float = 0.15) -> pl.DataFrame:
    """Return ``cell_line, perturbation, target, label``: all pairs of genes but some, in each line."""
    chance = np.random.default_rng(seed)
    module = {gene: name for name, genes in MODULES.items() for gene in genes}
    rows = []
    for line in CELL_LINES:
        for perturbation, one in module.items():
            for target, other in module.items():
                if perturbation == target or chance.random() < missing:
                    continue
                label = RESPONSE.get((one, other), 0)
                if line == "Jurkat" and (one, other) == ("ribosome", "p53"):
                    label = 1
                if chance.random() < noise:
                    label = int(chance.integers(3))
                rows.append((line, perturbation, target, label))
    schema = {"cell_line": pl.String, "perturbation": pl.String, "target": pl.String, "label": pl.Int8}
    return pl.DataFrame(rows, schema=schema, orient="row")
