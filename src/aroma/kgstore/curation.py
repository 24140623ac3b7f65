"""Curation: what a curator may say of the graph, and what of it stands.

Four kinds of entry. ``assert`` adds an edge, ``retract`` hides a provider's edge or one statement of it, ``revoke``
takes an entry back, ``review`` approves or rejects one. Entries are never changed: what stands is found by replaying
them in their order.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Final, Literal

import msgspec

from aroma.errors import CurationError

PROVIDER: Final = "curation"
"""Provider of the edges that curators assert."""

_ID_DIGITS: Final = 12
_CHECK_MODULUS: Final = 11
_ORCID: Final = re.compile(r"(?:https?://orcid\.org/|orcid:)?(\d{4}-\d{4}-\d{4}-\d{3}[\dX])", re.IGNORECASE)
_REFERENCES: Final = {
    "PMID": re.compile(r"(?:PMID|pubmed):\s*([1-9][0-9]{0,8})", re.IGNORECASE),
    "DOI": re.compile(r"(?:doi:\s*|https?://(?:dx\.)?doi\.org/)(10\.[0-9]{4,9}/[^\s|;]+)", re.IGNORECASE),
}

Kind = Literal["assert", "retract", "revoke", "review"]
Decision = Literal["approve", "reject"]


class State(StrEnum):
    """What became of an assertion or retraction."""

    IN_FORCE = "in force"
    WAITING = "waiting for review"
    REJECTED = "rejected"
    REVOKED = "revoked"


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """One line of the log.

    ``id`` is a hash of what the entry says, so that the same entry has the same id in every home.

    Attributes:
        line: Line of the log, from 1; 0 before it is written.
        kind: What the curator does.
        id: ``C`` and 12 hexadecimal digits.
        subject: Node id; of an assertion or retraction, as are the next three.
        relation: Relationship type.
        object: Node id.
        provider: Whose edge is retracted.
        statement: The one statement retracted, as the release of that day numbered it.
        says: What that statement says, by which it is found again in later files.
        of: The entry that is revoked or reviewed.
        decision: Of a review.
        curator: ORCID.
        reason: Why, in the curator's words.
        references: ``PMID:…`` and ``DOI:…``.
        date: ISO 8601.
        at: When it was written, ISO 8601, UTC; no part of a release.
        previous: ``sha256`` of the line before, empty for the first.
        sha256: Of this line without this field.
    """

    line: int = 0
    kind: Kind
    id: str = ""
    subject: str = ""
    relation: str = ""
    object: str = ""
    provider: str = ""
    statement: str = ""
    says: dict[str, str] = {}
    of: str = ""
    decision: Decision | Literal[""] = ""
    curator: str
    reason: str
    references: tuple[str, ...] = ()
    date: str
    at: str = ""
    previous: str = ""
    sha256: str = ""

    @property
    def edge(self) -> tuple[str, str, str]:
        """Subject, relation and object."""
        return self.subject, self.relation, self.object

    @property
    def shown(self) -> str:
        """The edge as a person reads it, with whose it is."""
        whose = f" of {self.provider}" if self.provider else ""
        return f"{self.subject} {self.relation} {self.object}{whose}" + (f", {self.statement}" * bool(self.statement))


@dataclass(frozen=True, slots=True)
class Standing:
    """An assertion or retraction, and what became of it.

    Attributes:
        entry: As it was entered.
        state: In force, waiting for review, rejected or revoked.
        reviews: Every review of it, oldest first.
        revocation: The entry that took it back, or asks to and waits for its own review.
    """

    entry: Entry
    state: State
    reviews: tuple[Entry, ...] = ()
    revocation: Entry | None = None

    @property
    def reviewed_by(self) -> tuple[str, ...]:
        """ORCIDs of those who approved it, sorted."""
        return tuple(sorted({review.curator for review in self.reviews if review.decision == "approve"}))

    def as_dict(self) -> dict[str, object]:
        """Return it for ``--json`` and the API."""
        said = self.entry
        return {
            "id": said.id,
            "kind": said.kind,
            "state": str(self.state),
            "subject": said.subject,
            "relation": said.relation,
            "object": said.object,
            "provider": said.provider or None,
            "statement": said.statement or None,
            "curator": said.curator,
            "reason": said.reason,
            "references": list(said.references),
            "date": said.date,
            "reviewed_by": list(self.reviewed_by),
            "revoked_by": self.revocation.id if self.revocation else None,
            "revoked_because": self.revocation.reason if self.revocation else None,
            "line": said.line,
        }


def replay(entries: Iterable[Entry], *, review: bool) -> list[Standing]:
    """Return every assertion and retraction with what became of it, in the order entered.

    Args:
        entries: The log, oldest first.
        review: An entry counts only after another person approved it; so does a revocation of one that counts.
    """
    said = list(entries)
    reviews: dict[str, list[Entry]] = {}
    revocations: dict[str, list[Entry]] = {}
    for entry in said:
        if entry.kind in {"review", "revoke"}:
            (reviews if entry.kind == "review" else revocations).setdefault(entry.of, []).append(entry)
    return [
        _standing(entry, reviews, revocations.get(entry.id, []), review=review)
        for entry in said
        if entry.kind in {"assert", "retract"}
    ]


def _standing(entry: Entry, reviews: Mapping[str, list[Entry]], revoked: Sequence[Entry], *, review: bool) -> Standing:
    own = _judged(reviews.get(entry.id, ()), review=review)
    taken_back: Entry | None = None
    for one in revoked:
        judged = _judged(reviews.get(one.id, ()), review=review and own is State.IN_FORCE)
        taken_back = one if judged is not State.REJECTED else taken_back
        if judged is State.IN_FORCE:
            return Standing(entry, State.REVOKED, tuple(reviews.get(entry.id, ())), one)
    return Standing(entry, own, tuple(reviews.get(entry.id, ())), taken_back)


def _judged(reviews: Sequence[Entry], *, review: bool) -> State:
    """Return what the last review makes of an entry; without one, what the setting says."""
    if not reviews:
        return State.WAITING if review else State.IN_FORCE
    return State.IN_FORCE if reviews[-1].decision == "approve" else State.REJECTED


def identify(draft: Entry, earlier: int) -> str:
    """Return the id of an entry: a hash of what it says, and of how many said just that before it."""
    return "C" + hashlib.sha256(content(draft) + str(earlier).encode()).hexdigest()[:_ID_DIGITS]


def content(entry: Entry) -> bytes:
    """Return what an entry says, without where and when it was logged."""
    bare = msgspec.structs.replace(entry, line=0, id="", at="", previous="", sha256="")
    return msgspec.json.encode(bare, order="sorted")


def check_orcid(given: str) -> str:
    """Return an ORCID as ``0000-0002-1825-0097``, from that, its address or its CURIE.

    The last character is a check digit, ISO 7064 MOD 11-2 (ORCID: Structure of the ORCID Identifier).

    Raises:
        CurationError: It is none, or its check digit is wrong.
    """
    found = _ORCID.fullmatch(given.strip())
    if found is None:
        raise CurationError(f"curator {given!r} is no ORCID; write it as 0000-0002-1825-0097 (see https://orcid.org)")
    orcid = found[1].upper()
    total = 0
    for digit in orcid.replace("-", "")[:-1]:
        total = (total + int(digit)) * 2
    check = (12 - total % _CHECK_MODULUS) % _CHECK_MODULUS
    if orcid[-1] != ("X" if check == 10 else str(check)):  # noqa: PLR2004 - ISO 7064 writes ten as X
        raise CurationError(f"curator {given!r} is no ORCID: its check digit is wrong, so a digit was mistyped")
    return orcid


def check_reference(given: str) -> str:
    """Return a reference as ``PMID:123`` or ``DOI:10.1000/x``.

    Raises:
        CurationError: It is neither.
    """
    for prefix, form in _REFERENCES.items():
        if found := form.fullmatch(given.strip()):
            return f"{prefix}:{found[1]}"
    raise CurationError(f"reference {given!r} is neither a PubMed id (PMID:12345678) nor a DOI (DOI:10.1000/xyz)")


def check_reason(given: str) -> str:
    """Return a reason in one line.

    Raises:
        CurationError: It is empty.
    """
    reason = " ".join(given.split())
    if not reason:
        raise CurationError("a reason is needed: say why in a sentence (--reason)")
    return reason


def check_date(given: str | None) -> str:
    """Return an ISO date; None is today, UTC.

    Raises:
        CurationError: It is no date, or one to come.
    """
    today = datetime.now(tz=UTC).date()
    if not given:
        return today.isoformat()
    try:
        said = date.fromisoformat(given.strip())
    except ValueError as error:
        raise CurationError(f"date {given!r} is no day; write it as 2026-11-21") from error
    if said > today:
        raise CurationError(f"date {given!r} is still to come; today is {today.isoformat()}")
    return said.isoformat()
