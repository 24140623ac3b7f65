"""The paths between two genes as one drawing: SVG made on the server, every node a link, every hop named in words.

Nodes stand in columns by their place on the first path that has them; a node that several paths share is drawn once.
Colour is never the only sign: each kind of node has a shape of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final
from xml.sax.saxutils import escape, quoteattr

from aroma.retrieval.evidence_model import Node, Path

_BOX: Final = (158, 40)
_GAP: Final = (58, 26)
_MARGIN: Final = 14
_LETTERS_A_LINE: Final = 22
_LINES: Final = 2
Address = Callable[[Node], str | None]


@dataclass
class _Layout:
    """Where nodes stand: ``places`` by id as (column, row); ``hops`` by its two ends, with the paths that take it."""

    nodes: dict[str, Node] = field(default_factory=dict)
    places: dict[str, tuple[int, float]] = field(default_factory=dict)
    hops: dict[tuple[str, str], list[tuple[int, int]]] = field(default_factory=dict)
    columns: int = 0
    rows: int = 0

    def xy(self, node: str) -> tuple[float, float]:
        """Return the middle of a node's box."""
        column, row = self.places[node]
        width, height = _BOX[0] + _GAP[0], _BOX[1] + _GAP[1]
        return _MARGIN + _BOX[0] / 2 + column * width, _MARGIN + _BOX[1] / 2 + row * height

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the drawing."""
        width = 2 * _MARGIN + self.columns * _BOX[0] + (self.columns - 1) * _GAP[0]
        height = 2 * _MARGIN + self.rows * _BOX[1] + (self.rows - 1) * _GAP[1]
        return width, height


def draw_paths(paths: Sequence[Path], address: Address) -> str:
    """Return the drawing as SVG text; empty where there are no paths.

    Args:
        paths: Ranked paths of one pair.
        address: Where a node's link goes, or None for no link.
    """
    if not paths:
        return ""
    layout = _lay_out(paths)
    width, height = layout.size
    said = f"{len(paths)} paths from {paths[0].nodes[0].name} to {paths[0].nodes[-1].name}"
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    parts = [
        f'<svg class="paths" {size} role="group" aria-label={quoteattr(said)}>',
        *(_hop(layout, ends, taken) for ends, taken in layout.hops.items()),
        *(_node(layout, node, address(node)) for node in layout.nodes.values()),
        "</svg>",
    ]
    return "".join(parts)


def _lay_out(paths: Sequence[Path]) -> _Layout:
    layout = _Layout(columns=max(len(path.nodes) for path in paths))
    first, last = paths[0].nodes[0], paths[0].nodes[-1]
    columns: dict[int, int] = {}  # nodes so far in each column
    for path in paths:
        for place, node in enumerate(path.nodes):
            layout.nodes.setdefault(node.id, node)
            if node.id not in layout.places and node.id not in {first.id, last.id}:
                layout.places[node.id] = (place, columns.get(place, 0))
                columns[place] = columns.get(place, 0) + 1
        for place, (one, other) in enumerate(zip(path.nodes[:-1], path.nodes[1:], strict=True)):
            layout.hops.setdefault((one.id, other.id), []).append((path.rank, place + 1))
    layout.rows = max([1, *columns.values()])
    layout.places = {
        node: (column, row + (layout.rows - columns[column]) / 2) for node, (column, row) in layout.places.items()
    }
    middle = (layout.rows - 1) / 2
    layout.places[first.id], layout.places[last.id] = (0, middle), (layout.columns - 1, middle)
    return layout


def _hop(layout: _Layout, ends: tuple[str, str], taken: list[tuple[int, int]]) -> str:
    (x1, y1), (x2, y2) = layout.xy(ends[0]), layout.xy(ends[1])
    x1, x2 = x1 + _BOX[0] / 2, x2 - _BOX[0] / 2
    bend = max((x2 - x1) / 2, 12)
    names = layout.nodes[ends[0]].name, layout.nodes[ends[1]].name
    which = ", ".join(f"path {rank} hop {hop}" for rank, hop in taken)
    line = f"M{x1:.0f} {y1:.0f}C{x1 + bend:.0f} {y1:.0f} {x2 - bend:.0f} {y2:.0f} {x2:.0f} {y2:.0f}"
    rank, hop = taken[0]
    title = escape(f"{names[0]} to {names[1]}: {which}")
    return (
        f'<a href="#hop-{rank}-{hop}" tabindex="-1" aria-hidden="true"><title>{title}</title>'
        f'<path class="hop" d="{line}"/><path class="grip" d="{line}"/></a>'
    )


def _node(layout: _Layout, node: Node, link: str | None) -> str:
    x, y = layout.xy(node.id)
    lines = _lines(node.name)
    start = y + 4.5 - (len(lines) - 1) * 7
    text = "".join(f'<tspan x="{x:.0f}" y="{start + 14 * place:.0f}">{escape(line)}</tspan>'
                   for place, line in enumerate(lines))  # fmt: skip
    drawn = (
        f'<g class="node {escape(node.label)}"><title>{escape(f"{node.name} ({node.id}, {node.label})")}</title>'
        f'{_shape(node.label, x, y)}<text text-anchor="middle">{text}</text></g>'
    )
    return drawn if link is None else f"<a href={quoteattr(link)}>{drawn}</a>"


def _shape(label: str, x: float, y: float) -> str:
    """Return the outline of a kind: genes round, terms square, pathways pointed, complexes with cut corners."""
    width, height = _BOX
    left, top = x - width / 2, y - height / 2
    if label in {"Pathway", "Complex"}:
        cut = height / 2 if label == "Pathway" else 9
        lower = y if label == "Pathway" else top + cut
        upper = y if label == "Pathway" else top + height - cut
        corners = [
            (left, lower), (left + cut, top), (left + width - cut, top), (left + width, lower),
            (left + width, upper), (left + width - cut, top + height), (left + cut, top + height), (left, upper),
        ]  # fmt: skip
        points = " ".join(f"{one:.0f},{other:.0f}" for one, other in corners)
        return f'<polygon points="{points}"/>'
    round_by = height / 2 if label == "Gene" else 2
    return f'<rect x="{left:.0f}" y="{top:.0f}" width="{width}" height="{height}" rx="{round_by:.0f}"/>'


def _lines(name: str) -> list[str]:
    """Break a name into at most two lines; what does not fit is cut, the title has it whole."""
    lines = [""]
    for word in name.split():
        joined = f"{lines[-1]} {word}".strip()
        if len(joined) <= _LETTERS_A_LINE or not lines[-1]:
            lines[-1] = joined
        else:
            lines.append(word)
    shown = lines[:_LINES]
    if len(lines) > _LINES or len(shown[-1]) > _LETTERS_A_LINE:
        shown[-1] = shown[-1][: _LETTERS_A_LINE - 1] + "…"
    return [line if len(line) <= _LETTERS_A_LINE else line[: _LETTERS_A_LINE - 1] + "…" for line in shown]
