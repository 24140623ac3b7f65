"""Records of what stands in the curation log and of what became of an entry."""

from __future__ import annotations

from typing import Any

import msgspec

from aroma.kgstore.curation import Standing
from aroma.kgstore.curation_desk import Outcome
from aroma.retrieval.curation_model import CurationAnswer, CurationPage, StandingItem


def standing_item(one: Standing) -> StandingItem:
    """Return the record of an assertion or retraction."""
    return msgspec.convert(one.as_dict(), StandingItem)


def curation_page(found: list[Standing], offset: int, limit: int) -> CurationPage:
    """Return one page of a list."""
    end = offset + limit
    return CurationPage(
        total=len(found),
        offset=offset,
        limit=limit,
        next_offset=end if end < len(found) else None,
        items=[standing_item(one) for one in found[offset:end]],
    )


def curation_answer(outcome: Outcome) -> CurationAnswer:
    """Return the record of what became of an entry."""
    said: dict[str, Any] = outcome.as_dict()
    return msgspec.convert(said, CurationAnswer)
