"""Lineage: one chain from a prediction to the checksums of the files behind it, and why two of them differ.

Prediction, checkpoint, training set and embeddings, snapshot, release, import runs, files. Everything is read from what
the parts say of themselves (cards, manifests, import runs), so that there is no second record that could be wrong.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import polars as pl

from aroma.errors import AromaError, UsageError
from aroma.kgstore.home import Home
from aroma.kgstore.outcome_origins import load_origin
from aroma.kgstore.releases import find_release, known_releases, load_manifest
from aroma.kgstore.tables import read_table
from aroma.model.identity import model_id, model_of_prediction
from aroma.model.plugin import CARD, Card, read_card
from aroma.model.prediction_origin import PredictionOrigin, read_prediction_origin
from aroma.model.serving.history import read_promotions
from aroma.model.serving.store import StoredModel, find_model, known_models
from aroma.model.serving.vector_origins import vector_sets_of
from aroma.retrieval.columns import file_sha256

_PARTS: Final = ("nodes", "edges")
"""Of a snapshot: views are laid out from these when they are asked for."""
_SHA: Final = re.compile(r"[0-9a-f]{12,64}")
_MODEL: Final = re.compile(r"m[0-9a-f]{1,16}")
_RUN: Final = (
    "provider",
    "kind",
    "version",
    "version_found",
    "file",
    "sha256",
    "url",
    "retrieved_at",
    "parser_version",
)


@dataclass(frozen=True, slots=True)
class Link:
    """One thing of the chain and what stands behind it.

    Attributes:
        kind: ``prediction``, ``checkpoint``, ``training set``, ``embedding``, ``snapshot``, ``release``,
            ``import run`` or ``file``.
        id: Its name by content.
        facts: What is known of it, JSON values.
        behind: What it was made from.
    """

    kind: str
    id: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    behind: tuple[Link, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return asdict(self)

    def walk(self) -> Iterator[Link]:
        """Yield this and everything behind it, outermost first."""
        yield self
        for link in self.behind:
            yield from link.walk()


def lineage(home: Home, asked: str) -> Link:
    """Return the chain behind a prediction, model, release or file.

    Args:
        home: Where everything is.
        asked: Prediction id, model id, release (as users name it), a file of predictions, a saved model's directory, a
            provider's file, or the first 12 digits or more of a file's sha256.

    Raises:
        UsageError: It is none of these, or not known here.
        ReleaseError: A release that is gone or damaged.
    """
    path = Path(asked)
    return _of_path(home, path) if path.exists() else _of_id(home, asked)


def _of_id(home: Home, asked: str) -> Link:
    if (model := model_of_prediction(asked)) is not None:
        return Link("prediction", asked, {"model": model}, (_of_model(home, find_model(home, model)),))
    if _MODEL.fullmatch(asked) and any(name.startswith(asked) for name in known_models(home)):
        return _of_model(home, find_model(home, asked))
    if _SHA.fullmatch(asked):
        return _of_file(home, asked)
    try:
        return of_release(home, find_release(home, asked))
    except AromaError as error:
        there = [*known_models(home), *known_releases(home)]
        raise UsageError(
            f"{asked!r} is no prediction, model, release, file or checksum that is known here; give one of them "
            f"(models and releases: {', '.join(there) or 'none'})"
        ) from error


def lineage_of_id(home: Home, asked: str) -> Link:
    """Return the chain behind an id or checksum; unlike ``lineage`` it opens no file that is named from outside.

    Raises:
        UsageError: It is not known here.
    """
    return _of_id(home, asked)


def _of_path(home: Home, path: Path) -> Link:
    if path.is_dir() and (path / CARD).exists():
        card = read_card(path)
        name = model_id(card)
        if name in known_models(home):
            return _of_model(home, find_model(home, name))
        return Link("checkpoint", name, _card_facts(card), (_training_set(card), *_ground(home, card)))
    if path.is_dir():
        raise UsageError(f"{path}: there is no model here; give a model's directory or a file")
    origin = read_prediction_origin(path)
    return _of_predictions(home, origin) if origin is not None else _of_file(home, file_sha256(path), path.name)


def _of_predictions(home: Home, origin: PredictionOrigin) -> Link:
    facts = asdict(origin)
    if origin.model in known_models(home):
        return Link("prediction", origin.prediction, facts, (_of_model(home, find_model(home, origin.model)),))
    note = "this model is not in the store of this home; put it there by aroma promote, or give its directory"
    gone = Link("checkpoint", origin.model, {"note": note}, (_release_or_gone(home, origin.release),))
    return Link("prediction", origin.prediction, facts, (gone,))


def _of_model(home: Home, model: StoredModel) -> Link:
    decisions = [
        {"action": entry.action, "at": entry.at, "reason": entry.reason}
        for entry in read_promotions(home)
        if entry.model == model.id
    ]
    facts = _card_facts(model.card) | {"decisions": decisions}
    training = _training_set(model.card, home, model)
    return Link("checkpoint", model.id, facts, (training, *_ground(home, model.card)))


def _card_facts(card: Card) -> dict[str, Any]:
    return {
        "plugin": card.plugin,
        "version": card.version,
        "seed": card.seed,
        "parameters": dict(card.parameters),
        "files": dict(card.files),
        "made_at": card.made_at,
    }


def _training_set(card: Card, home: Home | None = None, model: StoredModel | None = None) -> Link:
    facts: dict[str, Any] = {"rows": card.training_rows, "split": card.split, "withheld": card.withheld_rows}
    behind: tuple[Link, ...] = ()
    if home is not None and model is not None:
        facts |= {"outcomes": model.origin.outcomes, "outcomes_sha256": model.origin.outcomes_sha256}
        if model.origin.outcomes_sha256 is not None:
            runs = load_origin(home, sha256=model.origin.outcomes_sha256).tables["import_runs"]
            behind = tuple(_import_run(row) for row in runs.iter_rows(named=True))
    return Link("training set", card.training_sha256, facts, behind)


def _ground(home: Home, card: Card) -> tuple[Link, ...]:
    """Return the embeddings that a model reads, and its release with the snapshot before it."""
    sets = [
        Link(
            "embedding",
            one.card.id,
            {
                "encoder": one.card.name,
                "digest": one.digest,
                "weights_sha256": one.card.weights_sha256,
                "release": one.release,
                "run": one.facts.get("run"),
            },
        )
        for one in vector_sets_of(home, card)
    ]
    return (*sets, _snapshot(home, card.release))


def _snapshot(home: Home, release: str) -> Link:
    manifests = {part: home.snapshot(release) / part / "manifest.json" for part in _PARTS}
    sums = {part: file_sha256(path) for part, path in manifests.items() if path.is_file()}
    return Link("snapshot", release, {"parts": sums}, (_release_or_gone(home, release),))


def _release_or_gone(home: Home, release: str) -> Link:
    if release not in known_releases(home):
        return Link("release", release, {"note": "its tables are not here any more"})
    return of_release(home, release)


def of_release(home: Home, release: str) -> Link:
    """Return the chain behind a release: import runs and their files, provider versions, applied assertions."""
    manifest, directory = load_manifest(home, release), home.release(release)
    runs = read_table(directory, "import_runs")
    sources = read_table(directory, "sources", ["provider", "version"])
    facts = {
        "created_at": manifest.created_at,
        "schema_version": manifest.schema_version,
        "digests": dict(manifest.digests),
        "versions": dict(sources.iter_rows()),
        "accepted_gates": list(manifest.accepted),
        "assertions": sorted(read_table(directory, "assertions", ["id"])["id"].to_list()),
    }
    behind = tuple(_import_run(row) for row in runs.sort("id").iter_rows(named=True))
    return Link("release", release, facts, behind)


def _import_run(row: Mapping[str, Any]) -> Link:
    facts = {name: row[name] for name in _RUN} | {"rows_read": row["rows_read"], "accepted": row["accepted"]}
    return Link("import run", str(row["id"]), facts, (Link("file", str(row["sha256"]), {"file": row["file"]}),))


def _of_file(home: Home, sha256: str, name: str = "") -> Link:
    """Return a file with the import runs that read it, and what was made from them (this way round)."""
    runs: dict[str, dict[str, Any]] = {}
    releases: dict[str, list[str]] = {}
    for release in known_releases(home):
        table = read_table(home.release(release), "import_runs")
        for row in table.filter(pl.col("sha256").str.starts_with(sha256)).iter_rows(named=True):
            runs[row["id"]] = row
            releases.setdefault(row["id"], []).append(release)
    for row in load_origin(home).tables["import_runs"].iter_rows(named=True):
        if str(row["sha256"]).startswith(sha256):
            runs[row["id"]] = row
    if not runs:
        raise UsageError(f"{name or sha256}: no import run of this home read a file with this checksum ({sha256[:12]})")
    whole = {str(row["sha256"]) for row in runs.values()}
    if len(whole) > 1:
        raise UsageError(f"{len(whole)} files begin with {sha256}; give more digits")
    models = [find_model(home, model) for model in known_models(home)]
    used = sorted({release for found in releases.values() for release in found})
    facts = {
        "file": next(iter(runs.values()))["file"],
        "import_runs": sorted(runs),
        "releases": used,
        "models": [model.id for model in models if model.card.release in used],
    }
    return Link("file", whole.pop(), facts)


@dataclass(frozen=True, slots=True)
class Difference:
    """One input that differs between two chains.

    Attributes:
        what: ``file``, ``provider version``, ``assertion``, ``setting``, ``training rows``, ``embedding``, ….
        name: Which one.
        before: In the first; None where it is not there.
        after: In the second.
    """

    what: str
    name: str
    before: Any
    after: Any

    def sentence(self) -> str:
        """Return it for a person."""
        return f"{self.what} {self.name}: {_shown(self.before)} before, {_shown(self.after)} now"


def why_changed(home: Home, one: str, other: str) -> list[Difference]:
    """Return which inputs differ between two predictions, models or releases; none: the same inputs.

    Raises:
        UsageError: One of them is not known here.
    """
    return _differences(home, lineage(home, one), lineage(home, other))


def why_changed_by_id(home: Home, one: str, other: str) -> list[Difference]:
    """Return the same of two ids; no file that is named from outside is opened.

    Raises:
        UsageError: One of them is not known here.
    """
    return _differences(home, lineage_of_id(home, one), lineage_of_id(home, other))


def _differences(home: Home, first: Link, second: Link) -> list[Difference]:
    before, after = _inputs(first), _inputs(second)
    found = [
        Difference(what, name, before.get((what, name)), after.get((what, name)))
        for what, name in sorted(before.keys() | after.keys())
        if before.get((what, name)) != after.get((what, name))
    ]
    return found + _row_changes(home, first, second)


def _inputs(link: Link) -> dict[tuple[str, str], Any]:
    """Return every input of a chain by what it is and its name."""
    found: dict[tuple[str, str], Any] = {}
    for one in link.walk():
        facts = one.facts
        if one.kind == "prediction":
            found["question", "rows asked"] = facts.get("inputs_sha256", one.id.partition(".")[2])
        elif one.kind == "checkpoint":
            found["plug-in", "version"] = f"{facts.get('plugin')} {facts.get('version')}"
            found["setting", "seed"] = facts.get("seed")
            found |= {("setting", str(name)): value for name, value in dict(facts.get("parameters", {})).items()}
        elif one.kind == "training set":
            found["training set", "split"] = facts["split"]
            found["training set", "rows"] = facts["rows"]
            found["training set", "checksum"] = one.id
        elif one.kind == "embedding":
            found["embedding", str(facts["encoder"])] = facts["digest"]
        elif one.kind == "release":
            found["setting", "schema version"] = facts.get("schema_version")
            found |= {("provider version", str(name)): said for name, said in dict(facts.get("versions", {})).items()}
            found |= {("assertion", str(name)): "applied" for name in facts.get("assertions", ())}
        elif one.kind == "import run":
            key = f"{facts['provider']} {facts['kind']}"
            many = f" {facts['file']}" if facts["provider"] == "perturbqa" else ""
            found["file", key + many] = facts["sha256"]
            found["parser", str(facts["provider"])] = facts["parser_version"]
    return found


def _row_changes(home: Home, one: Link, other: Link) -> list[Difference]:
    """Return how the training rows of two stored models differ, counted."""
    models = [next((link.id for link in chain.walk() if link.kind == "checkpoint"), None) for chain in (one, other)]
    known = known_models(home)
    if models[0] == models[1] or not all(model in known for model in models):
        return []
    keys = ["cell_line", "perturbation", "target"]
    first, second = (find_model(home, str(model)).training_rows() for model in models)
    both = first.join(second, on=keys, how="inner", suffix="_other")
    counts = {
        "removed": first.height - both.height,
        "added": second.height - both.height,
        "with another label": both.filter(pl.col("label") != pl.col("label_other")).height,
        "with another gene": both.filter(
            pl.col("perturbation_gene").ne_missing(pl.col("perturbation_gene_other"))
            | pl.col("target_gene").ne_missing(pl.col("target_gene_other"))
        ).height,
    }
    return [Difference("training rows", name, 0, count) for name, count in counts.items() if count]


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text[:12] if _SHA.fullmatch(text) else text
