"""Refreshes: new files, nothing new, a gate, a broken file, a provider that is down, two at once, a dry run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from aroma.cli.app import run
from aroma.errors import AromaError, GateStoppedError, InputFileError, LockHeldError, UsageError
from aroma.importers.addresses import BASE_VARIABLE
from aroma.jobs.refresh.dependence import plan_retraining
from aroma.jobs.refresh.options import RefreshOptions
from aroma.jobs.refresh.run import plan_refresh, refresh_ledger, work_on_refresh
from aroma.jobs.refresh.tasks import PROBLEM
from aroma.jobs.refresh.work import do_train
from aroma.kgstore.locks import exclusive
from aroma.kgstore.publications import read_publications, require_published
from aroma.model.lineage import lineage
from aroma.model.serving.history import put_in_service, read_promotions, served_models
from aroma.model.serving.store import find_model, known_models
from tests.jobs.refresh.conftest import PLUGIN, refreshed
from tests.support.alert_servers import webhook
from tests.support.provider_server import provider_server

pytestmark = pytest.mark.embedded
ACCEPT = ("file-kind:corum",)


def steps(said):
    return {step["step"]: step for step in said["steps"]}


def test_the_first_refresh_builds_trains_and_serves(refreshed_once):
    home, said = refreshed_once
    assert said["release"] == {"release": require_published(home).release, "sequence": 1, "new": True}
    assert said["providers"]["corum"]["versions"] == ["3.0"]
    assert all(one["new"] for one in said["providers"].values())
    (model,) = said["models"]
    assert (model["plugin"], model["action"]) == (PLUGIN, "promote")
    assert served_models(home)[PLUGIN].model == model["model"]
    files = {link.id for link in lineage(home, model["model"]).walk() if link.kind == "file"}
    assert set(said["providers"]["corum"]["files"].values()) <= files
    assert set(said["providers"]["perturbqa"]["files"].values()) <= files
    report = json.loads((home.path / "refresh" / "reports" / f"{said['run']}.json").read_text())
    assert report == said


def test_newer_files_a_gate_and_nothing_new(home, files, refreshed_once, monkeypatch):
    older = read_publications(home)
    with webhook() as (address, posted):
        monkeypatch.setenv("AROMA_ALERT_WEBHOOK", address)
        with pytest.raises(GateStoppedError) as stopped:
            refreshed(home, source=str(files.newer))
    assert stopped.value.gates == ACCEPT
    assert [body["kind"] for body in posted] == ["GateStoppedError"]
    assert read_publications(home) == older
    said = refreshed(home, source=str(files.newer), accept=ACCEPT)
    new = {name for name, one in said["providers"].items() if one["new"]}
    assert new == {"corum", "gene_ontology"}
    assert said["release"]["new"]
    (model,) = said["models"]
    assert model["action"] in {"promote", "keep"}
    assert model["model"] != refreshed_once[1]["models"][0]["model"]
    decisions = read_promotions(home)
    assert [entry.action for entry in decisions] == ["promote", model["action"]]
    again = refreshed(home, source=str(files.newer), accept=ACCEPT)
    assert again["release"] == {**said["release"], "new": False}
    assert not any(one["new"] for one in again["providers"].values())
    assert steps(again).get(f"train {PLUGIN}", {"done_before": True})["done_before"]
    assert read_promotions(home) == decisions
    assert len(read_publications(home)) == 2


def test_a_plug_in_that_does_not_read_what_changed_stays(home, files):
    said = {"plugin": "gene-frequency", "release": require_published(home).release, "split": "official", "seed": 0}
    model = find_model(home, do_train(home, {**said, "outcomes": "stored", "parameters": {}}, lambda: None)["model"])
    put_in_service(home, "gene-frequency", model.id, model.card.release, action="override", reason="a test")
    assert refreshed(home, source=str(files.newer), accept=ACCEPT, plugins=("gene-frequency",))["models"] == [
        {
            "plugin": "gene-frequency",
            "action": "not retrained",
            "reason": "nothing that it reads has changed since it was trained",
        }
    ]
    release = require_published(home).release
    assert served_models(home)["gene-frequency"].release != release
    (other,) = plan_retraining(home, release, (PLUGIN,), None)
    assert other.reason == "edges of corum, gene_ontology are others"


def test_a_broken_file_does_not_stop_the_other_providers(home, files, tmp_path):
    source = tmp_path / "files"
    shutil.copytree(files.newer, source)
    (source / "go" / "go-basic.2022-07-01.obo").write_text("<html>the server is being repaired</html>\n")
    said = refreshed(home, source=str(source), accept=ACCEPT)
    assert said["providers"]["gene_ontology"]["note"].startswith("its last good files are used: ")
    assert said["release"]["new"]  # CORUM's
    audit = json.loads((home.release(said["release"]["release"]) / "audit.json").read_text())
    assert "last good files" in audit["reports"]["gene_ontology"]["files"]
    versions = {one["provider"]: one["version"] for one in audit["sources"]}
    assert (versions["corum"], versions["gene_ontology"].split(",")[0]) == ("4.1", "2021-12-15")


def test_a_broken_file_without_an_earlier_one_stops(tmp_path, files, embedded_home):
    source = tmp_path / "files"
    shutil.copytree(files.older, source)
    (source / "corum" / "allComplexes.3.0.txt").write_text("<html>not found</html>\n")
    with pytest.raises(InputFileError, match=r"allComplexes\.3\.0\.txt"):
        refreshed(embedded_home, source=str(source))
    with pytest.raises(UsageError, match="is not a directory"):
        refreshed(embedded_home, source=str(tmp_path / "nowhere"))


def test_a_provider_that_is_down_keeps_its_last_good_files(home, files, monkeypatch, tmp_path):
    with provider_server(files.newer, down=("reactome.org",)) as (base, _):
        monkeypatch.setenv(BASE_VARIABLE, base)
        said = refreshed(home, accept=ACCEPT, providers=("corum", "gene_ontology", "reactome"))
    assert "its last good files are used" in said["providers"]["reactome"]["note"]
    assert said["providers"]["corum"]["versions"] == ["4.1"]
    assert said["providers"]["hgnc"]["new"] is False  # not asked for: as it was
    assert said["release"]["new"]
    audit = json.loads((home.release(said["release"]["release"]) / "audit.json").read_text())
    assert "last good files" in audit["reports"]["reactome"]["files"]


def test_two_refreshes_at_once(home, files, capsys):
    with exclusive(home.locks / "refresh.lock", "a refresh"):
        with pytest.raises(LockHeldError, match="a refresh is under way: process"):
            refreshed(home, source=str(files.newer))
        assert run(["refresh", "--from", str(files.newer), "--home", str(home.path)]) == 1
    assert "wait for it, or end that process" in capsys.readouterr().err


def test_what_a_failing_plug_in_does_not_stop(home, files, monkeypatch):
    said = refreshed(home, source=str(files.newer), accept=ACCEPT, plugins=("gat-head", PLUGIN))
    failed, fine = said["models"]
    assert (failed["plugin"], failed["action"]) == ("gat-head", "failed")
    assert "gat:gene-kg" in failed["reason"]
    assert fine["action"] in {"promote", "keep"}


def test_the_command_and_a_dry_run(home, files, capsys):
    at = ("--from", str(files.newer), "--home", str(home.path))
    before = sorted(str(path) for path in home.path.rglob("*") if "ledger" not in path.name)
    assert run(["refresh", *at, "--dry-run", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert {one["file"] for one in said["files"] if one["what"] == "new"} == {
        "coreComplexes.4.1.txt",
        "go-basic.2022-07-01.obo",
    }
    assert run(["refresh", *at, "--dry-run"]) == 0
    assert "nothing that it reads" in capsys.readouterr().out
    assert sorted(str(path) for path in home.path.rglob("*") if "ledger" not in path.name) == before
    assert run(["refresh", *at, "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["error"]["gates"] == list(ACCEPT)
    assert run(["refresh", *at, "--accept", ACCEPT[0]]) == 0
    captured = capsys.readouterr()
    assert f"train {PLUGIN}" in captured.out
    assert "published now" in captured.out
    assert run(["refresh", *at, "--plugins", "no-such"]) == 2
    assert run(["refresh", *at, "--margin", "-1"]) == 2


def test_online_what_a_dry_run_can_tell(home, files, monkeypatch, capsys):
    with provider_server(files.newer) as (base, asked):
        monkeypatch.setenv(BASE_VARIABLE, base)
        assert run(["refresh", "corum", "hgnc", "--dry-run", "--json", "--home", str(home.path)]) == 0
    said = {one["provider"]: one for one in json.loads(capsys.readouterr().out)["files"]}
    assert (said["corum"]["there"], said["corum"]["what"]) == ("4.1", "new")
    assert [path for path in asked if "download_current_file" in path] == []


def test_an_open_refresh_is_taken_up_again_and_options_of_another_version_are_refused(home, files):
    ledger = refresh_ledger(home)
    options = RefreshOptions(source=str(files.older))
    first = plan_refresh(ledger, options)
    assert plan_refresh(ledger, options).id == first.id
    assert plan_refresh(ledger, RefreshOptions(source=str(files.newer))).id != first.id
    odd = ledger.plan("odd", "refresh", "cpu", {"options": {"from": "elsewhere"}}, first_shard())
    assert work_on_refresh(home, ledger, odd.id) == 1
    assert "another version of this program" in ledger.results("odd")[0][PROBLEM]["message"]


def first_shard():
    from aroma.kgstore.ledger import ShardPlan

    return [ShardPlan({})]


def test_no_model_before_anything_is_served(tmp_path, files, embedded_home):
    said = refreshed(embedded_home, source=str(files.older))
    assert said["models"] == []
    assert known_models(embedded_home) == []
    with pytest.raises(AromaError):
        refreshed(embedded_home, source=str(Path(tmp_path / "empty")))
