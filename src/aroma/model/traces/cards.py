"""The cards of a trace data set: Croissant 1.1 metadata (JSON-LD, MLCommons) for programs, Markdown for people.

The licence of every provider whose data is in prompts and traces stands on both; one that forbids commercial use binds
the data set.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import polars as pl

from aroma.kgstore.outcomes import LABELS
from aroma.kgstore.publications import write_durably
from aroma.model.traces.data_set import TABLE, Facts, drop_reasons, kept_shares
from aroma.model.traces.rows import TRACES

CROISSANT: Final = "croissant.json"
README: Final = "README.md"
CONFORMS_TO: Final = "http://mlcommons.org/croissant/1.1"
_PARQUET: Final = "application/x-parquet"
_CONTEXT: Final[dict[str, Any]] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
_TYPES: Final[Mapping[pl.DataType, str]] = {
    pl.String(): "sc:Text",
    pl.Int8(): "cr:Int8",
    pl.Boolean(): "sc:Boolean",
}
_MEANING: Final = {
    "cell_line": "Cell line in which the outcome was measured.",
    "perturbation": "Gene that was knocked down, as written in the outcomes.",
    "target": "Gene whose expression was read out, as written in the outcomes.",
    "label": "Measured outcome: 0 not significantly changed, 1 downregulated, 2 upregulated.",
    "prompt": "What a model is asked, evidence included.",
    "reasoning": "The reasoning, without tags.",
    "answer": "The answer as the writer gave it.",
    "kind": "template (no model), informed (the writer was told the outcome) or blind (it was not).",
    "writer": "Model that wrote, or template.",
    "evidence_id": "sha256 of the evidence object as JSON.",
    "split": "sft for the first training stage, grpo for the second.",
    "kept": "False where a filter dropped the row.",
    "reason": "Why it was dropped.",
}
_LIMITS: Final = (
    "A trace is an explanation written after the measurement, or guessed before it; it is no evidence of a mechanism. "
    "Where the writer was told the outcome (kind informed, template), agreement with it proves nothing."
)


def croissant(facts: Facts, url: str | None = None) -> dict[str, Any]:
    """Return the Croissant metadata of a data set.

    Args:
        facts: How it was made.
        url: Where it is published; by default the table's place beside the card.
    """
    fields = [
        {
            "@type": "cr:Field",
            "@id": f"traces/{name}",
            "name": name,
            "description": _MEANING[name],
            "dataType": _TYPES[dtype],
            "source": {"fileObject": {"@id": TABLE}, "extract": {"column": name}},
        }
        for name, dtype in TRACES.items()
    ]
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "name": facts.name,
        "description": description(facts),
        "conformsTo": CONFORMS_TO,
        "url": url or TABLE,
        "version": f"1.0.0+{facts.sha256[:12]}",
        "datePublished": facts.made_at,
        "creator": {"@type": "sc:Organization", "name": "made with aroma-evidence"},
        "license": [f"{one.provider}: {one.licence}" for one in facts.licences] or ["unknown"],
        "citeAs": f"{facts.name}, sha256 {facts.sha256}, of aroma release {facts.release}",
        "keywords": ["gene perturbation", "reasoning", "CRISPR interference", *facts.kinds],
        "isLiveDataset": False,
        "rai:dataCollection": f"Measured outcomes: {facts.outcomes}; training rows of split {facts.split}.",
        "rai:dataLimitations": _LIMITS,
        "rai:dataAnnotationProtocol": f"Written by {', '.join(facts.writers)} ({', '.join(facts.kinds)}).",
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": TABLE,
                "name": TABLE,
                "description": "All traces, kept and dropped.",
                "contentUrl": TABLE,
                "encodingFormat": _PARQUET,
                "sha256": facts.sha256,
            }
        ],
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": "traces",
                "name": "traces",
                "description": "One row a trace.",
                "field": fields,
            }
        ],
    }


def description(facts: Facts) -> str:
    """Return what the data set is, in a few sentences."""
    use = "" if facts.commercial_use else " A licence of its sources forbids commercial use."
    return (
        f"{facts.rows:,} reasoning traces on gene perturbations, from measured outcomes ({facts.outcomes}) and "
        f"evidence of release {facts.release}. {_LIMITS}{use}"
    )


def markdown(facts: Facts, frame: pl.DataFrame) -> str:
    """Return the card for people; ``frame`` is the table."""
    kept, placeholders = int(frame["kept"].sum()), "with" if facts.multimodal else "without"
    lines = [
        f"# {facts.name}",
        "",
        description(facts),
        "",
        *facts.notes,
        "",
        "| | |",
        "|---|---|",
        f"| rows | {facts.rows:,}, of which {kept:,} are kept |",
        f"| for the first and second stage | {_stages(frame)} (of {facts.reserve:,} a cell line asked) |",
        f"| written by | {', '.join(facts.writers)} ({', '.join(facts.kinds)}) |",
        f"| release | {facts.release} |",
        f"| outcomes | {facts.outcomes} |",
        f"| split, seed | {facts.split}, {facts.seed} |",
        f"| prompt | template {facts.template}, budget {facts.budget or 'none'}, {placeholders} placeholders |",
        f"| sha256 | {facts.sha256} |",
        f"| made at | {facts.made_at} |",
        "",
        "## Licences",
        "",
        *_licences(facts),
        "",
        "## Kept, by cell line and outcome",
        "",
        "| cell line | outcome | rows | kept | share |",
        "|---|---|---|---|---|",
        *(
            f"| {row['cell_line']} | {LABELS[row['label']]} | {row['rows']:,} | {row['kept']:,} | {row['share']:.1%} |"
            for row in kept_shares(frame).iter_rows(named=True)
        ),
        "",
        *_dropped(frame),
        "## Columns",
        "",
        "| column | meaning |",
        "|---|---|",
        *(f"| `{name}` | {meaning} |" for name, meaning in _MEANING.items()),
        "",
        "## Steps",
        "",
        *(f"{number}. `{json.dumps(step, ensure_ascii=False)}`" for number, step in enumerate(facts.steps, start=1)),
    ]
    return "\n".join(lines) + "\n"


def write_cards(directory: Path, facts: Facts, frame: pl.DataFrame, url: str | None = None) -> None:
    """Write both cards into a data set's directory."""
    text = json.dumps(croissant(facts, url), indent=1, ensure_ascii=False)
    write_durably(directory / CROISSANT, text + "\n")
    write_durably(directory / README, markdown(facts, frame))


def _stages(frame: pl.DataFrame) -> str:
    counts: dict[str, int] = dict(frame.group_by("split").len().iter_rows())
    return f"{counts.get('sft', 0):,} and {counts.get('grpo', 0):,}"


def _licences(facts: Facts) -> list[str]:
    if not facts.licences:
        return ["No provider's data is named."]
    binding = [one.provider for one in facts.licences if not one.commercial_use]
    table = ["| provider | licence | commercial use |", "|---|---|---|"]
    table += [f"| {one.provider} | {one.licence} | {'yes' if one.commercial_use else 'no'} |" for one in facts.licences]
    if binding:
        table += ["", f"**No commercial use**: {', '.join(binding)} forbid it, and so does this data set."]
    return table


def _dropped(frame: pl.DataFrame) -> list[str]:
    reasons = drop_reasons(frame)
    if not reasons:
        return []
    rows = [f"| {reason} | {count:,} |" for reason, count in reasons.items()]
    return ["## Dropped", "", "| reason | rows |", "|---|---|", *rows, ""]
