"""Curation applied to a release's tables, and taken out of them again.

``curated`` puts what stands into the tables that the providers' files gave, ``provider_rows`` is its exact inverse:
so a release can be curated anew without reading a file, and a refresh starts from what the providers say.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import polars as pl

from aroma.kgstore import schema
from aroma.kgstore.assemble import edges_from_statements, order_symmetric, with_content
from aroma.kgstore.curation import PROVIDER, Entry, Standing, State
from aroma.kgstore.curation_ids import SPLIT, Followed, Identifiers
from aroma.kgstore.curation_log import Settings
from aroma.kgstore.tables import ReleaseTables

RUN: Final = "curation.log"
"""Import run of asserted edges; a statement's id is this and its line in the log."""
EVIDENCE: Final = "ECO:0000218"
"""Evidence code of assertions: manual assertion (Evidence and Conclusion Ontology)."""
SAYS: Final = ("evidence", "reference", "qualifier", "with_from", "assigned_by")
"""What a retracted statement is found by in later files, beside its edge and the kind of file it stands in."""
MAY_CHANGE: Final = ("date", "score")
"""What a provider may change in a statement without making another of it; a change is reported."""
TRIPLE: Final = ["subject", "relation", "object"]
_KEY: Final = list(schema.TABLES["edges"].key)
_SYMMETRIC: Final = frozenset(str(name) for name, ends in schema.RELATION_ENDS.items() if ends.symmetric)
_NODE_COLUMNS: Final = ("id", "label", "symbol", "previous", "obsolete", "replaced_by")
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that a curator should look at.

    Attributes:
        entry: Its id.
        kind: ``assert`` or ``retract``.
        code: ``agrees``, ``dropped``, ``no longer said``, ``changed``, ``merged``, ``gone``, ``split``, ``same``,
            ``wrong ends`` or ``obsolete``.
        applied: Whether the entry is in the release all the same.
        message: What was found and what may be done.
    """

    entry: str
    kind: str
    code: str
    applied: bool
    message: str

    def as_dict(self) -> dict[str, object]:
        """Return it for audits."""
        return {name: getattr(self, name) for name in ("entry", "kind", "code", "applied", "message")}


@dataclass(slots=True)
class Curated:
    """What came of curation.

    Attributes:
        tables: The release's tables; the very ones given where nothing stands.
        findings: What a curator should look at.
        applied: Ids of the entries that are in the tables.
    """

    tables: ReleaseTables
    findings: list[Finding] = field(default_factory=list)
    applied: list[str] = field(default_factory=list)


def curated(
    base: ReleaseTables, standing: Sequence[Standing], settings: Settings, before: pl.DataFrame | None = None
) -> Curated:
    """Apply what is in force to the providers' rows.

    Args:
        base: Tables without curation (``provider_rows``).
        standing: What ``replay`` gives; only entries in force count.
        settings: Licence of what curators assert.
        before: Edges of the published release between asserted ends, to tell what a provider dropped since.
    """
    work = _Work(base, [one for one in standing if one.state is State.IN_FORCE], before)
    work.run()
    if not work.applied:
        return Curated(base, work.findings)
    return Curated(work.tables(settings), work.findings, [row["id"] for row in work.applied])


def provider_rows(tables: ReleaseTables) -> ReleaseTables:
    """Return the tables as the providers' files gave them; the very ones given where nothing was curated."""
    hidden, lines = tables["retracted_edges"], tables["retracted_statements"]
    if not (tables["assertions"].height or hidden.height or lines.height):
        return tables
    frames = {name: schema.empty(name) for name in ("assertions", "retracted_edges", "retracted_statements")}
    others = tables["edges"].filter(pl.col("provider") != PROVIDER)
    back = hidden.select(list(schema.EDGES))
    frames["edges"] = pl.concat([others.join(back, on=_KEY, how="anti", maintain_order="left"), back])
    said = tables["statements"].filter(pl.col("provider") != PROVIDER)
    frames["statements"] = pl.concat([said, lines.select(list(schema.STATEMENTS))])
    for name in ("sources", "import_runs"):
        frames[name] = tables[name].filter(pl.col("provider") != PROVIDER)
    return ReleaseTables.of({**tables.frames, **frames})


