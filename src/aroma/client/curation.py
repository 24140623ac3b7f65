"""The client's calls about curation; the sync and the async client have the same methods."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

from aroma.client.calls import Call
from aroma.retrieval.curation_model import CurationAnswer, CurationPage


class Said(TypedDict, total=False):
    """Who says it and why: ``curator`` (ORCID) and ``reason`` are needed, ``date`` is today unless given."""

    curator: str
    reason: str
    references: Sequence[str]
    date: str


class RetractOptions(Said, total=False):
    """What is retracted: an edge by its ends (and its provider, where several say it), or one statement by its id."""

    subject: str
    relation: str
    object: str
    provider: str
    statement: str


def curation(state: Sequence[str], about: str, offset: int, limit: int) -> Call[CurationPage]:
    """Return the call that lists assertions and retractions."""
    given = {"state": list(state), "about": about, "offset": offset, "limit": limit}
    return Call("GET", "/v1/curation", CurationPage, parameters=given)


def assert_edge(subject: str, relation: str, object_: str, said: Said) -> Call[CurationAnswer]:
    """Return the call that asserts an edge."""
    body = {"subject": subject, "relation": relation, "object": object_, **said}
    return Call("POST", "/v1/curation/assert", CurationAnswer, body=body)


def retract(options: RetractOptions) -> Call[CurationAnswer]:
    """Return the call that hides an edge or a statement."""
    return Call("POST", "/v1/curation/retract", CurationAnswer, body=dict(options))


def revoke(entry: str, curator: str, reason: str) -> Call[CurationAnswer]:
    """Return the call that takes an entry back."""
    body = {"entry": entry, "curator": curator, "reason": reason}
    return Call("POST", "/v1/curation/revoke", CurationAnswer, body=body)


def review(entry: str, decision: str, curator: str, reason: str) -> Call[CurationAnswer]:
    """Return the call that approves or rejects an entry."""
    body = {"entry": entry, "decision": decision, "curator": curator, "reason": reason}
    return Call("POST", "/v1/curation/review", CurationAnswer, body=body)
