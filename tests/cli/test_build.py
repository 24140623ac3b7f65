"""``aroma build`` as its user meets it: exit codes, messages, and nothing half-written."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from aroma.kgstore.home import Home
from aroma.kgstore.publications import read_publications

SAMPLES = Path(__file__).parents[2] / "src" / "aroma" / "samples"
pytestmark = pytest.mark.embedded


def aroma(*words, limit=None):
    """Run the command; ``limit`` is the largest file that it may write, as a disk that fills up."""

    def bound():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    line = [sys.executable, "-m", "aroma.cli", *map(str, words)]
    before = bound if limit else None
    return subprocess.run(line, capture_output=True, text=True, check=False, preexec_fn=before)


def said(answer):
    assert "Traceback" not in answer.stderr
    return json.loads(answer.stdout)


@pytest.fixture
def shrunk(tmp_path):
    """The samples with half of CORUM's newest file: as a provider's file that was cut."""
    files = tmp_path / "files"
    shutil.copytree(SAMPLES, files)
    path = files / "corum" / "coreComplexes.4.1.txt"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[: len(lines) // 2]))
    return files


def test_build_refresh_and_back(embedded_home, shrunk):
    home = embedded_home.path
    first = aroma("build", "--from", SAMPLES, "--home", home, "--json")
    assert first.returncode == 0, first.stderr
    made = said(first)
    assert made["sequence"] == 1
    assert made["rejected"]["string"] >= 1
    assert made["views"]["path-kg"]["edges"] > 100
    again = said(aroma("build", "--from", SAMPLES, "--home", home, "--json"))
    assert (again["release"], again["unchanged"], again["sequence"]) == (made["release"], True, 1)
    stopped = aroma("build", "--from", shrunk, "--home", home, "--json")
    assert stopped.returncode == 3
    gates = said(stopped)["error"]["gates"]
    assert "fall:corum.MEMBER_OF" in gates
    assert len(read_publications(Home(home))) == 1
    accepted = [word for gate in gates for word in ("--accept", gate)]
    second = said(aroma("build", "--from", shrunk, "--home", home, "--json", *accepted))
    assert (second["sequence"], second["accepted_gates"]) == (2, sorted(gates))
    assert "retired" in {row["change"] for row in second["changes"]}
    count = "MATCH (c:Complex) RETURN count(c) AS n"
    older = said(aroma("query", "--cypher", count, "--as-of", "1", "--home", home, "--json"))
    newer = said(aroma("query", "--cypher", count, "--home", home, "--json"))
    assert older["rows"][0]["n"] > newer["rows"][0]["n"]
    back = said(aroma("releases", "rollback", "--home", home, "--json"))
    assert (back["sequence"], back["release"]) == (3, made["release"])
    assert said(aroma("query", "--cypher", count, "--home", home, "--json"))["rows"] == older["rows"]
    verified = aroma("releases", "verify", "--home", home, "--json")
    assert verified.returncode == 0, verified.stdout


def test_a_dry_run_keeps_nothing(tmp_path):
    answer = said(aroma("build", "--from", SAMPLES, "--home", tmp_path / "home", "--dry-run", "--json"))
    assert answer["sequence"] is None
    assert not (tmp_path / "home").exists()


def test_a_full_disk_is_one_sentence_and_leaves_no_release(tmp_path):
    home = Home(tmp_path / "home")
    answer = aroma("build", "--from", SAMPLES, "--home", home.path, "--json", limit=4_000)
    assert answer.returncode == 1
    assert "cannot be written" in said(answer)["error"]["message"]
    assert read_publications(home) == ()
    assert not home.release("x").parent.exists()


def test_a_home_that_is_a_file_is_named(tmp_path):
    (tmp_path / "home").write_text("")
    answer = aroma("build", "--from", SAMPLES, "--home", tmp_path / "home")
    assert answer.returncode == 2
    assert str(tmp_path / "home") in answer.stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--from", "does-not-exist"), "does-not-exist"),
        (("--from", str(SAMPLES), "--pin", "corom=3.0"), "corum"),
        (("--from", str(SAMPLES), "--pin", "corum=9.9"), "3.0"),
        (("--from", str(SAMPLES), "--accept", "dangling-end"), "dangling-ends"),
        (("--from", str(SAMPLES), "--exclude-channel", "textminig"), "textmining"),
        (("--from", str(SAMPLES), "--uri", "http://localhost"), "bolt"),
    ],
)
def test_wrong_use_names_the_mistake_and_the_remedy(words, expected, tmp_path):
    answer = aroma("build", "--home", tmp_path / "home", *words)
    assert answer.returncode == 2, answer.stderr
    assert expected in answer.stderr
    assert "Traceback" not in answer.stderr


def test_an_unreachable_neo4j_is_one_sentence(tmp_path):
    home = Home(tmp_path / "home")
    answer = aroma("build", "--from", SAMPLES, "--home", home.path, "--uri", "bolt://127.0.0.1:9", "--json")
    assert answer.returncode == 1
    assert "127.0.0.1:9" in said(answer)["error"]["message"]
    assert read_publications(home) == ()
