"""CORUM: experimentally verified complexes become ``Complex`` nodes and ``MEMBER_OF`` edges of their subunits.

Formats: the tab-separated files ``allComplexes`` and ``coreComplexes`` of CORUM 3.0 and 4.x
(https://mips.helmholtz-muenchen.de/corum/download; Tsitsiridis et al. 2023, Nucleic Acids Research 51:D539), and the
lower-case column names of CORUM 5, whose comment fields hold line breaks. Columns are found by their header names.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final

import polars as pl

from aroma.errors import InputFileError
from aroma.importers.base import FileKind, ImportBatch, ImportContext, Importer, ProviderCard, ProviderFile
from aroma.importers.lines import TextFile, open_text, rejects_table
from aroma.importers.membership import ComplexRow, Subunit, membership
from aroma.importers.runs import count_reasons, run_id, run_row
from aroma.importers.versions import version_key
from aroma.kgstore.identifiers import Prefix

_LAYOUTS: Final[tuple[Mapping[str, str], ...]] = (
    {  # 3.0 and 4.x
        "id": "ComplexID",
        "name": "ComplexName",
        "organism": "Organism",
        "synonyms": "Synonyms",
        "uniprot": "subunits(UniProt IDs)",
        "entrez": "subunits(Entrez IDs)",
        "methods": "Protein complex purification method",
        "go": "GO ID",
        "comment": "Complex comment",
        "pubmed": "PubMed ID",
    },
    {  # 5
        "id": "complex_id",
        "name": "complex_name",
        "organism": "organism",
        "synonyms": "synonyms",
        "uniprot": "subunits_uniprot_id",
        "methods": "purification_methods",
        "go": "functions_go_id",
        "comment": "comment_complex",
        "pubmed": "pmid",
    },
)
_GENE_ID: Final = re.compile(r"[0-9]{1,10}")
_ABSENT: Final = ("", "none", "null", "na", "-")
_METHOD_CODE: Final = re.compile(r"MI:[0-9]{4}")
_NEW_ROW: Final = re.compile(r"[0-9]+\t")
_NAME: Final = r"(?:corum_)?{stem}(?:[._-]v?(?P<version>[0-9]+(?:\.[0-9]+)*))?\.txt"
NOT_HUMAN: Final = "another species"
_SHOWN: Final = 300


@dataclass(frozen=True, slots=True)
class _Table:
    """Rows as field dictionaries by our names, with their line; and rejects."""

    rows: list[tuple[int, dict[str, str]]]
    rejects: list[tuple[int, str, str]]


class CorumImporter(Importer):
    """CORUM, human complexes."""

    card: ClassVar = ProviderCard(
        name="corum",
        title="CORUM",
        homepage="https://mips.helmholtz-muenchen.de/corum",
        licence="CC BY-NC 4.0",
        licence_url="https://creativecommons.org/licenses/by-nc/4.0/",
        commercial_use=False,
    )
    files: ClassVar = (
        FileKind("all", re.compile(_NAME.format(stem="(?:all|human)Complexes")), group="complexes"),
        FileKind("core", re.compile(_NAME.format(stem="coreComplexes")), group="complexes"),
    )
    parser_version: ClassVar = "1"
    after: ClassVar = ("hgnc", "uniprot")

    def select(self, files: tuple[ProviderFile, ...]) -> tuple[ProviderFile, ...]:
        """Choose the newest file; of one version, all complexes before the core set. Never both."""
        best = sorted(files, key=lambda file: (version_key(file.version), file.kind == "all"))
        return tuple(best[-1:])

    def read(self, files: tuple[ProviderFile, ...], context: ImportContext) -> ImportBatch:
        """Read one file of complexes.

        Raises:
            InputFileError: Another header, no rows, or no human complex.
        """
        (file,) = files
        text = open_text(file.path)
        run = run_id(self.card.name, file.kind, text.sha256)
        table = _read_table(text)
        human, aside = _human(text, table)
        complexes, rejects = _complexes(human)
        members = membership(self, complexes, run=run, version=file.version, resolver=context.resolver)
        rejected = pl.DataFrame(
            sorted({*table.rejects, *rejects}),
            schema={"line": pl.Int64, "reason": pl.String, "text": pl.String},
            orient="row",
        )
        row = run_row(
            self, file, text,
            accepted=members.accepted,
            rejected=count_reasons(rejected),
            set_aside={NOT_HUMAN: aside} if aside else {},
            unresolved=members.without_member,
        )  # fmt: skip
        return ImportBatch(
            provider=self.card.name,
            runs=row,
            rejects=rejects_table([rejected], provider=self.card.name, import_run=run, file=text.name),
            nodes=members.nodes,
            edges=members.edges,
            statements=members.statements,
            unresolved=members.unresolved,
            reports={"complexes and subunits": members.counts},
        )


def _read_table(text: TextFile) -> _Table:
    header = [name.strip().strip('"') for name in text.head(1)[0].rstrip("\r").lstrip("\ufeff").split("\t")]
    layout = next((each for each in _LAYOUTS if set(each.values()) <= set(header)), None)
    if layout is None:
        raise InputFileError(
            "the header does not fit a CORUM file of complexes",
            file=text.path,
            line=1,
            expected="tab-separated columns with " + ", ".join(repr(name) for name in _LAYOUTS[0].values()),
        )
    at = {ours: header.index(theirs) for ours, theirs in layout.items()}
    rows, rejects = [], []
    for line, whole in _logical_lines(text, len(header), join="complex_id" in header):
        fields = whole.split("\t")
        if "\ufffd" in whole or "\x00" in whole:
            rejects.append((line, "bytes that are not UTF-8 text", whole[:_SHOWN]))
        elif len(fields) != len(header):
            rejects.append((line, f"{len(fields)} columns instead of {len(header)}", whole[:_SHOWN]))
        else:
            rows.append((line, {name: _clean(fields[place]) for name, place in at.items()}))
    if not rows and not rejects:
        raise InputFileError("the file has a header and no rows", file=text.path, line=2, expected="complexes")
    return _Table(rows, rejects)


def _logical_lines(text: TextFile, columns: int, *, join: bool) -> list[tuple[int, str]]:
    """Return rows with their first line; where comments hold line breaks, a row goes on until it is complete."""
    made: list[tuple[int, str]] = []
    for line, whole in text.lines.slice(1).iter_rows():
        open_row = join and made and made[-1][1].count("\t") < columns - 1 and not _NEW_ROW.match(whole)
        last_field = join and made and not open_row and not _NEW_ROW.match(whole) and "\t" not in whole
        if open_row or last_field:
            made[-1] = (made[-1][0], f"{made[-1][1]} {whole}")
        else:
            made.append((line, whole))
    return made


def _clean(value: str) -> str:
    value = value.strip()
    if len(value) > 1 and value.startswith('"') and value.endswith('"'):
        value = value[1:-1].replace('""', '"').strip()
    return "" if value.lower() in _ABSENT else value


def _human(text: TextFile, table: _Table) -> tuple[list[tuple[int, dict[str, str]]], int]:
    human = [(line, row) for line, row in table.rows if "human" in row["organism"].lower()]
    others = Counter(row["organism"] for _, row in table.rows) - Counter(row["organism"] for _, row in human)
    if table.rows and not human:
        raise InputFileError(
            f"the file has no human complex; its organisms are {', '.join(sorted(others)) or 'not given'}",
            file=text.path,
            line=table.rows[0][0],
            expected="rows whose Organism is Human",
        )
    return human, sum(others.values())


def _complexes(rows: list[tuple[int, dict[str, str]]]) -> tuple[list[ComplexRow], list[tuple[int, str, str]]]:
    made, rejects = [], []
    seen: set[str] = set()
    for line, row in rows:
        shown = "\t".join(row.values())[:_SHOWN]
        if not re.fullmatch(r"[0-9]{1,6}", row["id"]):
            rejects.append((line, "complex id is not a number", shown))
        elif row["id"] in seen:
            rejects.append((line, "complex id stands in an earlier line", shown))
        elif not row["name"]:
            rejects.append((line, "complex has no name", shown))
        elif not (subunits := _subunits(row["uniprot"], row.get("entrez", ""))):
            rejects.append((line, "complex has no subunit", shown))
        else:
            seen.add(row["id"])
            made.append(_complex(line, row, subunits))
    return made, rejects


def _complex(line: int, row: dict[str, str], subunits: list[Subunit]) -> ComplexRow:
    methods = [re.sub(r"^(MI:[0-9]{4})-?\s*", r"\1 ", part) for part in _parts(row["methods"])]
    codes = _METHOD_CODE.findall(row["methods"])
    pubmed = [part for part in re.split(r"[;,\s]+", row["pubmed"]) if re.fullmatch(r"[0-9]{1,9}", part)]
    go = [part for part in _parts(row["go"]) if re.fullmatch(r"GO:[0-9]{7}", part)]
    return ComplexRow(
        line=line,
        id=f"{Prefix.CORUM}:{row['id']}",
        original=row["id"],
        name=row["name"],
        subunits=subunits,
        synonyms=_parts(row["synonyms"]),
        description=row["comment"] or None,
        methods=methods,
        evidence="|".join(dict.fromkeys(codes or methods)),
        references=[f"{Prefix.PUBMED}:{number}" for number in dict.fromkeys(pubmed)],
        xrefs=list(dict.fromkeys(go)),
    )


def _parts(value: str) -> list[str]:
    """Split a ``;`` list; blanks, ``None`` and repeats fall out."""
    return list(dict.fromkeys(part for part in (_clean(each) for each in value.split(";")) if part))


def _subunits(uniprot: str, entrez: str) -> list[Subunit]:
    """Pair accessions with NCBI gene ids by place, where both lists are of one length."""
    accessions = [_clean(each) for each in uniprot.split(";")]
    genes = [_clean(each) for each in entrez.split(";")]
    beside = genes if len(genes) == len(accessions) else [""] * len(accessions)
    pairs = dict.fromkeys(zip(accessions, beside, strict=True))
    return [
        Subunit(written, gene if _GENE_ID.fullmatch(gene) else None)
        for written, gene in pairs
        if written or _GENE_ID.fullmatch(gene)
    ]
