"""Outcomes that are laid out: the same evidence as from the stored table, and a guard that goes on withholding."""

from __future__ import annotations

import polars as pl
import pytest

from aroma.errors import UsageError
from aroma.kgstore.home import Home
from aroma.kgstore.outcomes import list_outcomes
from aroma.retrieval.evidence import EvidenceStore
from aroma.retrieval.evidence_model import to_json
from aroma.retrieval.withhold import Withhold


def test_laid_out_outcomes_give_the_evidence_of_the_table(
    sample_home: Home, store: EvidenceStore, outcomes: pl.DataFrame
) -> None:
    version = list_outcomes(sample_home)[-1].sha256
    mapped = EvidenceStore(sample_home, outcomes=version[:12])
    assert mapped.outcomes_digest == store.outcomes_digest
    rows = outcomes.select("perturbation", "target", "cell_line").unique(maintain_order=True).head(40).rows()
    found = [to_json(mapped.evidence(*row)) for row in rows]
    assert found == [to_json(store.evidence(*row)) for row in rows]
    assert any(b'"positives_total":0' not in one for one in found)


def test_what_is_withheld_is_withheld_from_a_version_as_well(sample_home: Home, outcomes: pl.DataFrame) -> None:
    version = list_outcomes(sample_home)[-1].sha256
    hidden = Withhold(cell_lines=frozenset({outcomes["cell_line"][0]}))
    by_version = EvidenceStore(sample_home, outcomes=version, withhold=hidden)
    by_table = EvidenceStore(sample_home, outcomes=outcomes, withhold=hidden)
    assert by_version.outcomes_digest == by_table.outcomes_digest
    whole = EvidenceStore(sample_home, outcomes=version)
    assert whole.outcomes_digest != by_version.outcomes_digest
    assert whole.variant(outcomes=version, withhold=hidden).outcomes_digest == by_table.outcomes_digest


def test_an_unknown_version_is_named(sample_home: Home) -> None:
    with pytest.raises(UsageError, match="begin with 'zzz'"):
        EvidenceStore(sample_home, outcomes="zzz")
