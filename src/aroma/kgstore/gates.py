"""Gates: what must hold before a release is published. Each has a name, by which it can be let pass."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import polars as pl

from aroma.errors import GateStoppedError, UsageError
from aroma.kgstore import schema
from aroma.kgstore.counting import kind_changes, said_counts
from aroma.kgstore.curation import PROVIDER as CURATION
from aroma.kgstore.tables import ReleaseTables

LARGEST_FALL: Final = 0.10
"""Share by which a count may fall against the published release before a gate stops it."""

DANGLING: Final = "dangling-ends"
DUPLICATE: Final = "duplicate-keys"
WRONG_ENDS: Final = "wrong-ends"


@dataclass(frozen=True, slots=True)
class Finding:
    """One gate that does not hold.

    Attributes:
        gate: Name for ``--accept``: ``dangling-ends``, ``duplicate-keys``, ``wrong-ends``,
            ``minimum:<provider>``, ``file-kind:<provider>``, ``fall:<provider>.<thing>``.
        message: What was found, with examples and, for a fall, what may explain it.
    """

    gate: str
    message: str


def check_gates(new: ReleaseTables, old: ReleaseTables | None) -> list[Finding]:
    """Return all gates that do not hold, in a fixed order."""
    findings = [*_duplicate_keys(new), *_dangling(new), *_wrong_ends(new), *_minimum(new)]
    if old is not None:
        findings += [*_kinds(new, old), *_falls(new, old)]
    return findings


def stop_unless_accepted(findings: Iterable[Finding], accepted: Iterable[str]) -> tuple[str, ...]:
    """Return the gates that stopped and were accepted by name, sorted.

    Raises:
        GateStoppedError: A gate stopped and was not accepted.
        UsageError: A name was accepted that is no gate of this build (a typing error would pass unseen otherwise).
    """
    found = list(findings)
    names = {finding.gate for finding in found}
    wanted = set(accepted)
    stopped = [finding for finding in found if finding.gate not in wanted]
    if stopped:
        lines = "\n".join(f"  {finding.gate}: {finding.message}" for finding in stopped)
        options = " ".join(f"--accept {finding.gate}" for finding in stopped)
        raise GateStoppedError(
            f"{len(stopped)} gate(s) stopped the release:\n{lines}\nthe published release is unchanged; "
            f"to let them pass: {options}",
            gates=tuple(finding.gate for finding in stopped),
        )
    for name in sorted(wanted - names):
        if not _is_gate_name(name):
            near = difflib.get_close_matches(name, [*names, DANGLING, DUPLICATE, WRONG_ENDS], n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise UsageError(f"--accept {name}: there is no such gate{hint}")
    return tuple(sorted(wanted & names))


def drop_accepted(tables: ReleaseTables, accepted: Iterable[str]) -> ReleaseTables:
    """Leave out the rows that an accepted structural gate found; the database cannot hold them."""
    names = set(accepted)
    frames = dict(tables.frames)
    if DUPLICATE in names:
        for name, spec in schema.TABLES.items():
            frames[name] = frames[name].unique(subset=spec.key, keep="first", maintain_order=True)
    ids = frames["nodes"]["id"].implode()
    if DANGLING in names:
        edges = frames["edges"]
        frames["edges"] = edges.filter(pl.col("subject").is_in(ids) & pl.col("object").is_in(ids))
    if WRONG_ENDS in names:
        bad = _edges_with_wrong_ends(ReleaseTables(frames))
        key = list(schema.TABLES["edges"].key)
        frames["edges"] = frames["edges"].join(bad.select(key), on=key, how="anti", maintain_order="left")
    return ReleaseTables.of(frames)


def _is_gate_name(name: str) -> bool:
    return name in {DANGLING, DUPLICATE, WRONG_ENDS} or name.startswith(("minimum:", "file-kind:", "fall:"))


def _duplicate_keys(tables: ReleaseTables) -> list[Finding]:
    said = []
    for name, spec in schema.TABLES.items():
        frame = tables[name]
        duplicated = frame.filter(frame.select(spec.key).is_duplicated())
        if duplicated.height:
            example = " ".join(str(value) for value in duplicated.select(spec.key).row(0))
            said.append(f"{duplicated.height:,} rows of table {name} share a key, the first is {example}")
    return [Finding(DUPLICATE, "; ".join(said))] if said else []


def _dangling(tables: ReleaseTables) -> list[Finding]:
    ids = tables["nodes"]["id"].implode()
    edges = tables["edges"]
    hanging = edges.filter(~(pl.col("subject").is_in(ids) & pl.col("object").is_in(ids)))
    if not hanging.height:
        return []
    row = hanging.row(0, named=True)
    by_provider = ", ".join(
        f"{name} {rows:,}" for name, rows in hanging.group_by("provider").len().sort("provider").rows()
    )
    return [
        Finding(
            DANGLING,
            f"{hanging.height:,} edges end at a node that is not there ({by_provider}), the first is "
            f"{row['subject']} {row['relation']} {row['object']}; accepting leaves them out",
        )
    ]


def _edges_with_wrong_ends(tables: ReleaseTables) -> pl.DataFrame:
    labels = tables["nodes"].select("id", "label")
    ends = (
        tables["edges"]
        .select(*schema.TABLES["edges"].key)
        .join(labels.rename({"id": "subject", "label": "from"}), on="subject")
        .join(labels.rename({"id": "object", "label": "to"}), on="object")
    )
    allowed = pl.DataFrame(
        [
            {"relation": str(relation), "from": str(start), "to": str(end)}
            for relation, pair in schema.RELATION_ENDS.items()
            for start in pair.subjects
            for end in pair.objects
        ]
    )
    return ends.join(allowed, on=["relation", "from", "to"], how="anti")


def _wrong_ends(tables: ReleaseTables) -> list[Finding]:
    bad = _edges_with_wrong_ends(tables)
    if not bad.height:
        return []
    row = bad.row(0, named=True)
    return [
        Finding(
            WRONG_ENDS,
            f"{bad.height:,} edges join labels that their relation does not, the first is {row['subject']} "
            f"({row['from']}) {row['relation']} {row['object']} ({row['to']}); accepting leaves them out",
        )
    ]


def _minimum(tables: ReleaseTables) -> list[Finding]:
    runs = tables["import_runs"].filter((pl.col("accepted") == 0) & (pl.col("provider") != CURATION))
    return [
        Finding(f"minimum:{provider}", f"no row of {file} was accepted, of {rows:,} read")
        for provider, file, rows in runs.select("provider", "file", "rows_read").iter_rows()
    ]


def _kinds(new: ReleaseTables, old: ReleaseTables) -> list[Finding]:
    """Stop where a provider was read from another kind of file: what then differs is the file's doing."""
    return [Finding(f"file-kind:{name}", "; ".join(said)) for name, said in kind_changes(new, old).items()]


def _falls(new: ReleaseTables, old: ReleaseTables) -> list[Finding]:
    now, before = said_counts(new), said_counts(old)
    explained = kind_changes(new, old)
    findings = []
    for key, rows in before.items():
        if key.startswith(f"{CURATION}."):  # a curator who revokes an assertion means it
            continue
        if now.get(key, 0) < rows * (1 - LARGEST_FALL):
            fall = 100 * (1 - now.get(key, 0) / rows)
            why = "; ".join(explained.get(key.partition(".")[0], []))
            said = f"{rows:,} before, {now.get(key, 0):,} now, {fall:.1f} % fewer"
            findings.append(Finding(f"fall:{key}", f"{said} (change of file kind: {why})" if why else said))
    return findings
