"""Who may be let in, and how workers get their settings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner

from aroma.api.app import create_app
from aroma.api.settings import Limits, Settings, check_exposure, is_loopback
from aroma.cli.app import app
from aroma.errors import UsageError
from aroma.kgstore.home import Home
from aroma.kgstore.publications import require_published
from aroma.kgstore.resolver import GeneResolver
from aroma.kgstore.tables import read_table

_NAMED = ("nodes", "gene_names")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost", "[::1]"])
def test_loopback_needs_no_token(host):
    assert is_loopback(host)
    check_exposure(host, None)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org", ""])
def test_anything_else_needs_one(host):
    with pytest.raises(UsageError, match="AROMA_TOKEN"):
        check_exposure(host, None)
    check_exposure(host, "long-enough-as-a-secret")


@pytest.mark.parametrize("token", ["short", "with a blank in the middle", "übersichtlicher-token", "new\nline" * 4])
def test_weak_tokens_are_refused(token):
    with pytest.raises(UsageError, match="at least 16"):
        check_exposure("0.0.0.0", token)


def test_the_command_refuses_before_it_opens_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("AROMA_TOKEN", raising=False)
    result = CliRunner().invoke(app, ["serve", "--host", "0.0.0.0", "--home", str(tmp_path)])
    assert isinstance(result.exception, UsageError)
    assert "AROMA_TOKEN" in str(result.exception)


def test_settings_travel_through_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    settings = Settings(tmp_path, "a-secret-of-this-test", "none", ("split:test",), "bolt://x:1", Limits(requests=3))
    for name, value in settings.to_environment().items():
        monkeypatch.setenv(name, value)
    assert Settings.from_environment() == settings
    monkeypatch.delenv("AROMA_SERVE_SETTINGS")
    with pytest.raises(UsageError, match="aroma serve"):
        Settings.from_environment()


def test_own_texts_take_the_place_of_composed_ones_and_change_the_etag(sample_home: Home, tmp_path: Path):
    texts = tmp_path / "texts.csv"
    gene = GeneResolver.from_tables(
        *(read_table(sample_home.release(require_published(sample_home).release), name) for name in _NAMED)
    ).resolve("TULP1")
    texts.write_text(f"gene,role,text\n{gene.gene},perturbation,Our own words.\n")
    own = Settings(home=sample_home.path, texts=texts)
    asked = "/v1/evidence?perturbation=TULP1&target=ITCH&cell_line=RPE1"
    with TestClient(create_app(own)) as mine, TestClient(create_app(replace(own, texts=None))) as plain:
        answer, other = mine.get(asked), plain.get(asked)
    assert answer.json()["perturbation"]["sentences"][0]["text"] == "Our own words."
    assert answer.json()["target"] == other.json()["target"]
    assert answer.headers["etag"] != other.headers["etag"]


def test_settings_with_texts_pass_to_workers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    settings = Settings(home=tmp_path, texts=tmp_path / "texts.csv")
    for name, value in settings.to_environment().items():
        monkeypatch.setenv(name, value)
    assert Settings.from_environment() == settings
