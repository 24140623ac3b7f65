"""Backup and restore: the round trip, links instead of copies, and archives that mean harm or are damaged."""

from __future__ import annotations

import io
import json
import os
import shutil
import sqlite3
import tarfile
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from aroma.cli.app import app
from aroma.errors import AromaError, InputFileError, LockHeldError, UsageError
from aroma.kgstore.backup import back_up
from aroma.kgstore.home import Home
from aroma.kgstore.locks import exclusive
from aroma.kgstore.publications import published
from aroma.kgstore.releases import check_tables, known_releases
from aroma.kgstore.restore import restore
from aroma.kgstore.tokens import TokenBook, create_token
from aroma.kgstore.write_log import Write, add_write, read_writes
from tests.support.homes import home_of_tables
from tests.support.random_release import random_release

TARGETS = ["backups", "backup.tar.zst"]


@pytest.fixture
def home(sample_home: Home, tmp_path: Path) -> Home:
    """The sample home with a ledger, a token, a log, and what a backup leaves out."""
    place = Home(tmp_path / "home")
    shutil.copytree(sample_home.path, place.path)
    create_token(place, "script", "read")
    add_write(place, Write("a", "", "POST /x", "x", "200"))
    (place.path / "embeddings").mkdir()
    with closing(sqlite3.connect(place.path / "embeddings" / "ledger.sqlite")) as ledger:
        ledger.execute("PRAGMA journal_mode=WAL")
        ledger.execute("CREATE TABLE runs (id TEXT)")
        ledger.execute("INSERT INTO runs VALUES ('r1')")
        ledger.commit()
    for name in ("staging/b1/x.parquet", "embedded/r1/data", "logs/x.log", "releases/.r1.partial/x.parquet"):
        (place.path / name).parent.mkdir(parents=True, exist_ok=True)
        (place.path / name).write_text("not kept")
    return place


def contents(home: Home) -> dict[str, bytes]:
    """Files by path, without what a backup leaves out and the ledger, whose bytes SQLite may lay out anew."""
    files = (path for path in home.path.rglob("*") if path.is_file())
    named = {path.relative_to(home.path).as_posix(): path.read_bytes() for path in files}
    left_out = ("locks/", "staging/", "embedded/", "snapshots/", "logs/", "embeddings/ledger")
    return {name: data for name, data in named.items() if not name.startswith(left_out) and "/." not in name}


@pytest.mark.parametrize("to", TARGETS)
def test_the_round_trip_gives_the_same_home(home: Home, tmp_path: Path, to: str):
    made = back_up(home, tmp_path / to)
    back = Home(tmp_path / "back")
    manifest = restore(tmp_path / to, back)
    assert contents(back) == contents(home)
    assert manifest.release == published(back).release
    assert manifest == made.manifest
    assert check_tables(back, manifest.release) == []
    assert {path.name for path in back.path.iterdir()}.isdisjoint({"locks", "staging", "logs", "snapshots"})
    with closing(sqlite3.connect(back.path / "embeddings" / "ledger.sqlite")) as ledger:
        assert ledger.execute("SELECT id FROM runs").fetchall() == [("r1",)]
    assert (back.path / "tokens.json").stat().st_mode & 0o777 == 0o600
    assert not TokenBook(back).is_empty
    assert [write.who for write in read_writes(back)] == ["a"]
    assert not list(tmp_path.glob(".*"))


def test_a_second_backup_links_what_did_not_change(home: Home, tmp_path: Path):
    first = back_up(home, tmp_path / "backups")
    before = published(home)
    home_of_tables(home.path, random_release(1))
    second = back_up(home, tmp_path / "backups")
    same = second.path / "files" / "releases" / before.release / "edges.parquet"
    assert same.stat().st_ino == (first.path / "files" / "releases" / before.release / "edges.parquet").stat().st_ino
    changed = {"published.json"}
    assert second.linked == len(first.manifest.files) - len(changed)
    restore(tmp_path / "backups", Home(tmp_path / "newest"))
    assert known_releases(Home(tmp_path / "newest")) == known_releases(home)
    restore(first.path, Home(tmp_path / "older"))
    assert published(Home(tmp_path / "older")) == before


def test_a_file_damaged_in_the_backup_before_is_not_linked_when_its_length_shows_it(home: Home, tmp_path: Path):
    first = back_up(home, tmp_path / "backups")
    (first.path / "files" / "published.json").write_text("[]")
    second = back_up(home, tmp_path / "backups")
    restore(second.path, Home(tmp_path / "back"))
    assert published(Home(tmp_path / "back")) == published(home)


def test_releases_published_meanwhile_do_no_harm(home: Home, tmp_path: Path):
    begun, done = threading.Event(), threading.Event()

    def publish_more() -> None:
        begun.wait(30)
        for number in range(3):
            home_of_tables(home.path, random_release(number))
        done.set()

    publisher = threading.Thread(target=publish_more)
    publisher.start()

    def progress(_: str) -> None:
        begun.set()
        done.wait(60)

    made = back_up(home, tmp_path / "b.tar.zst", progress)
    publisher.join()
    back = Home(tmp_path / "back")
    restore(made.path, back)
    assert published(back).release == made.manifest.release
    for release in known_releases(back):
        assert check_tables(back, release) == []


