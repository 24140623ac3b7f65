"""Outcomes stand apart from the release: same release with and without them, and a way back to their file."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from aroma.errors import ReleaseError
from aroma.importers.base import ImportOptions
from aroma.importers.build import Reading, read_all
from aroma.importers.discover import discover
from aroma.kgstore.home import Home
from aroma.kgstore.outcome_origins import audit_of_outcomes, load_origin, store_with_origin
from aroma.kgstore.outcomes import load_outcomes
from aroma.kgstore.tables import release_id
from tests.support.samples import BUNDLED


def reading(source: Path) -> Reading:
    return read_all(discover(source, pins={}), ImportOptions(), lambda _: None)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Reading]:
    """The samples with one outcome that is refused and one whose gene nobody knows."""
    source = tmp_path_factory.mktemp("files") / "all"
    shutil.copytree(BUNDLED, source)
    file = min((source / "perturbqa").iterdir())
    file.write_text(file.read_text().rstrip("\n") + "\nTULP1,ITCH,9,train\nNOSUCHGENE,ITCH,1,train\n")
    return source, reading(source)


def test_a_release_has_the_same_id_with_and_without_outcomes(whole: tuple[Path, Reading], tmp_path: Path) -> None:
    shutil.copytree(whole[0], tmp_path / "bare", ignore=shutil.ignore_patterns("perturbqa"))
    bare = reading(tmp_path / "bare")
    assert bare.measured == []
    assert whole[1].measured
    assert release_id(bare.tables.digests()) == release_id(whole[1].tables.digests())
    assert bare.reports == whole[1].reports
    assert bare.tables["nodes"].filter(bare.tables["nodes"]["label"] == "CellLine").height > 0


def test_an_outcome_leads_back_to_its_file_and_line(whole: tuple[Path, Reading], tmp_path: Path) -> None:
    home = Home(tmp_path)
    (outcomes, origin), *_ = whole[1].measured
    version = store_with_origin(home, outcomes, origin, "abc")
    assert store_with_origin(home, outcomes, origin, "abc") == version
    found = load_origin(home, sha256=version.sha256)
    row = load_outcomes(home, version.sha256).filter(outcomes["line"].is_not_null()).row(0, named=True)
    files = {run["file"]: run for run in found.tables["import_runs"].iter_rows(named=True)}
    run = files[f"{row['cell_line']}.csv"]
    line = (whole[0] / "perturbqa" / run["file"]).read_text().splitlines()[row["line"] - 1]
    assert line.startswith(f"{row['perturbation']},{row['target']},{row['label']},")
    assert [text.split("\t")[:3] for text in found.tables["rejects"]["text"]] == [["TULP1", "ITCH", "9"]]
    assert "NOSUCHGENE" in found.tables["unresolved"]["identifier"]
    assert found.tables["sources"]["provider"].to_list() == ["perturbqa"]
    said = audit_of_outcomes(home)
    assert (said["rejects"]["rows"], said["versions"][0]["sha256"]) == (1, version.sha256)
    assert sum(run["rejected"] for run in said["import_runs"]) == 1


def test_a_damaged_origin_is_named(whole: tuple[Path, Reading], tmp_path: Path) -> None:
    home = Home(tmp_path)
    (outcomes, origin), *_ = whole[1].measured
    version = store_with_origin(home, outcomes, origin, "abc")
    assert load_origin(home, key="other").tables["import_runs"].is_empty()
    place = home.outcomes / version.sha256 / "origins" / "abc"
    (place / "rejects.parquet").write_bytes(b"PAR1")
    with pytest.raises(ReleaseError, match=str(place)):
        load_origin(home, key="abc")
