"""Curators of tests, and short ways to enter what they say."""

from __future__ import annotations

from aroma.kgstore.curation_desk import Asked, Outcome, enter_one
from aroma.kgstore.home import Home

ANNA = "0000-0002-1825-0097"
BEN = "0000-0001-5109-3700"
WHY = "Seen in three co-immunoprecipitations"


def assert_edge(home: Home, subject: str, relation: str, object_: str, **said: object) -> Outcome:
    """Assert an edge."""
    ends = {"subject": subject, "relation": relation, "object": object_}
    return enter_one(home, Asked(**{"kind": "assert", "curator": ANNA, "reason": WHY, **ends, **said}))


def retract(home: Home, *edge: str, **said: object) -> Outcome:
    """Retract an edge by its ends, or with ``statement`` one statement."""
    ends = dict(zip(("subject", "relation", "object"), edge, strict=False))
    return enter_one(home, Asked(**{"kind": "retract", "curator": ANNA, "reason": "Withdrawn paper", **ends, **said}))


def revoke(home: Home, entry: str, curator: str = ANNA) -> Outcome:
    """Take an entry back."""
    return enter_one(home, Asked("revoke", curator, "Entered by mistake", of=entry))


def review(home: Home, entry: str, decision: str = "approve", curator: str = BEN) -> Outcome:
    """Approve or reject an entry."""
    return enter_one(home, Asked("review", curator, "Looked at the paper", of=entry, decision=decision))
