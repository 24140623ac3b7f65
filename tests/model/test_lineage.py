"""Lineage: from a prediction to the checksum of the provider's file, and why two predictions differ."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import polars as pl
import pytest
from starlette.testclient import TestClient

from aroma.api.app import create_app
from aroma.api.settings import Settings
from aroma.cli.app import run
from aroma.errors import InputFileError, UsageError
from aroma.kgstore.home import Home
from aroma.kgstore.outcomes import list_outcomes, load_outcomes
from aroma.kgstore.publications import require_published
from aroma.model.ground import Ground
from aroma.model.lineage import lineage, why_changed
from aroma.model.plugin import Training
from aroma.model.predicting import open_model, predict_file
from aroma.model.prediction_origin import read_prediction_origin, sidecar
from aroma.model.registry import plugin
from aroma.model.serving.store import Origin, StoredModel, add_model
from tests.support.homes import home_of_files
from tests.support.samples import BUNDLED


def add_stored(home: Home, place: Path, release: str | None = None, *, rows: int | None = None) -> StoredModel:
    """Train on the stored outcomes of the samples and put the model into the store."""
    ground, version = Ground(home, release), list_outcomes(home)[-1].sha256
    outcomes = load_outcomes(home, version)
    learned = ground.rows(outcomes if rows is None else outcomes.head(rows))
    plugin("gene-frequency").fit(Training(learned), ground).save(place)
    return add_model(home, place, learned, Origin("stored", version))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home with two releases: CORUM 3.0 and GO 2021-12, then CORUM 4.1 and GO 2022-07; outcomes stored."""
    at = tmp_path_factory.mktemp("lineage")
    older = at / "older"
    shutil.copytree(BUNDLED, older)
    for name in ("corum/coreComplexes.4.1.txt", "go/go-basic.2022-07-01.obo"):
        (older / name).unlink()
    home = home_of_files(at / "home", older)
    return home_of_files(home.path, BUNDLED)


@pytest.fixture(scope="module")
def models(home: Home, tmp_path_factory: pytest.TempPathFactory) -> tuple[StoredModel, StoredModel]:
    at = tmp_path_factory.mktemp("trained")
    old, new = (path.parent.name for path in sorted(home.path.glob("releases/*/manifest.json")))
    if require_published(home).release == old:
        old, new = new, old
    return add_stored(home, at / "old", old), add_stored(home, at / "new", new)


def predicted(home: Home, model: StoredModel, out: Path) -> Path:
    pairs = out.with_name("pairs.csv")
    pairs.write_text("perturbation,target,cell_line\nTULP1,ITCH,RPE1\nRPL3,TP53,K562\n")
    predict_file(open_model(home, model.directory), pairs, out)
    return out


@pytest.mark.parametrize("name", ["out.parquet", "out.csv"])
def test_a_file_of_predictions_leads_to_the_checksums_of_the_providers_files(home, models, tmp_path, name):
    out = predicted(home, models[1], tmp_path / name)
    chain = lineage(home, str(out))
    kinds = [link.kind for link in chain.walk()]
    assert kinds[:2] == ["prediction", "checkpoint"]
    assert {"training set", "snapshot", "release", "import run", "file"} <= set(kinds)
    files = {link.id for link in chain.walk() if link.kind == "file"}
    for path in (BUNDLED / "corum" / "coreComplexes.4.1.txt", BUNDLED / "perturbqa" / "K562.csv"):
        assert hashlib.sha256(path.read_bytes()).hexdigest() in files
    by_id = lineage(home, chain.id)  # the id of an answer of the API: nothing but the id is known
    assert [link.id for link in by_id.behind] == [models[1].id]
    origin = read_prediction_origin(out)
    assert origin is not None
    assert (origin.model, origin.rows) == (models[1].id, 2)
    assert origin.pairs_sha256 == hashlib.sha256((tmp_path / "pairs.csv").read_bytes()).hexdigest()


