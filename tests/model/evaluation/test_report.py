"""The HTML page and the paper's tables, made of an evaluation of planted outcomes."""

from __future__ import annotations

import copy
import re
from html.parser import HTMLParser
from typing import ClassVar
from xml.etree import ElementTree

import pytest

from aroma.errors import UsageError
from aroma.model import registry
from aroma.model.evaluation import tables, text, trials
from aroma.model.evaluation.report import html_report
from aroma.model.evaluation.run import Request
from aroma.model.evaluation.tables import NOT_HERE, paper_table
from aroma.model.ground import Ground
from aroma.model.predictors.core_voting import CoreVoting
from aroma.retrieval.vector_store import list_vector_sets

VOID = {"meta", "br", "hr", "img", "link", "input"}


class Balanced(HTMLParser):
    """Checks that every element is closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag, attrs):
        self.seen.add(tag)
        assert not any(name in {"src", "onload"} for name, _ in attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def page(evaluated) -> str:
    return html_report(evaluated)


def test_the_page_is_whole_and_fetches_nothing(page):
    parser = Balanced()
    parser.feed(page)
    assert parser.open == []
    assert {"svg", "table", "caption"} <= parser.seen
    assert "script" not in parser.seen
    assert "link" not in parser.seen
    assert set(re.findall(r'(?:href|url)[=(]"?(https?:)', page)) == set()
    assert not re.search(r'xlink:href="[^#]', page)


def test_every_plot_is_well_formed_and_named(page):
    plots = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(plots) >= 4
    for plot in plots:
        assert ElementTree.fromstring(plot).attrib["aria-label"]


def test_the_numbers_of_the_page_are_those_of_the_results(page, evaluated):
    for model in evaluated["models"]:
        assert text.shown(model["measures"]["mean_f1"]) in page
        assert text.shown(model["measures"]["change"]) in page
    for sentence in evaluated["leakage"]:
        assert sentence in page


def test_names_from_files_are_escaped(evaluated):
    found = copy.deepcopy(evaluated)
    found["models"][2]["name"] = "<script>alert(1)</script> $x"
    found["strata"] = []
    page = html_report(found)
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_figures_are_written_as_papers_write_them():
    assert text.figure(0.75) == ".750"
    assert text.figure(-0.02, plus=True) == "-.020"
    assert text.figure(0.02, plus=True) == "+.020"
    assert text.figure(1.0) == "1.000"
    assert text.figure(10.5, 1) == "10.5"
    assert text.figure(None) == "-"
    assert text.shown({"value": 0.5, "low": None, "high": None}) == ".500"


@pytest.fixture(scope="module")
def with_rpe1(outcomes, tmp_path_factory):
    """The planted outcomes with Jurkat's also standing as RPE1's, since the tables ask for four lines."""
    import polars as pl

    frame = pl.read_csv(outcomes)
    more = frame.filter(pl.col("cell_line") == "Jurkat").with_columns(cell_line=pl.lit("RPE1"))
    path = tmp_path_factory.mktemp("four") / "four.csv"
    pl.concat([frame, more]).write_csv(path)
    return path


def silent(_text):
    return None


def test_table_1_has_a_row_a_model_and_invents_nothing(ground, with_rpe1):
    found = paper_table(ground, Request(with_rpe1, plugins=("core-voting",)), 1, silent)
    assert len(found["columns"]) == 14
    rows = {row[0]: row[1:] for row in found["rows"]}
    assert set(rows["AROMA (language model)"]) == {NOT_HERE}
    assert list(rows)[:3] == ["gene-frequency", "line-transfer", "core-voting"]
    values = [float(cell) for cell in rows["core-voting"]]
    assert values[-1] == pytest.approx(sum(values[:-1]) / 12, abs=0.01)


def test_table_2_asks_the_same_rows_with_and_without_the_line(ground, with_rpe1):
    found = paper_table(ground, Request(with_rpe1, plugins=("core-voting",)), 2, silent)
    settings = [(row[0], row[1]) for row in found["rows"] if row[0] == "core-voting"]
    assert settings == [("core-voting", "unseen cell line"), ("core-voting", "training")]


@pytest.mark.parametrize(("number", "rows"), [(4, 7), (10, 28)])
def test_tables_4_and_10_part_each_line(ground, with_rpe1, number, rows):
    found = paper_table(ground, Request(with_rpe1, plugins=("core-voting",)), number, silent)
    assert len(found["rows"]) == rows
    assert all(len(row) == len(found["columns"]) for row in found["rows"])


@pytest.mark.parametrize("number", [8, 9])
def test_tables_of_what_is_not_here_say_so(ground, with_rpe1, number):
    found = paper_table(ground, Request(with_rpe1, plugins=("core-voting",)), number, silent)
    assert any(NOT_HERE in row for row in found["rows"])
    assert found["notes"]


def test_table_9_shows_the_networks_that_were_trained(home_with_vectors, outcomes):
    found = paper_table(Ground(home_with_vectors), Request(outcomes, plugins=("core-voting",)), 9, silent)
    said = {one.card.id: one.facts["test"] for one in list_vector_sets(home_with_vectors)}
    rows = [row for row in found["rows"] if row[3] in said]
    assert [row[0] for row in rows] == ["Gene-KG", "Path-KG"]
    assert not any(NOT_HERE in row for row in found["rows"])
    for _, uniform, degree, name, _ in rows:
        assert [uniform, degree] == [text.figure(said[name].get(kind)) for kind in ("uniform", "degree")]
        assert 0 < float(uniform) < 1
    assert [row[-1] for row in found["rows"]] == [".95", ".92"]


def test_table_8_fits_a_plugin_that_has_hops_once_for_each(ground, with_rpe1, monkeypatch):
    class Encoded(CoreVoting):
        """Core voting that reads a neighbourhood: with another range it weighs other lines otherwise."""

        name = "encoded"
        defaults: ClassVar = {**CoreVoting.defaults, "hops": 1}

        def _fit(self, training, progress):
            self.settings["other_lines"] = self.settings["hops"] / 3
            super()._fit(training, progress)

    for module in (tables, trials):
        monkeypatch.setattr(module, "plugin", lambda name: Encoded if name == "encoded" else registry.plugin(name))
    found = paper_table(ground, Request(with_rpe1, plugins=("encoded",)), 8, silent)
    mine = [row for row in found["rows"] if row[0] == "encoded"]
    assert [row[1] for row in mine] == ["1", "2", "3"]
    assert len({tuple(row[2:]) for row in mine}) > 1
    assert [row[:2] for row in found["rows"]][:2] == [["gene-frequency", "-"], ["line-transfer", "-"]]
    assert all(len(row) == len(found["columns"]) for row in found["rows"])


def test_other_tables_and_lines_that_are_missing_are_refused(ground, outcomes):
    with pytest.raises(UsageError, match="--table 6"):
        paper_table(ground, Request(outcomes), 6, silent)
    with pytest.raises(UsageError, match="needs rows of RPE1"):
        paper_table(ground, Request(outcomes, plugins=("core-voting",)), 1, silent)
    with pytest.raises(UsageError, match="needs rows of RPE1"):
        paper_table(ground, Request(outcomes, plugins=("core-voting",)), 2, silent)
