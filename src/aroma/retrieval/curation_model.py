"""What the server says of curation: assertions and retractions, and what became of one that was sent."""

from __future__ import annotations

from typing import Any

import msgspec

from aroma.kgstore.curation import Standing
from aroma.kgstore.curation_desk import Outcome
from aroma.retrieval.evidence_model import Record


class StandingItem(Record, frozen=True, kw_only=True):
    """An assertion or retraction; ``state`` is in force, waiting for review, rejected or revoked."""

    id: str
    kind: str
    state: str
    subject: str
    relation: str
    object: str
    provider: str | None
    statement: str | None
    curator: str
    reason: str
    references: list[str]
    date: str
    reviewed_by: list[str]
    revoked_by: str | None
    revoked_because: str | None
    line: int


class CurationPage(Record, frozen=True, kw_only=True):
    """Assertions and retractions in the order entered; ``next_offset`` is null on the last page."""

    total: int
    offset: int
    limit: int
    next_offset: int | None
    items: list[StandingItem]


class CurationAnswer(Record, frozen=True, kw_only=True):
    """What became of an entry: ``entered`` or ``already there``, and the assertion or retraction that it concerns."""

    status: str
    entry: str
    kind: str
    notes: list[str]
    standing: StandingItem


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
