"""The resolver's decisions as an SSSOM file."""

from __future__ import annotations

import csv
import io

import yaml

from aroma.kgstore.resolver import Resolution, Tier
from aroma.kgstore.sssom import to_sssom

DECISIONS = [
    Resolution("AARS", "HGNC:20", "AARS1", Tier.PREVIOUS),
    Resolution("TAZ", "HGNC:11577", "TAFAZZIN", Tier.PREVIOUS, None, ("HGNC:24042",), ("two tiers",)),
    Resolution("P49588", "HGNC:20", "AARS1", Tier.UNIPROT_ID),
    Resolution("P21", None, None, None, "ambiguous", ("HGNC:11616", "HGNC:1784")),
    Resolution('tab\there "quoted"', None, None, None, "unknown"),
]


def parts(text: str) -> tuple[dict[str, object], list[dict[str, str]]]:
    header = "".join(line[1:] for line in text.splitlines(keepends=True) if line.startswith("#"))
    body = "".join(line for line in text.splitlines(keepends=True) if not line.startswith("#"))
    return yaml.safe_load(header), list(csv.DictReader(io.StringIO(body), delimiter="\t"))


def test_the_header_has_what_sssom_requires() -> None:
    header, rows = parts(to_sssom(DECISIONS, release="r1"))
    assert str(header["mapping_set_id"]).startswith("https://")
    assert header["license"] == "https://creativecommons.org/publicdomain/zero/1.0/"
    assert header["object_source_version"] == "r1"
    prefixes = {
        row[column].split(":")[0] for row in rows for column in ("predicate_id", "object_id", "mapping_justification")
    }
    assert prefixes <= set(header["curie_map"])  # type: ignore[call-overload]


def test_every_name_is_a_row_whatever_became_of_it() -> None:
    _, rows = parts(to_sssom(DECISIONS))
    assert [row["subject_label"] for row in rows] == [one.query for one in DECISIONS]
    assert [row["object_id"] for row in rows] == [
        "HGNC:20", "HGNC:11577", "HGNC:20", "sssom:NoTermFound", "sssom:NoTermFound",
    ]  # fmt: skip
    assert {row["predicate_id"] for row in rows} == {"skos:exactMatch"}
    assert rows[0]["mapping_justification"] == "semapv:LexicalMatching"
    assert rows[2]["mapping_justification"] == "semapv:BackgroundKnowledgeBasedMatching"
    assert rows[1]["comment"] == "previous symbol; two tiers; also stands for HGNC:24042"
    assert rows[3]["comment"] == "ambiguous; stands between HGNC:11616, HGNC:1784"


def test_equal_decisions_give_equal_files_and_others_another_id() -> None:
    assert to_sssom(DECISIONS) == to_sssom(list(DECISIONS))
    first, _ = parts(to_sssom(DECISIONS))
    second, _ = parts(to_sssom(DECISIONS[:2]))
    assert first["mapping_set_id"] != second["mapping_set_id"]
