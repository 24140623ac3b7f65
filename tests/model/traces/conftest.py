"""Evidence of the bundled samples, opened once."""

from __future__ import annotations

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