def says(statement: Mapping[str, Any]) -> dict[str, str]:
    """Return what a statement says, for the log: what it is found by, and what is reported where it changes."""
    told = {name: str(statement[name]) for name in (*SAYS, *MAY_CHANGE) if statement[name] not in {None, ""}}
    return {"file": _file_kind(statement["import_run"]), **told}


def _file_kind(run: str) -> str:
    """Return the kind of file of an import run, ``<provider>.<kind>.<sha256>``."""
    return run.split(".")[1] if run.count(".") else run


def ordered(subject: str, relation: str, object_: str) -> tuple[str, str, str]:
    """Return a triple as edges have it: of a symmetric relation the smaller id comes first."""
    if relation in _SYMMETRIC and subject > object_:
        return object_, relation, subject
    return subject, relation, object_


class _Work:
    """One application: entries are looked at one by one, and the tables are made at the end."""

    def __init__(self, base: ReleaseTables, standing: Sequence[Standing], before: pl.DataFrame | None) -> None:
        self.base, self.standing = base, standing
        self.findings: list[Finding] = []
        self.applied: list[Row] = []
        self.statements: list[Row] = []
        self.whole: dict[tuple[str, ...], Entry] = {}
        self.single: dict[str, Entry] = {}
        wanted = {end for one in standing for end in (one.entry.subject, one.entry.object)}
        nodes = base["nodes"].select(_NODE_COLUMNS)
        self.identifiers = Identifiers(nodes, base["gene_names"], wanted)
        self.before = {tuple(row) for row in before.select(_KEY).iter_rows()} if before is not None else set()
        self.edges: dict[tuple[str, ...], Row] = {}
        self.lines: dict[tuple[str, ...], list[Row]] = {}

    def run(self) -> None:
        """Look at every entry in the order entered."""
        placed = [(one, self._ends(one.entry)) for one in self.standing]
        found = [(one, ends, ordered(ends[0], one.entry.relation, ends[1])) for one, ends in placed if ends is not None]
        self._load([triple for _, _, triple in found])
        for one, ends, triple in found:
            if one.entry.kind == "assert":
                self._assert(one, ends, triple)
            else:
                self._retract(one, triple)

    def _find(self, entry: Entry, code: str, message: str, *, applied: bool = True) -> None:
        self.findings.append(Finding(entry.id, entry.kind, code, applied, f"{entry.shown}: {message}"))

    def _ends(self, entry: Entry) -> tuple[str, str] | None:
        """Return subject and object of an entry in this release, or None where it cannot be in it."""
        ends = [self.identifiers.follow(given) for given in (entry.subject, entry.object)]
        for end in ends:
            if end.id is None:
                self._find(entry, end.problem, _lost(end), applied=False)
                return None
        subject, object_ = ends
        assert subject.id is not None
        assert object_.id is not None
        for end in ends:
            if end.moved:
                self._find(entry, "merged", f"{end.given} was merged into {end.id}, which stands in its place")
            if end.replaced_by is not None and entry.kind == "assert":
                instead = f"; its replacement is {', '.join(end.replaced_by)}" if end.replaced_by else ""
                self._find(entry, "obsolete", f"{end.id} is obsolete now{instead}; assert it anew, or revoke this")
        if subject.id == object_.id and entry.subject != entry.object:
            self._find(entry, "same", f"both ends were merged into {subject.id}; revoke this entry", applied=False)
            return None
        allowed = schema.RELATION_ENDS[schema.Relation(entry.relation)]
        if subject.label not in allowed.subjects or object_.label not in allowed.objects:
            said = f"{subject.id} is a {subject.label} now and {object_.id} a {object_.label}; revoke this entry"
            self._find(entry, "wrong ends", said, applied=False)
            return None
        return subject.id, object_.id

    def _load(self, triples: list[tuple[str, str, str]]) -> None:
        """Take the edges and statements of the triples in question out of the tables."""
        wanted = pl.DataFrame(triples, schema=dict.fromkeys(TRIPLE, pl.String()), orient="row").unique()
        for row in self.base["edges"].join(wanted, on=TRIPLE, how="semi").iter_rows(named=True):
            self.edges[tuple(row[name] for name in _KEY)] = row
        for row in self.base["statements"].join(wanted, on=TRIPLE, how="semi").iter_rows(named=True):
            self.lines.setdefault(tuple(row[name] for name in _KEY), []).append(row)

    def _assert(self, one: Standing, ends: tuple[str, str], triple: tuple[str, str, str]) -> None:
        entry = one.entry
        agreeing = sorted(key[3] for key in self.edges if key[:3] == triple)
        if agreeing:
            said = f"{', '.join(agreeing)} says so too; the assertion stands beside it and may be revoked"
            self._find(entry, "agrees", said)
        elif dropped := sorted(key[3] for key in self.before if key[:3] == triple and key[3] != PROVIDER):
            self._find(entry, "dropped", f"{', '.join(dropped)} said so too and no longer does; the assertion stays")
        self.statements.append(
            {
                "id": f"{RUN}:{entry.line}",
                "import_run": RUN,
                "line": entry.line,
                "provider": PROVIDER,
                "subject": ends[0],
                "relation": entry.relation,
                "object": ends[1],
                "original_subject": entry.subject,
                "original_object": entry.object,
                "evidence": EVIDENCE,
                "reference": "|".join(entry.references),
                "qualifier": "",
                "date": entry.date,
                "assigned_by": f"ORCID:{entry.curator}",
                "note": entry.reason,
            }
        )
        self._apply(one, triple, PROVIDER, f"{RUN}:{entry.line}")

    def _retract(self, one: Standing, triple: tuple[str, str, str]) -> None:
        entry = one.entry
        key = (*triple, entry.provider)
        if key not in self.edges:
            self._gone(entry, f"{entry.provider} no longer says so; the retraction has nothing to hide")
            return
        if not entry.statement:
            self.whole.setdefault(key, entry)
            self._apply(one, triple, entry.provider, None)
            return
        found = [row for row in self.lines.get(key, []) if _same(row, entry.says)]
        if not found:
            self._gone(entry, f"{entry.provider} has no such statement any more; its edge stands as it is")
            return
        for row in found:
            self.single.setdefault(row["id"], entry)
        if not any(_unchanged(row, entry.says) for row in found):
            now = ", ".join(f"{name} {found[0][name]}" for name in MAY_CHANGE if found[0][name] is not None)
            said = f"{entry.provider} changed the statement since (now {now}); it stays hidden: look at it again"
            self._find(entry, "changed", said)
        self._apply(one, triple, entry.provider, found[0]["id"])

    def _gone(self, entry: Entry, message: str) -> None:
        self._find(entry, "no longer said", message, applied=False)

    def _apply(self, one: Standing, triple: tuple[str, str, str], provider: str, statement: str | None) -> None:
        entry = one.entry
        moved = ordered(*entry.edge) != triple
        self.applied.append(
            {
                "id": entry.id,
                "kind": entry.kind,
                **dict(zip(TRIPLE, triple, strict=True)),
                "provider": provider,
                "statement": statement,
                "curator": entry.curator,
                "reason": entry.reason,
                "references": list(entry.references),
                "date": entry.date,
                "original_subject": entry.subject if moved else None,
                "original_object": entry.object if moved else None,
                "reviewed_by": list(one.reviewed_by),
            }
        )

    def tables(self, settings: Settings) -> ReleaseTables:
        """Make the tables of the curated release."""
        for key, lines in self.lines.items():  # an edge whose every statement is retracted is retracted itself
            if key not in self.whole and lines and all(line["id"] in self.single for line in lines):
                self.whole[key] = self.single[lines[0]["id"]]
        partly = {key for key, lines in self.lines.items() if any(line["id"] in self.single for line in lines)}
        partly -= set(self.whole)
        made, kept = self._new_edges(partly, settings)
        touched = pl.DataFrame([*self.whole, *partly], schema=dict.fromkeys(_KEY, pl.String()), orient="row")
        base = self.base
        frames = {
            "edges": pl.concat([base["edges"].join(touched, on=_KEY, how="anti", maintain_order="left"), made]),
            "statements": pl.concat([base["statements"].filter(~pl.col("id").is_in(self._hidden_ids())), kept]),
            "retracted_edges": self._retracted_edges(partly),
            "retracted_statements": self._retracted_statements(),
            "assertions": _frame("assertions", self.applied),
        }
        frames["sources"] = pl.concat([base["sources"], self._source(settings)])
        frames["import_runs"] = pl.concat([base["import_runs"], self._run(settings)])
        return ReleaseTables.of({**base.frames, **frames})

    def _new_edges(self, partly: set[tuple[str, ...]], settings: Settings) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Return edges of assertions and of what is left of partly retracted ones, and the assertions' statements."""
        own = order_symmetric(_frame("statements", self.statements))
        parts = [with_content(edges_from_statements(own, provider_release=self.version, licence=settings.licence), own)]
        for key in sorted(partly):
            left = [line for line in self.lines[key] if line["id"] not in self.single]
            lines = _frame("statements", left)
            edge = self.edges[key]
            folded = edges_from_statements(lines, provider_release=edge["provider_release"], licence=edge["licence"])
            parts.append(with_content(folded, lines))
        return pl.concat(parts), own

    def _hidden_ids(self) -> list[str]:
        whole = [line["id"] for key in self.whole for line in self.lines.get(key, [])]
        return sorted({*whole, *self.single})

    def _retracted_edges(self, partly: set[tuple[str, ...]]) -> pl.DataFrame:
        rows = [
            {**self.edges[key], "whole": True, "retraction": entry.id, "reason": entry.reason}
            for key, entry in self.whole.items()
        ]
        for key in partly:
            entry = next(self.single[line["id"]] for line in self.lines[key] if line["id"] in self.single)
            rows.append({**self.edges[key], "whole": False, "retraction": entry.id, "reason": entry.reason})
        return _frame("retracted_edges", rows)

    def _retracted_statements(self) -> pl.DataFrame:
        rows = []
        for key, lines in self.lines.items():
            for line in lines:
                entry = self.single.get(line["id"]) or self.whole.get(key)
                if entry is not None:
                    rows.append({**line, "retraction": entry.id, "reason": entry.reason})
        return _frame("retracted_statements", rows)

    @property
    def _digest(self) -> tuple[str, int]:
        """sha256 and size of what was applied, as JSON."""
        text = msgspec.json.encode(self.applied, order="sorted")
        return hashlib.sha256(text).hexdigest(), len(text)

    @property
    def version(self) -> str:
        """The curated set's version: the day of its youngest entry."""
        return max(str(row["date"]) for row in self.applied)

    def _source(self, settings: Settings) -> pl.DataFrame:
        row = {
            "provider": PROVIDER,
            "title": "Curation",
            "version": self.version,
            "licence": settings.licence,
            "commercial_use": settings.commercial_use,
        }
        return _frame("sources", [row])

    def _run(self, settings: Settings) -> pl.DataFrame:
        sha256, size = self._digest
        row = {
            "id": RUN,
            "provider": PROVIDER,
            "kind": "log",
            "file": "log.jsonl",
            "sha256": sha256,
            "bytes": size,
            "version": self.version,
            "version_found": "youngest entry",
            "licence": settings.licence,
            "parser_version": "1",
            "rows_read": len(self.applied),
            "accepted": len(self.applied),
            "rejected": 0,
            "unresolved": 0,
            "set_aside": 0,
            "reasons": "{}",
        }
        return _frame("import_runs", [row])


def _lost(end: Followed) -> str:
    if end.problem == SPLIT:
        return f"{end.given} was split into {', '.join(end.candidates)}; enter it for the right one, and revoke this"
    return f"{end.given} is not in this release (withdrawn, or its file was left out); the entry waits"


def _same(row: Row, said: Mapping[str, str]) -> bool:
    """Tell whether a statement is the one that was retracted."""
    now = says(row)
    return all(now.get(name, "") == said.get(name, "") for name in ("file", *SAYS))


def _unchanged(row: Row, said: Mapping[str, str]) -> bool:
    now = says(row)
    return all(now.get(name, "") == said.get(name, "") for name in MAY_CHANGE)


def _frame(table: str, rows: list[Row]) -> pl.DataFrame:
    if not rows:
        return schema.empty(table)
    spec = schema.TABLES[table].columns
    return schema.conform(table, pl.DataFrame(rows, schema={name: spec[name] for name in rows[0]}))
