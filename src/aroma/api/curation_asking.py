"""What requests about curation ask, checked for form; what it means is checked against the graph and the log."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from pydantic import Field

from aroma.api.asking import LONGEST_NAME, MaybeText, PageQuery, ShortText
from aroma.kgstore.curation_desk import Asked

_Reason = Annotated[str, msgspec.Meta(min_length=1, max_length=2_000)]
_References = Annotated[list[ShortText], msgspec.Meta(max_length=50)]
_Day = Annotated[str, msgspec.Meta(pattern="^[0-9]{4}-[0-9]{2}-[0-9]{2}$", max_length=10)]
_EntryId = Annotated[str, msgspec.Meta(pattern="^C[0-9a-f]{12}$", max_length=13)]


class AssertAsked(msgspec.Struct, forbid_unknown_fields=True):
    """An edge to assert: node ids or gene names, a relationship type; ``curator`` is an ORCID."""

    subject: ShortText
    relation: ShortText
    object: ShortText
    curator: ShortText
    reason: _Reason
    references: _References = []
    date: _Day | None = None

    def asked(self) -> Asked:
        """Return it as the desk takes it."""
        return Asked("assert", **msgspec.to_builtins(self))


class RetractAsked(msgspec.Struct, forbid_unknown_fields=True):
    """An edge to hide, or with ``statement`` one statement of it."""

    curator: ShortText
    reason: _Reason
    subject: MaybeText = ""
    relation: MaybeText = ""
    object: MaybeText = ""
    provider: MaybeText = ""
    statement: MaybeText = ""
    references: _References = []
    date: _Day | None = None

    def asked(self) -> Asked:
        """Return it as the desk takes it."""
        return Asked("retract", **msgspec.to_builtins(self))


class RevokeAsked(msgspec.Struct, forbid_unknown_fields=True):
    """An assertion or retraction to take back."""

    entry: _EntryId
    curator: ShortText
    reason: _Reason
    date: _Day | None = None

    def asked(self) -> Asked:
        """Return it as the desk takes it."""
        return Asked("revoke", self.curator, self.reason, of=self.entry, date=self.date)


class ReviewAsked(msgspec.Struct, forbid_unknown_fields=True):
    """Another person's entry to approve or reject."""

    entry: _EntryId
    decision: Literal["approve", "reject"]
    curator: ShortText
    reason: _Reason
    date: _Day | None = None

    def asked(self) -> Asked:
        """Return it as the desk takes it."""
        return Asked("review", self.curator, self.reason, of=self.entry, decision=self.decision, date=self.date)


class CurationQuery(PageQuery):
    """Which assertions and retractions."""

    state: Annotated[
        list[Literal["in force", "waiting for review", "rejected", "revoked"]],
        Field(default_factory=list, max_length=4, description="Only these states."),
    ]
    about: Annotated[
        str, Field(max_length=LONGEST_NAME, description="Only of this node id, entry or curator (ORCID).")
    ] = ""
