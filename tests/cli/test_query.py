"""``aroma query`` as its user meets it: tables, CSV, JSON, an older release, and what is refused."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from aroma.kgstore.engines.embedded_owner import stop_owner
from aroma.kgstore.home import Home

SAMPLES = Path(__file__).parents[2] / "src" / "aroma" / "samples"
COUNT = "MATCH (c:Complex) RETURN count(c) AS n, 'a,b' AS text, ['x', 'y'] AS list"
pytestmark = pytest.mark.embedded


def aroma(*words: object) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "aroma.cli", *map(str, words)]
    return subprocess.run(line, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """The samples on an embedded engine."""
    place = Home(tmp_path_factory.mktemp("query") / "home")
    built = aroma("build", "--from", SAMPLES, "--home", place.path)
    assert built.returncode == 0, built.stderr
    yield place
    stop_owner(place)


def test_json_has_rows_columns_and_the_release(home: Home) -> None:
    answer = aroma("query", "--cypher", COUNT, "--home", home.path, "--json")
    said = json.loads(answer.stdout)
    assert (said["columns"], said["rows"]) == (["n", "text", "list"], [{"n": 9, "text": "a,b", "list": ["x", "y"]}])
    assert said["release"].startswith("r")
    assert said["truncated"] is False


def test_csv_is_read_back_by_a_csv_reader(home: Home) -> None:
    answer = aroma("query", "--cypher", COUNT, "--home", home.path, "--format", "csv")
    assert list(csv.reader(io.StringIO(answer.stdout))) == [["n", "text", "list"], ["9", "a,b", "x;y"]]


def test_a_table_shows_rows_and_says_the_release_beside_them(home: Home) -> None:
    answer = aroma("query", "--cypher", COUNT, "--home", home.path)
    assert answer.returncode == 0, answer.stderr
    for shown in ("text", "9", "a,b"):
        assert shown in answer.stdout
    assert "rows from release" in answer.stderr


def test_as_of_answers_from_that_release(home: Home) -> None:
    now = json.loads(aroma("query", "--cypher", COUNT, "--home", home.path, "--json").stdout)
    then = json.loads(aroma("query", "--cypher", COUNT, "--as-of", "1", "--home", home.path, "--json").stdout)
    assert (then["release"], then["rows"]) == (now["release"], now["rows"])
    unknown = aroma("query", "--cypher", COUNT, "--as-of", "99", "--home", home.path)
    assert unknown.returncode != 0
    assert "99" in unknown.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--cypher", "CREATE (n) RETURN n"), "CREATE"),
        (("edge-provenance", "--param", "subject"), "NAME=VALUE"),
        (("edge-provenence",), "edge-provenance"),
        (("--file", "/nowhere.cypher"), "/nowhere.cypher"),
    ],
)
def test_wrong_use_is_one_line_that_names_it(home: Home, words: tuple[str, ...], said: str) -> None:
    answer = aroma("query", *words, "--home", home.path)
    assert answer.returncode == 2
    assert said in answer.stderr
    assert "Traceback" not in answer.stderr
