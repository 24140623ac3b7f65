"""Tokens: shown once, kept as hashes, ended by time and by hand, and seen by a server that runs."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from aroma.cli.app import app
from aroma.errors import ReleaseError, UsageError
from aroma.kgstore.home import Home
from aroma.kgstore.tokens import (
    SCOPES,
    TokenBook,
    allows,
    create_token,
    parse_period,
    read_tokens,
    revoke_token,
    tokens_file,
)
from aroma.kgstore.write_log import Write, add_write, read_writes, write_log


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def test_the_secret_is_not_kept_and_the_file_is_for_its_owner(home: Home):
    token, secret = create_token(home, "lab script", "read")
    assert re.fullmatch(r"aroma_[0-9a-f]{12}_[A-Za-z0-9_-]{43}", secret)
    text = tokens_file(home).read_text()
    assert secret.split("_", 2)[2] not in text
    assert token.sha256 in text
    assert tokens_file(home).stat().st_mode & 0o777 == 0o600


def test_a_bearer_is_found_by_the_whole_secret_alone(home: Home):
    token, secret = create_token(home, "script", "curate")
    _, other = create_token(home, "other", "read")
    book = TokenBook(home)
    assert book.find(secret) == token
    mixed = f"aroma_{token.id}_{other.split('_', 2)[2]}"
    for wrong in ("", secret[:-1], f"{secret}x", secret.upper(), mixed, "aroma__", "Ä" * 60, token.sha256):
        assert book.find(wrong) is None


def test_a_token_ends_at_its_time(home: Home):
    token, secret = create_token(home, "short", "read", expires="12h")
    now = datetime.now(tz=UTC)
    assert TokenBook(home, lambda: now + timedelta(hours=11)).find(secret) == token
    assert TokenBook(home, lambda: now + timedelta(hours=13)).find(secret) is None
    assert token.state(now + timedelta(hours=13)) == "expired"


def test_a_revoked_token_is_refused_by_a_book_that_was_open(home: Home):
    _, secret = create_token(home, "script", "operate")
    book = TokenBook(home)
    assert book.find(secret) is not None
    gone = revoke_token(home, "script")
    assert book.find(secret) is None
    assert revoke_token(home, gone.id) == gone
    assert not book.is_empty  # a door that was closed once stays closed
    again, _ = create_token(home, "script", "read")
    assert [token.state(datetime.now(tz=UTC)) for token in read_tokens(home)] == ["revoked", "good"]
    assert again.id != gone.id


def test_a_file_that_goes_opens_no_door(home: Home):
    _, secret = create_token(home, "script", "read")
    book = TokenBook(home)
    assert book.find(secret)
    tokens_file(home).unlink()
    assert book.find(secret) is None
    assert not book.is_empty


@pytest.mark.parametrize("text", ["{", "[1]", '[{"id": "x"}]', '{"a": 1}'])
def test_a_damaged_file_lets_nobody_in(home: Home, text: str):
    create_token(home, "script", "read")
    tokens_file(home).write_text(text)
    with pytest.raises(ReleaseError, match=r"tokens\.json"):
        TokenBook(home).find("aroma_x")


def test_a_scope_that_is_none_is_not_read(home: Home):
    create_token(home, "script", "read")
    tokens_file(home).write_text(tokens_file(home).read_text().replace('"read"', '"root"'))
    with pytest.raises(ReleaseError, match="scope"):
        read_tokens(home)


def test_scopes_include_those_below():
    assert [[allows(given, wanted) for wanted in SCOPES] for given in SCOPES] == [
        [True, False, False],
        [True, True, False],
        [True, True, True],
    ]


@pytest.mark.parametrize("text", ["", "90", "0d", "-1d", "1y", "9999999d", "1d2h", "d"])
def test_a_period_that_is_none_is_refused(text: str):
    with pytest.raises(UsageError, match="12h, 90d or 4w"):
        parse_period(text)


def test_periods():
    assert (parse_period("12h"), parse_period("90d"), parse_period("4w")) == (
        timedelta(hours=12),
        timedelta(days=90),
        timedelta(weeks=4),
    )


@pytest.mark.parametrize("name", ["", " x", "x" * 65, "new\nline", "ü"])
def test_a_name_that_does_not_fit_is_refused(home: Home, name: str):
    with pytest.raises(UsageError, match="token name"):
        create_token(home, name, "read")


def test_the_date_of_the_last_use_is_written_once_a_day(home: Home):
    token, secret = create_token(home, "script", "read")
    book = TokenBook(home)
    found = book.find(secret)
    assert found is not None
    assert book.is_first_today(found)
    book.note_use(found)
    assert not book.is_first_today(found)
    used = TokenBook(home).find(secret)
    assert used is not None
    assert used.last_used == datetime.now(tz=UTC).date().isoformat()
    assert not TokenBook(home).is_first_today(used)
    assert used.id == token.id


def test_tokens_made_at_once_are_all_kept(home: Home):
    code = (
        "import sys; from pathlib import Path; from aroma.kgstore.home import Home; "
        "from aroma.kgstore.tokens import create_token; "
        "[create_token(Home(Path(sys.argv[1])), f'{sys.argv[2]}-{n}', 'read') for n in range(10)]"
    )
    makers = [subprocess.Popen([sys.executable, "-c", code, str(home.path), name]) for name in ("a", "b")]
    assert [maker.wait(60) for maker in makers] == [0, 0]
    assert len({token.name for token in read_tokens(home)}) == 20


def test_the_commands_show_the_secret_once(tmp_path: Path):
    runner, place = CliRunner(), ["--home", str(tmp_path / "home"), "--json"]
    made = json.loads(
        runner.invoke(app, ["tokens", "create", "ci", "--scope", "curate", "--expires", "90d", *place]).output
    )
    assert made["token"].startswith(f"aroma_{made['id']}_")
    assert "sha256" not in made
    listed = runner.invoke(app, ["tokens", "list", *place]).output
    assert json.loads(listed) == {key: value for key, value in made.items() if key != "token"}
    assert json.loads(runner.invoke(app, ["tokens", "revoke", "ci", *place]).output)["state"] == "revoked"
    assert [write.route for write in read_writes(Home(tmp_path / "home"))] == [
        "aroma tokens create",
        "aroma tokens revoke",
    ]
    refused = runner.invoke(app, ["tokens", "revoke", "ci", *place])
    assert isinstance(refused.exception, UsageError)
    refused = runner.invoke(app, ["tokens", "create", "x", "--scope", "root", *place])
    assert "read, curate, operate" in str(refused.exception)


def test_the_log_of_writes_survives_a_line_that_was_cut(home: Home):
    add_write(home, Write("a", "", "POST /x", "one", "200"))
    with write_log(home).open("ab") as stream:
        stream.write(b'{"who": "b", "tok')
    add_write(home, Write("c", "", "POST /x", "two\nlines", "409"))
    assert [(write.who, write.what) for write in read_writes(home)] == [("a", "one"), ("c", "two\nlines")]
    assert write_log(home).stat().st_mode & 0o777 == 0o600
