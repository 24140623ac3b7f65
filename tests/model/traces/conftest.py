"""Evidence of the bundled samples, opened once."""

from __future__ import annotations

import polars as pl
import pytest

from aroma.kgstore.home import Home
from aroma.kgstore.outcomes import load_outcomes
from aroma.retrieval.evidence import EvidenceStore
from aroma.retrieval.evidence_model import Evidence


@pytest.fixture(scope="session")
def store(sample_home: Home) -> EvidenceStore:
    return EvidenceStore(sample_home, outcomes=load_outcomes(sample_home))


@pytest.fixture(scope="session")
def evidence(store: EvidenceStore) -> Evidence:
    return store.evidence("RPL11", "TP53", "K562")


@pytest.fixture(scope="session")
def known_outcomes(planted_outcomes: pl.DataFrame) -> pl.DataFrame:
    """The planted outcomes whose genes the samples have."""
    return planted_outcomes.drop_nulls(["perturbation_gene", "target_gene"])
