"""What the server says of curation: assertions and retractions, and what became of one that was sent."""

from __future__ import annotations

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
