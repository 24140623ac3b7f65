"""Who may be let in, and how workers get their settings."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from aroma.api.settings import Limits, Settings, check_exposure, is_loopback
from aroma.cli.app import app
from aroma.errors import UsageError


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
