"""Complex Portal: curated complexes from a ComplexTAB file, free for any use (CC0), beside or instead of CORUM.

Format: https://www.ebi.ac.uk/complexportal/documentation/data_format#complextab. Tab-separated, one complex a line,
lists joined by "|", ``-`` for nothing; a participant is ``P84022(1)``: identifier and stoichiometry, 0 where unknown.
Members are proteins given by UniProt accession. Participants that are complexes themselves (``CPX-…``), small
molecules (``CHEBI:…``), RNA (``URS…``) and others are counted in the report and make no edge.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import ClassVar, Final

import polars as pl

from aroma.errors import InputFileError
from aroma.importers.base import FileKind, ImportBatch, ImportContext, Importer, ProviderCard, ProviderFile
from aroma.importers.lines import TextFile, open_text, reject_where, rejects_table, split_columns
from aroma.importers.membership import ComplexRow, Subunit, membership
from aroma.importers.runs import count_reasons, run_id, run_row
from aroma.kgstore.identifiers import Prefix, pattern

_COLUMNS: Final = {
    "Complex ac": "id",
    "Recommended name": "name",
    "Aliases for complex": "aliases",
    "Taxonomy identifier": "taxon",
    "Identifiers (and stoichiometry) of molecules in complex": "participants",
    "Evidence Code": "evidence",
    "Experimental evidence": "experiments",
    "Go Annotations": "go",
    "Cross references": "xrefs",
    "Description": "description",
}
_PARTICIPANT: Final = re.compile(r"(?P<id>.+?)\((?P<count>[0-9]+)\)")
_TERM: Final = re.compile(r"(?P<id>[^()]+)(?:\(.*\))?")
_OTHERS: Final = (
    (re.compile(r"CPX-[0-9]+"), "a complex within the complex"),
    (re.compile(r"CHEBI:[0-9]+"), "a small molecule"),
    (re.compile(r"URS[0-9A-F]+(_[0-9]+)?"), "an RNA"),
    (re.compile(r"\[.*\]"), "a set of alternative molecules"),
    (re.compile(r"EBI-[0-9]+"), "a molecule that only IntAct has"),
)
OTHER_SPECIES: Final = "another species"
NO_PROTEIN: Final = "no participant is a protein with a UniProt accession"


class ComplexPortalImporter(Importer):
    """Complex Portal, human (taxon 9606)."""

    card: ClassVar = ProviderCard(
        name="complex_portal",
        title="Complex Portal",
        homepage="https://www.ebi.ac.uk/complexportal",
        licence="CC0 1.0",
        licence_url="https://creativecommons.org/publicdomain/zero/1.0/",
        commercial_use=True,
    )
    files: ClassVar = (
        FileKind(
            "complextab",
            re.compile(r"9606(?:[._-](?P<version>[0-9]{4}-[0-9]{2}-[0-9]{2}))?\.tsv"),
            url="https://ftp.ebi.ac.uk/pub/databases/intact/complex/current/complextab/9606.tsv",
        ),
    )
    parser_version: ClassVar = "1"
    after: ClassVar = ("hgnc", "uniprot")

    def read(self, files: tuple[ProviderFile, ...], context: ImportContext) -> ImportBatch:
        """Read one ComplexTAB file.

        Raises:
            InputFileError: Another header, no rows, or no human complex.
        """
        (file,) = files
        text = open_text(file.path)
        run = run_id(self.card.name, file.kind, text.sha256)
        rows, rejects = _rows(text)
        human = rows.filter(pl.col("taxon") == "9606")
        if rows.height and human.is_empty():
            raise InputFileError(
                "the file has no human complex", file=text.path, line=2, expected="rows of taxonomy identifier 9606"
            )
        others: Counter[str] = Counter()
        read = [_complex(row, others) for row in human.iter_rows(named=True)]
        with_protein = [complex_ for complex_ in read if complex_.subunits]
        members = membership(self, with_protein, run=run, version=file.version, resolver=context.resolver)
        aside = {OTHER_SPECIES: rows.height - human.height, NO_PROTEIN: len(read) - len(with_protein)}
        row = run_row(
            self, file, text,
            accepted=members.accepted,
            rejected=count_reasons(rejects),
            set_aside={reason: count for reason, count in aside.items() if count},
            unresolved=members.without_member,
        )  # fmt: skip
        return ImportBatch(
            provider=self.card.name,
            runs=row,
            rejects=rejects_table([rejects], provider=self.card.name, import_run=run, file=text.name),
            nodes=members.nodes,
            edges=members.edges,
            statements=members.statements,
            unresolved=members.unresolved,
            reports={"complexes and subunits": members.counts, "participants set aside": dict(sorted(others.items()))},
        )


def _rows(text: TextFile) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return well-formed rows (``line`` and the values of ``_COLUMNS``) and rejects."""
    header = [name.strip() for name in text.head(1)[0].rstrip("\r").lstrip("#").split("\t")]
    missing = [name for name in _COLUMNS if name not in header]
    if missing:
        raise InputFileError(
            f"the header does not fit ComplexTAB; missing: {', '.join(missing)}",
            file=text.path,
            line=1,
            expected="'#Complex ac', 'Recommended name', … as the Complex Portal publishes them",
        )
    split = split_columns(text.lines.slice(1), [f"column {place}" for place in range(len(header))])
    rows = split.rows.select(
        "line", *(pl.col(f"column {header.index(name)}").alias(ours) for name, ours in _COLUMNS.items())
    )
    if rows.is_empty() and split.rejects.is_empty():
        raise InputFileError("the file has a header and no rows", file=text.path, line=2, expected="complexes")
    good, bad = reject_where(
        rows,
        [
            (~pl.col("id").str.contains(pattern(Prefix.COMPLEX_PORTAL)), "complex id is not CPX- and a number"),
            (~pl.col("id").is_first_distinct(), "complex id stands in an earlier line"),
            (pl.col("name").str.strip_chars().is_in(["", "-"]), "complex has no name"),
            (~pl.col("taxon").str.contains(r"^-?[0-9]+$"), "taxonomy identifier is not a number"),
            (pl.col("participants").str.strip_chars().is_in(["", "-"]), "complex has no participant"),
        ],
    )
    return good, pl.concat([split.rejects, bad]).sort("line")