def test_why_two_predictions_differ(home, models, tmp_path):
    old, new = (
        predicted(home, models[0], tmp_path / "old.parquet"),
        predicted(home, models[1], tmp_path / "new.parquet"),
    )
    found = {(one.what, one.name): (one.before, one.after) for one in why_changed(home, str(old), str(new))}
    assert found["provider version", "corum"] == ("3.0", "4.1")
    assert found["provider version", "gene_ontology"][0] != found["provider version", "gene_ontology"][1]
    changed = {name.split()[0] for what, name in found if what == "file"}
    assert changed == {"corum", "gene_ontology"}
    assert ("question", "rows asked") not in found
    assert not [key for key in found if key[0] in {"setting", "plug-in"}]
    assert why_changed(home, str(new), str(new)) == []


def test_training_rows_that_differ_are_counted(home, models, tmp_path):
    fewer = add_stored(home, tmp_path / "fewer", models[1].card.release, rows=150)
    found = {(one.what, one.name): one.after for one in why_changed(home, models[1].id, fewer.id)}
    assert found["training rows", "removed"] == models[1].card.training_rows - 150
    assert not [key for key in found if key[0] == "file"]


def test_a_file_leads_forward_to_what_was_made_of_it(home, models):
    path = BUNDLED / "corum" / "coreComplexes.4.1.txt"
    link = lineage(home, str(path))
    assert link.facts["releases"] == [models[1].card.release]
    assert models[1].id in link.facts["models"]
    assert lineage(home, link.id[:16]) == link
    with pytest.raises(UsageError, match="no import run of this home read"):
        lineage(home, "0" * 64)


def test_a_model_outside_the_store_and_what_is_unknown(home, models, tmp_path):
    ground = Ground(home)
    rows = ground.rows(load_outcomes(home).head(140))
    plugin("gene-frequency").fit(Training(rows), ground).save(tmp_path / "own")
    chain = lineage(home, str(tmp_path / "own"))
    assert chain.kind == "checkpoint"
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("perturbation,target,cell_line\nTULP1,ITCH,RPE1\n")
    predict_file(open_model(home, tmp_path / "own"), pairs, tmp_path / "own.csv")
    assert "not in the store" in lineage(home, str(tmp_path / "own.csv")).behind[0].facts["note"]
    sidecar(tmp_path / "own.csv").write_text("{}")
    with pytest.raises(InputFileError, match="lineage cannot be read"):
        lineage(home, str(tmp_path / "own.csv"))
    with pytest.raises(UsageError, match="no import run"):
        lineage(home, str(pairs))
    with pytest.raises(UsageError, match="is no prediction, model, release, file or checksum"):
        lineage(home, "nothing")


def test_the_command_and_the_api_say_the_same(home, models, tmp_path, capsys):
    out = predicted(home, models[1], tmp_path / "out.parquet")
    at = ("--home", str(home.path))
    assert run(["lineage", str(out), *at, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert run(["lineage", str(out), *at]) == 0
    tree = capsys.readouterr().out
    assert "import run" in tree
    assert models[1].id in tree
    assert run(["lineage", models[0].id, models[1].id, "--why-changed", *at]) == 0
    assert "provider version corum: 3.0 before, 4.1 now" in capsys.readouterr().out
    assert run(["lineage", models[0].id, models[1].id, *at]) == 2
    with TestClient(create_app(Settings(home=home.path))) as client:
        told = client.get(f"/v1/lineage/{said['id']}").json()
        assert told["behind"][0] == said["behind"][0]
        changed = client.get(f"/v1/lineage/{models[1].id}", params={"against": models[0].id}).json()
        assert {"what": "provider version", "name": "corum", "before": "3.0", "after": "4.1"} in changed["differences"]
        assert client.get("/v1/lineage/nothing").status_code == 422
        assert client.get("/v1/lineage/..%2F..%2Fetc%2Fpasswd").status_code in {404, 422}


def test_assertions_stand_in_the_chain(home, models):
    (release,) = [link for link in lineage(home, models[1].id).walk() if link.kind == "release"]
    table = pl.read_parquet(home.release(models[1].card.release) / "assertions.parquet")
    assert release.facts["assertions"] == sorted(table["id"])
