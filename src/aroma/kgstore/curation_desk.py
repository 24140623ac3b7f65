"""Entering curation: what a curator wrote is checked against the published release and the log, then logged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from aroma.errors import CurationError, IdentifierError, UsageError
from aroma.kgstore.curation import (
    Decision,
    Entry,
    Kind,
    Standing,
    State,
    check_date,
    check_orcid,
    check_reason,
    check_reference,
    content,
    identify,
    replay,
)
from aroma.kgstore.curation_apply import SAYS, says
from aroma.kgstore.curation_ground import Ground
from aroma.kgstore.curation_log import CurationLog, open_log, read_log, read_settings
from aroma.kgstore.home import Home

CURATOR_VARIABLE: Final = "AROMA_CURATOR"
ENTERED: Final = "entered"
ALREADY: Final = "already there"
REJECTED: Final = "rejected"
WOULD: Final = "would be entered"
_OVER: Final = frozenset({State.REVOKED, State.REJECTED})


@dataclass(frozen=True, slots=True)
class Asked:
    """What a curator wrote, unchecked.

    Attributes:
        kind: assert, retract, revoke or review.
        curator: ORCID of who writes.
        reason: Why.
        subject: Node id or gene name; of an assertion or a retracted edge, as are the next two.
        relation: Relationship type.
        object: Node id or gene name.
        provider: Whose edge is retracted; not needed where only one says it.
        statement: Id of the one statement to retract.
        of: Id of the entry to revoke or review.
        decision: approve or reject.
        references: PubMed ids and DOIs.
        date: ISO date; None is today.
    """

    kind: str
    curator: str
    reason: str
    subject: str = ""
    relation: str = ""
    object: str = ""
    provider: str = ""
    statement: str = ""
    of: str = ""
    decision: str = ""
    references: Sequence[str] = ()
    date: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one thing asked.

    Attributes:
        status: ``entered``, ``already there``, ``would be entered`` (dry run) or ``rejected``.
        entry: As logged; None where rejected.
        standing: The assertion or retraction that it is, or that it revokes or reviews.
        notes: What a curator should know.
        problem: Why it was rejected.
    """

    status: str
    entry: Entry | None = None
    standing: Standing | None = None
    notes: tuple[str, ...] = ()
    problem: str = ""

    def as_dict(self) -> dict[str, object]:
        """Return it for ``--json`` and the API."""
        said: dict[str, object] = {"status": self.status, "notes": list(self.notes)}
        if self.entry is not None:
            said |= {"entry": self.entry.id, "kind": self.entry.kind}
        if self.standing is not None:
            said["standing"] = self.standing.as_dict()
        return said | ({"problem": self.problem} if self.problem else {})


def enter_one(home: Home, asked: Asked) -> Outcome:
    """Check one thing and log it; what stands already is left as it is.

    Raises:
        CurationError: It does not fit the graph or what was entered before.
        IdentifierError: A node, statement or entry that is not there.
        ReleaseError: Nothing is published.
        CurationLogError: The log is damaged or cannot be written.
    """
    with open_log(home) as log:
        desk = _Desk(home, log)
        outcome = desk.enter(asked)
        desk.keep()
        return outcome


def enter_many(home: Home, asked: Sequence[Asked | UsageError], *, dry_run: bool = False) -> list[Outcome]:
    """Check many and log those that fit; one that does not is told, and stops none of the others.

    Raises:
        ReleaseError: Nothing is published.
        CurationLogError: The log is damaged or cannot be written.
    """
    with open_log(home) as log:
        desk = _Desk(home, log, would=dry_run)
        outcomes = [desk.try_to(one) for one in asked]
        if not dry_run:
            desk.keep()
        return outcomes


def listed(home: Home, states: Sequence[str] = (), about: str = "") -> list[Standing]:
    """Return assertions and retractions in the order entered.

    Args:
        home: Whose log.
        states: Only these; none gives all.
        about: Only those with this node at an end, this id, or this curator.

    Raises:
        UsageError: A state that there is not.
        CurationLogError: The log is damaged.
    """
    known = {str(state) for state in State}
    for name in states:
        if name not in known:
            raise UsageError(f"no entry is ever {name!r}; there are: {', '.join(sorted(known))}")
    found = replay(read_log(home), review=read_settings(home).review)
    return [
        one
        for one in found
        if (not states or str(one.state) in states)
        and (not about or about in {one.entry.id, one.entry.subject, one.entry.object, one.entry.curator})
    ]