def _complex(row: dict[str, str], others: Counter[str]) -> ComplexRow:
    xrefs = _terms(row["xrefs"])
    return ComplexRow(
        line=int(row["line"]),
        id=f"{Prefix.COMPLEX_PORTAL}:{row['id']}",
        original=row["id"],
        name=row["name"].strip(),
        subunits=_subunits(row["participants"], others),
        synonyms=_parts(row["aliases"]),
        description=row["description"].strip() if row["description"].strip() not in {"", "-"} else None,
        methods=_parts(row["evidence"]),
        evidence="|".join(_terms(row["evidence"])),
        references=[f"{Prefix.PUBMED}:{each[7:]}" for each in xrefs if re.fullmatch(r"pubmed:[0-9]{1,9}", each)],
        xrefs=[each for each in _terms(row["go"]) if re.fullmatch(r"GO:[0-9]{7}", each)],
        with_from="|".join(_terms(row["experiments"])),
    )


def _parts(value: str) -> list[str]:
    return list(dict.fromkeys(part for part in (each.strip() for each in value.split("|")) if part not in {"", "-"}))


def _terms(value: str) -> list[str]:
    """Return the identifiers of a list of ``ID(label)``."""
    found = [_TERM.fullmatch(part) for part in _parts(value)]
    return list(dict.fromkeys(match["id"].strip() for match in found if match))


def _subunits(participants: str, others: Counter[str]) -> list[Subunit]:
    made = []
    for part in _parts(participants):
        match = _PARTICIPANT.fullmatch(part)
        written, count = (match["id"], match["count"]) if match else (part, "0")
        reason = next((reason for form, reason in _OTHERS if form.fullmatch(written)), None)
        if reason is not None:
            others[reason] += 1
        else:
            made.append(Subunit(written, qualifier=f"stoichiometry {count}" if count != "0" else ""))
    return made