def test_a_log_that_grows_is_cut_at_the_length_it_had(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    log = home.path / "audit" / "writes.jsonl"
    length = log.stat().st_size
    real = os.fstat

    def grows(handle: int) -> os.stat_result:
        found = real(handle)
        if found.st_ino == log.stat().st_ino and found.st_size == length:
            with log.open("ab") as stream:
                stream.write(b'{"half')
        return found

    monkeypatch.setattr(os, "fstat", grows)
    for to in TARGETS:
        made = back_up(home, tmp_path / to)
        assert made.manifest.files["audit/writes.jsonl"].bytes >= length
        restore(made.path, Home(tmp_path / f"back-{to}"))


def test_links_are_left_out_and_said(home: Home, tmp_path: Path):
    (home.path / "elsewhere").symlink_to(tmp_path)
    (home.path / "file.json").symlink_to(home.published)
    assert set(back_up(home, tmp_path / "b.tar.zst").manifest.skipped) == {"elsewhere", "file.json"}


def test_one_backup_at_a_time(home: Home, tmp_path: Path):
    with exclusive(home.locks / "backup.lock", "a backup"), pytest.raises(LockHeldError):
        back_up(home, tmp_path / "backups")


@pytest.mark.parametrize("to", ["home/backups", "home/x.tar.zst", "there.tar.zst", "a-file"])
def test_targets_that_do_not_fit_are_refused(home: Home, tmp_path: Path, to: str):
    (tmp_path / "there.tar.zst").write_text("x")
    (tmp_path / "a-file").write_text("x")
    with pytest.raises(UsageError):
        back_up(home, tmp_path / to)
    assert (tmp_path / "there.tar.zst").read_text() == "x"


def test_a_full_disk_leaves_nothing(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from aroma.kgstore import backup

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(backup, "copied", full)
    with pytest.raises(OSError, match="No space"):
        back_up(home, tmp_path / "backups")
    assert list((tmp_path / "backups").iterdir()) == []


def test_a_home_that_is_not_empty_is_refused(home: Home, tmp_path: Path):
    made = back_up(home, tmp_path / "b.tar.zst")
    with pytest.raises(UsageError, match="not empty"):
        restore(made.path, home)
    (tmp_path / "empty").mkdir()
    restore(made.path, Home(tmp_path / "empty"))
    assert published(Home(tmp_path / "empty")) == published(home)


def test_every_damaged_byte_of_a_small_archive_is_noticed(tmp_path: Path):
    home = Home(tmp_path / "home")
    create_token(home, "script", "read")
    archive = back_up(home, tmp_path / "b.tar.zst").path
    whole = archive.read_bytes()
    for number, place in enumerate(range(0, len(whole), max(1, len(whole) // 60))):
        broken = tmp_path / f"broken-{number}.tar.zst"
        broken.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        back = Home(tmp_path / f"back-{number}")
        try:
            restore(broken, back)
        except AromaError:
            assert not back.path.exists()
        else:  # a byte that carries nothing (the end of the archive): what came out is whole
            assert contents(back) == contents(home)
    for cut in (0, 1, len(whole) // 2, len(whole) - 200):
        broken = tmp_path / f"cut-{cut}.tar.zst"
        broken.write_bytes(whole[:cut])
        with pytest.raises(InputFileError):
            restore(broken, Home(tmp_path / f"cut-{cut}"))
    assert not list(tmp_path.glob(".*"))


def test_a_changed_file_is_noticed_before_anything_is_in_place(home: Home, tmp_path: Path):
    made = back_up(home, tmp_path / "backups")
    edges = next((made.path / "files" / "releases").glob("*/edges.parquet"))
    data = bytearray(edges.read_bytes())
    data[len(data) // 2] ^= 1
    edges.write_bytes(data)
    with pytest.raises(InputFileError, match=r"edges\.parquet is not what the manifest says"):
        restore(made.path, Home(tmp_path / "back"))
    assert not (tmp_path / "back").exists()


def archive_of(path: Path, members: list[tuple[tarfile.TarInfo, bytes]]) -> Path:
    with (
        path.open("wb") as file,
        pa.CompressedOutputStream(file, "zstd") as packed,
        tarfile.open(fileobj=packed, mode="w|") as tar,
    ):
        for member, data in members:
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def plain(name: str) -> tarfile.TarInfo:
    return tarfile.TarInfo(name)


def linked(name: str, to: str, kind: bytes) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, to
    return member


@pytest.mark.parametrize(
    "make",
    [
        lambda: plain("/etc/evil"),
        lambda: plain("files//etc/evil"),
        lambda: plain("files/../evil"),
        lambda: plain("files/a/../../evil"),
        lambda: plain("files/."),
        lambda: plain("files/"),
        lambda: plain("files/a\\..\\evil"),
        lambda: plain("files/C:/evil"),
        lambda: plain("other/evil"),
        lambda: plain("../files/evil"),
        lambda: linked("files/link", "/etc/passwd", tarfile.SYMTYPE),
        lambda: linked("files/link", "../../x", tarfile.LNKTYPE),
        lambda: linked("files/pipe", "", tarfile.FIFOTYPE),
        lambda: linked("files/dir", "", tarfile.DIRTYPE),
        lambda: linked("files/dev", "", tarfile.CHRTYPE),
    ],
)
def test_archives_that_lead_elsewhere_are_refused(tmp_path: Path, make: Callable[[], tarfile.TarInfo]):
    member = make()
    data = b"evil" if member.isreg() else b""
    archive = archive_of(tmp_path / "evil.tar.zst", [(member, data)])
    with pytest.raises(InputFileError, match=r"evil\.tar\.zst"):
        restore(archive, Home(tmp_path / "sub" / "home"))
    assert not (tmp_path / "sub" / "home").exists()
    assert {path.name for path in tmp_path.rglob("*")} == {"evil.tar.zst", "sub"}


def test_a_member_that_is_there_twice_or_unknown_is_refused(tmp_path: Path):
    manifest = json.dumps({"format": 1, "made_at": "", "program": "", "release": None, "sequence": None, "files": {}})
    twice = [(plain("files/a"), b"1"), (plain("files/a"), b"2")]
    with pytest.raises(InputFileError, match="twice"):
        restore(archive_of(tmp_path / "a.tar.zst", twice), Home(tmp_path / "home"))
    unknown = [(plain("files/a"), b"1"), (plain("manifest.json"), manifest.encode())]
    with pytest.raises(InputFileError, match="does not know 'a'"):
        restore(archive_of(tmp_path / "b.tar.zst", unknown), Home(tmp_path / "home"))


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil"])
def test_a_directory_whose_manifest_leads_elsewhere_is_refused(tmp_path: Path, name: str):
    (tmp_path / "b" / "files").mkdir(parents=True)
    (tmp_path / "evil").write_text("evil")
    kept = {"bytes": 4, "sha256": "0" * 64}
    said = {"format": 1, "made_at": "", "program": "", "release": None, "sequence": None, "files": {name: kept}}
    (tmp_path / "b" / "manifest.json").write_text(json.dumps(said))
    with pytest.raises(InputFileError, match="does not lead below"):
        restore(tmp_path / "b", Home(tmp_path / "home"))


def test_a_link_in_a_directory_is_refused(home: Home, tmp_path: Path):
    made = back_up(home, tmp_path / "backups")
    file = made.path / "files" / "published.json"
    (tmp_path / "same.json").write_bytes(file.read_bytes())
    file.unlink()
    file.symlink_to(tmp_path / "same.json")
    with pytest.raises(InputFileError, match="a link"):
        restore(made.path, Home(tmp_path / "back"))


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": 2, "files": {}}', '{"format": 1, "files": []}'])
def test_a_manifest_that_is_none_is_refused(tmp_path: Path, text: str):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "manifest.json").write_text(text)
    with pytest.raises(InputFileError, match=r"manifest\.json"):
        restore(tmp_path / "b", Home(tmp_path / "home"))


def run(*words: str) -> dict[str, object]:
    result = CliRunner().invoke(app, [*words, "--json"])
    assert result.exception is None, result.exception
    return json.loads(result.output.splitlines()[-1])


def check_projected(home: Home, uri: str) -> None:
    said = run("releases", "verify", "--home", str(home.path), "--uri", uri)
    assert said["sound"], said


@pytest.mark.embedded
def test_the_commands_restore_the_embedded_database_as_well(
    tmp_path: Path, embedded_home: Home, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("AROMA_EMBEDDED_IDLE", "60")
    source = Home(tmp_path / "source")
    home_of_tables(source.path, random_release(3))
    made = run("backup", "--to", str(tmp_path / "b.tar.zst"), "--home", str(source.path))
    done = run("restore", str(tmp_path / "b.tar.zst"), "--home", str(embedded_home.path), "--uri", "embedded:")
    assert done["release"] == made["release"] == published(source).release
    assert embedded_home.snapshot(str(done["release"])).is_dir()
    check_projected(embedded_home, "embedded:")


@pytest.mark.neo4j
def test_the_commands_restore_neo4j_as_well(tmp_path: Path, empty_neo4j: str):
    source, back = Home(tmp_path / "source"), Home(tmp_path / "back")
    home_of_tables(source.path, random_release(3))
    run("backup", "--to", str(tmp_path / "backups"), "--home", str(source.path))
    run("restore", str(tmp_path / "backups"), "--home", str(back.path), "--uri", empty_neo4j)
    check_projected(back, empty_neo4j)
