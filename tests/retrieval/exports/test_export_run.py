"""Running an export: put in place whole, never over something else, with a card that says what it is."""

from __future__ import annotations

import hashlib
import json

import pytest

from aroma.errors import ExportError, UsageError
from aroma.retrieval.exports import networkx
from aroma.retrieval.exports.run import ExportRequest, card_path, run_export


def test_a_directory_holds_its_card(export, export_home):
    made = export("kgx", command="aroma export kgx --out out")
    card = json.loads((made.out / "export.json").read_text())
    assert card == made.card
    assert card_path(made.out) == made.out / "export.json"
    assert card["format"] == "kgx"
    assert card["release"] == json.loads(export_home.published.read_text())[-1]["release"]
    assert card["rows"] == {"nodes": 15, "edges": 23}
    assert card["command"] == "aroma export kgx --out out"
    for file in card["files"]:
        content = (made.out / file["name"]).read_bytes()
        assert (file["bytes"], file["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    assert {path.name for path in made.out.iterdir()} == {"export.json", *(file["name"] for file in card["files"])}


def test_a_file_has_its_card_beside_it(export):
    made = export("networkx", "graph.json")
    assert card_path(made.out).name == "graph.json.export.json"
    assert json.loads(card_path(made.out).read_text()) == made.card
    assert sorted(path.name for path in made.out.parent.iterdir()) == ["graph.json", "graph.json.export.json"]


def test_a_licence_that_binds_follows_into_the_card(export):
    made = export("networkx")
    (note,) = made.card["licence_notes"]
    assert note.startswith("CORUM's licence CC BY 4.0 forbids commercial use, and binds this export")
    providers = {row["provider"]: row for row in made.card["providers"]}
    assert providers["corum"]["commercial_use"] is False
    assert providers["string"]["licence"] == "CC BY 4.0"


def test_a_commercial_export_says_what_it_left_out(export):
    made = export("networkx", commercial_only=True)
    (note,) = made.card["licence_notes"]
    assert note == ("CORUM is left out: its licence CC BY 4.0 forbids commercial use (2 edges, 1 nodes of the release)")
    assert made.card["left_out"] == ["corum"]
    assert "corum" not in {row["provider"] for row in made.card["providers"]}


def test_an_export_that_forbids_nothing_says_nothing(export):
    assert export("networkx", view="gene-kg-string").card["licence_notes"] == []


def test_what_is_there_stays_unless_it_may_be_replaced(export):
    first = export("kgx")
    with pytest.raises(UsageError, match="is there already"):
        export("kgx", commercial_only=True)
    assert json.loads((first.out / "export.json").read_text())["licence"] == "any"
    export("kgx", commercial_only=True, overwrite=True)
    assert json.loads((first.out / "export.json").read_text())["licence"] == "commercial"


def test_a_directory_that_is_no_export_is_never_replaced(export, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("years of work")
    with pytest.raises(UsageError, match="so no export, and is not replaced"):
        export("kgx", overwrite=True)
    assert (tmp_path / "out" / "thesis.tex").read_text() == "years of work"


def test_a_file_replaces_a_directory_and_its_card(export):
    export("kgx")
    made = export("networkx", overwrite=True)
    assert made.out.is_file()
    assert card_path(made.out).is_file()


def test_a_failed_export_leaves_the_earlier_one_and_nothing_half_done(export, tmp_path, monkeypatch):
    first = export("networkx")
    before = first.out.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(networkx, "_links", full)
    with pytest.raises(ExportError, match="No space left on device"):
        export("networkx", overwrite=True)
    assert first.out.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "out.export.json"]


def test_a_place_that_cannot_be_made_is_named(export_home, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ExportError, match="cannot be written"):
        run_export(export_home, ExportRequest("kgx", tmp_path / "file" / "out"))


@pytest.mark.parametrize("name", ["kgx", "biolink-jsonl", "networkx", "rdf"])
def test_the_same_export_again_is_the_same_bytes(export, name):
    one, other = (export(name, place).card["files"] for place in ("one", "other"))
    assert [file["sha256"] for file in one] == [file["sha256"] for file in other]
