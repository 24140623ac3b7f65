"""The drawing of paths."""

from __future__ import annotations

import itertools
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from aroma.api.pages.drawing import draw_paths
from aroma.retrieval.evidence_model import Node, Path, Step

SVG = "{http://www.w3.org/2000/svg}"
LABELS = ("Gene", "GOTerm", "Pathway", "Complex")


def path_of(rank: int, names: list[str]) -> Path:
    nodes = [Node(id=f"X:{name}", label=LABELS[place % 4], name=name) for place, name in enumerate(names)]
    steps = [Step(start=a.id, end=b.id, edges=[]) for a, b in itertools.pairwise(nodes)]
    return Path(rank=rank, hops=len(steps), cost=0, nodes=nodes, steps=steps)


def read(text: str) -> ElementTree.Element:
    return ElementTree.fromstring(text.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1))


def test_a_node_that_paths_share_is_drawn_once():
    paths = [path_of(1, ["A", "m", "n", "B"]), path_of(2, ["A", "m", "o", "B"])]
    drawn = read(draw_paths(paths, lambda node: f"/gene/{node.id}"))
    names = [text.text for text in drawn.iter(f"{SVG}tspan")]
    assert sorted(str(name) for name in names) == ["A", "B", "m", "n", "o"]
    hops = [one.text for one in drawn.iter(f"{SVG}title") if " to " in str(one.text)]
    assert "A to m: path 1 hop 1, path 2 hop 1" in hops
    assert len(hops) == 5


def test_no_paths_draw_nothing():
    assert draw_paths([], lambda _: None) == ""


def test_long_names_are_cut_and_the_title_has_them_whole():
    long = "negative regulation of phosphatidylinositol 3-kinase signalling in absence of ligand"
    text = draw_paths([path_of(1, ["A", long, "B"])], lambda _: None)
    drawn = read(text)
    assert max(len(str(one.text)) for one in drawn.iter(f"{SVG}tspan")) <= 22
    assert any(long in str(title.text) for title in drawn.iter(f"{SVG}title"))


NAMES = st.text(min_size=1, max_size=60).filter(lambda text: text.isprintable() and text.strip())


@given(
    ends=st.tuples(NAMES, NAMES).filter(lambda pair: pair[0] != pair[1]),
    inner=st.lists(st.lists(NAMES, min_size=1, max_size=5, unique=True), min_size=1, max_size=6),
)
def test_any_names_give_well_formed_svg_within_its_bounds(ends: tuple[str, str], inner: list[list[str]]):
    clean = [[name for name in names if name not in ends] or ["x" * 61] for names in inner]
    paths = [path_of(rank, [ends[0], *names, ends[1]]) for rank, names in enumerate(clean, 1)]
    drawn = read(draw_paths(paths, lambda node: f"/gene/{node.id}"))
    width, height = float(drawn.attrib["width"]), float(drawn.attrib["height"])
    for box in drawn.iter(f"{SVG}rect"):
        assert 0 <= float(box.attrib["x"]) <= width - float(box.attrib["width"])
        assert 0 <= float(box.attrib["y"]) <= height - float(box.attrib["height"])
    nodes = {name for names in clean for name in names} | set(ends)
    assert len(list(drawn.iter(f"{SVG}g"))) == len(nodes)