class _Desk:
    """Looks at one thing after another; what is entered is written by ``keep``, all in one."""

    def __init__(self, home: Home, log: CurationLog, *, would: bool = False) -> None:
        self.home, self.log, self.would = home, log, would
        self._ground: Ground | None = None
        self._reviewed = read_settings(home).review
        self._drafts: list[Entry] = []
        self._entries = list(log.entries)
        self._by_id = {entry.id: entry for entry in self._entries}
        self._content = Counter(content(entry) for entry in self._entries)
        self._means: dict[tuple[object, ...], Entry] | None = None

    def keep(self) -> None:
        """Write what was entered."""
        if self._drafts:
            self.log.append(self._drafts)
            self._drafts = []

    @property
    def ground(self) -> Ground:
        """The published release; read for the first assertion or retraction."""
        if self._ground is None:
            self._ground = Ground(self.home)
        return self._ground

    def try_to(self, asked: Asked | UsageError) -> Outcome:
        """Enter one of many."""
        try:
            if isinstance(asked, UsageError):
                raise asked
            return self.enter(asked)
        except UsageError as error:
            return Outcome(REJECTED, problem=str(error))

    def enter(self, asked: Asked) -> Outcome:
        """Check one thing and log it."""
        notes: list[str] = []
        if self.log.repaired:
            notes.append("the log ended in half a line, left by a crash; it was set aside in curation/log.cut")
            self.log.repaired = None
        draft = self._draft(asked, notes)
        same = self._same(draft)
        if same is not None:
            return Outcome(ALREADY, same, self._standing(same), tuple(notes))
        entry = self._take(draft)
        standing = self._standing(entry)
        if standing is not None and standing.state is State.WAITING:
            notes.append("it waits for another person's review: aroma curate review " + entry.id)
        return Outcome(WOULD if self.would else ENTERED, entry, standing, tuple(notes))

    def _take(self, draft: Entry) -> Entry:
        said = content(draft)
        line, id_ = len(self._entries) + 1, identify(draft, self._content[said])
        entry = msgspec.structs.replace(draft, line=line, id=id_)
        self._content[said] += 1
        self._drafts.append(draft)
        self._entries.append(entry)
        self._by_id[entry.id] = entry
        if entry.of:  # it may change what stands
            self._means = None
        elif self._means is not None:
            self._means[_means(entry)] = entry
        return entry

    def _draft(self, asked: Asked, notes: list[str]) -> Entry:
        kinds: dict[str, Kind] = {"assert": "assert", "retract": "retract", "revoke": "revoke", "review": "review"}
        if asked.kind not in kinds:
            raise CurationError(f"kind {asked.kind!r} is none of {', '.join(kinds)}")
        draft = Entry(
            kind=kinds[asked.kind],
            curator=check_orcid(asked.curator),
            reason=check_reason(asked.reason),
            references=tuple(dict.fromkeys(check_reference(one) for one in asked.references if one.strip())),
            date=check_date(asked.date),
        )
        if draft.kind == "assert":
            return self._assertion(asked, draft, notes)
        if draft.kind == "retract":
            return self._retraction(asked, draft, notes)
        if draft.kind == "revoke":
            return msgspec.structs.replace(draft, of=self._entry_of(asked.of, ("assert", "retract")).id)
        return self._review(asked, draft)

    def _assertion(self, asked: Asked, draft: Entry, notes: list[str]) -> Entry:
        for name in ("provider", "statement"):
            if getattr(asked, name):
                raise CurationError(f"an assertion is the curator's own; {name} is only given for a retraction")
        triple = self.ground.triple(asked.subject, asked.relation, asked.object, notes)
        if others := self.ground.providers(triple):
            notes.append(f"{', '.join(others)} says so already; the assertion will stand beside it")
        return _about(draft, triple)

    def _retraction(self, asked: Asked, draft: Entry, notes: list[str]) -> Entry:
        if asked.statement:
            row = self.ground.statement(asked.statement)
            triple = row["subject"], row["relation"], row["object"]
            given = (asked.subject, asked.relation, asked.object)
            if any(given) and self.ground.triple(*given, notes) != triple:
                raise CurationError(f"statement {asked.statement} is of {' '.join(triple)}; leave the edge out")
            if asked.provider and asked.provider != row["provider"]:
                raise CurationError(f"statement {asked.statement} is of {row['provider']}, not of {asked.provider}")
            one = msgspec.structs.replace(draft, provider=row["provider"], statement=row["id"], says=says(row))
            return _about(one, triple)
        triple = self.ground.triple(asked.subject, asked.relation, asked.object, notes)
        providers = self.ground.providers(triple)
        if not providers:
            hint = self.ground.likely_edges(triple)
            raise CurationError(f"no provider says {' '.join(triple)}; to take back an assertion, revoke it{hint}")
        if not asked.provider and len(providers) > 1:
            raise CurationError(f"{', '.join(providers)} say {' '.join(triple)}; say which is meant (--provider)")
        if asked.provider and asked.provider not in providers:
            raise CurationError(f"{asked.provider} does not say {' '.join(triple)}; {', '.join(providers)} does")
        return _about(msgspec.structs.replace(draft, provider=asked.provider or providers[0]), triple)

    def _review(self, asked: Asked, draft: Entry) -> Entry:
        decisions: dict[str, Decision] = {"approve": "approve", "reject": "reject"}
        if asked.decision not in decisions:
            raise CurationError(f"decision {asked.decision!r} is neither approve nor reject")
        entry = self._entry_of(asked.of, ("assert", "retract", "revoke"))
        if entry.curator == draft.curator:
            raise CurationError(f"entry {entry.id} is {entry.curator}'s own; a review is a second person's")
        return msgspec.structs.replace(draft, of=entry.id, decision=decisions[asked.decision])

    def _entry_of(self, given: str, kinds: tuple[Kind, ...]) -> Entry:
        wanted = given.strip()
        entry = self._by_id.get(wanted)
        if entry is None:
            raise IdentifierError(f"no entry is called {given!r} (see: aroma curate list)")
        if entry.kind not in kinds:
            raise CurationError(f"entry {wanted} is a {entry.kind}; give one of: {', '.join(kinds)}")
        return entry

    def _same(self, draft: Entry) -> Entry | None:
        """Return an entry that stands and says the same: sent twice, a thing is entered once."""
        if draft.kind == "review":
            last = next((one for one in reversed(self._entries) if one.kind == "review" and one.of == draft.of), None)
            same = last is not None and (last.curator, last.decision) == (draft.curator, draft.decision)
            return last if same else None
        if draft.kind == "revoke":
            target = self._standing(draft)
            return target.revocation if target else None
        if self._means is None:
            stands = [one.entry for one in replay(self._entries, review=self._reviewed) if one.state not in _OVER]
            self._means = {_means(entry): entry for entry in reversed(stands)}
        return self._means.get(_means(draft))

    def _standing(self, entry: Entry) -> Standing | None:
        """Return the assertion or retraction that an entry is, or that it is about, however indirectly."""
        if not entry.of and entry is self._entries[-1]:  # just entered: nobody said anything of it yet
            return replay([entry], review=self._reviewed)[0]
        about = entry
        while about.of and about.of in self._by_id:
            about = self._by_id[about.of]
        family = {about.id}
        family |= {one.id for one in self._entries if one.of in family}
        related = [one for one in self._entries if one.id in family or one.of in family]
        found = replay(related, review=self._reviewed)
        return next((one for one in found if one.entry.id == about.id), None)


def _about(draft: Entry, triple: tuple[str, str, str]) -> Entry:
    subject, relation, object_ = triple
    return msgspec.structs.replace(draft, subject=subject, relation=relation, object=object_)


def _means(entry: Entry) -> tuple[object, ...]:
    """Return what an entry is about, and whose it is; a reason said in other words makes no other entry."""
    said = tuple(entry.says.get(name, "") for name in ("file", *SAYS)) if entry.statement else ()
    return (entry.kind, *entry.edge, entry.provider, said, entry.curator)
