"""``aroma similar`` as a user types it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from aroma.cli.app import run
from aroma.kgstore.home import Home
from aroma.kgstore.publications import require_published
from aroma.retrieval.vector_store import find_vector_set
from tests.support.vectors import make_vectors

WRONG, FAILED = 2, 1


@pytest.fixture(scope="module")
def home(sample_home: Home, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """The samples, and a set by an encoder that knows one gene alone."""
    place = tmp_path_factory.mktemp("similar") / "home"
    shutil.copytree(sample_home.path, place)
    found = Home(place)
    make_vectors(found, require_published(found).release, {"HGNC:18": [1.0, 2.0]}, name="other")
    return found


def asked(home: Home, *words: str) -> int:
    return run(["similar", *words, "--home", str(home.path)])


def test_the_graphs_own_vectors_are_made_when_asked_for_and_kept(home: Home, capsys: pytest.CaptureFixture[str]):
    assert asked(home, "TULP1", "--encoder", "graph-svd", "-k", "3", "--json") == 0
    first = capsys.readouterr()
    answer = json.loads(first.out)
    assert [item["rank"] for item in answer["items"]] == [1, 2, 3]
    assert "making graph-svd" in first.err
    release = require_published(home).release
    assert find_vector_set(home, release, "graph-svd").card.id == answer["encoder"]["id"]
    assert asked(home, "TULP1", "--encoder", "graph-svd", "-k", "3", "--json") == 0
    second = capsys.readouterr()
    assert (second.out, "making" in second.err) == (first.out, False)


def test_every_encoder_is_asked_and_one_without_the_gene_says_so(home: Home, capsys: pytest.CaptureFixture[str]):
    assert asked(home, "TULP1", "--all-encoders", "--json") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["encoder"]["encoder"] for line in lines if "items" in line] == ["graph-svd"]
    assert ["has no vector by other" in line["problem"] for line in lines if "problem" in line] == [True]


def test_people_see_a_table_with_what_is_shared_and_the_licences(home: Home, capsys: pytest.CaptureFixture[str]):
    assert asked(home, "TULP1", "--encoder", "graph-svd", "--shares", "term", "-k", "2") == 0
    shown = capsys.readouterr().out
    assert "shares with TULP1" in shown
    assert "corum CC BY-NC" in shown


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["TULPP1", "--encoder", "graph-svd"], WRONG, "did you mean TULP1"),
        (["TULP1", "--encoder", "graph-sdv"], WRONG, "did you mean 'graph-svd'"),
        (["TULP1", "--encoder", "other"], WRONG, "it was not among what was embedded"),
        (["TULP1", "--encoder", "graph-svd", "--shares", "name"], WRONG, "complex, pathway, term, string"),
        (["TULP1", "--encoder", "graph-svd", "-k", "0"], WRONG, "1 to 200"),
        (["TULP1", "--encoder", "graph-svd", "--all-encoders"], WRONG, "not both"),
        ([], WRONG, "aroma similar TP53"),
        (["--fill-neo4j", "graph-svd", "--uri", "embedded:"], WRONG, "only Neo4j has a vector index"),
        (["--fill-neo4j", "graph-svd", "--uri", "bolt://127.0.0.1:9"], FAILED, "127.0.0.1:9"),
    ],
)
def test_errors_are_one_sentence(
    home: Home, capsys: pytest.CaptureFixture[str], words: list[str], code: int, said: str
):
    asked(home, "TULP1", "--encoder", "graph-svd", "-k", "1", "--json")
    capsys.readouterr()
    assert asked(home, *words) == code
    assert said in " ".join(capsys.readouterr().err.split())


def test_an_index_of_faiss_is_made_once_and_tells_its_recall(home: Home, capsys: pytest.CaptureFixture[str]):
    assert asked(home, "TULP1", "--encoder", "graph-svd", "--index", "hnsw", "--json") == 0
    by_graph = json.loads(capsys.readouterr().out)
    assert asked(home, "TULP1", "--encoder", "graph-svd", "--index", "numpy", "--json") == 0
    exact = json.loads(capsys.readouterr().out)
    assert by_graph["items"] == exact["items"]
    assert (by_graph["index"], exact["index"]) == ("hnsw", "numpy")
    assert 0 < by_graph["recall"] <= 1
    index = find_vector_set(home, exact["release"], "graph-svd").directory / "index-hnsw"
    assert sorted(path.name for path in Path(index).iterdir()) == ["faiss.index", "manifest.json"]
