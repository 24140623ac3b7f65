"""Why ``boosted-evidence`` answers as it does: SHAP values by kind of evidence, with what stands behind each."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Final

import numpy as np
import polars as pl

from aroma.model.evidence_features import expression
from aroma.model.evidence_features.boosting import Floats
from aroma.model.evidence_features.layers import Float32
from aroma.model.evidence_features.observations import UNKNOWN
from aroma.model.evidence_features.rates import COLUMNS
from aroma.model.evidence_features.state import Learned
from aroma.model.evidence_features.table import NAMES
from aroma.model.ground import Ground
from aroma.model.plugin import Reason
from aroma.retrieval.gene_kernels import TERM_SETS

_KINDS: Final = (
    (("rate_", "line_"), "rates"),
    (("near_rate", "smooth_"), "similar targets"),
    (("changed_", "signed_", "nearest_", "similarity_", "near_excess"), "related perturbations"),
    (("process_", "near_process_"), "process"),
    (("factors",), "factorisation"),
    (("pair_", "excess_", "lines_"), "other lines"),
    (("target_expression", "perturbation_expression"), "expression"),
)
_COLUMNS: Final = (*NAMES, *expression.NAMES)
_SHOWN: Final = 3
_NAMED: Final = 2
_RARE: Final = 2.5
"""Weight, the log of genes to genes that have it, from which a shared feature is worth a word."""
_SHARED: Final = {
    "complex": "both in",
    "pathway": "both in",
    TERM_SETS: "both annotated to",  # no kernel: what merely regulates a process is not said to take part in it
    "string": "both linked to",
}
_PROVIDERS: Final = {"complex": "corum", "pathway": "reactome", TERM_SETS: "gene_ontology", "string": "string"}
_SAID: Final = ("not significant", "down", "up")


def kind_of(column: str) -> str:
    """Return the kind of evidence of a feature."""
    return next(kind for beginnings, kind in _KINDS if column.startswith(beginnings))


KIND_OF: Final = tuple(kind_of(column) for column in _COLUMNS)
_Text = tuple[str, tuple[str, ...]]


class _Teller:
    """What stands behind each kind of evidence for one row."""

    def __init__(
        self, ground: Ground, learned: Learned, providers: Collection[str], row: Mapping[str, Any], columns: Float32
    ) -> None:
        self.ground, self.learned, self.providers, self.row, self.columns = ground, learned, providers, row, columns
        self.line = _place(learned.codes.lines, row["cell_line"])
        self.code = _place(learned.codes.perturbations, _key(row, "perturbation"))
        self.target = _place(learned.codes.targets, _key(row, "target"))

    def value(self, name: str) -> float:
        return float(self.columns[_COLUMNS.index(name)])

    def node(self, side: str) -> int:
        gene = self.row[f"{side}_gene"]
        return int(self.ground.nodes_of(pl.Series([gene], dtype=pl.String))[0])

    def rates(self) -> _Text:
        target, line = self.row["target"], self.row["cell_line"]
        if self.target == UNKNOWN:
            return f"{target} was not measured in training; the usual rates stand for it", ()
        seen = self.learned.seen
        own = slice(seen.start[self.target], seen.start[self.target + 1])
        here = seen.line[own] == self.line
        changed = seen.label[own] > 0
        text = f"{target} changed in {int((changed & here).sum())} of {int(here.sum())} perturbations in {line}"
        if here.all():
            return text, ()
        return f"{text}, in {int((changed & ~here).sum())} of {int((~here).sum())} in other lines", ()

    def perturbations(self) -> _Text:
        """Name the most similar perturbations that were measured on the target, and what they share."""
        node = self.node("perturbation")
        if UNKNOWN in {self.target, node}:
            return "no related perturbation was measured on this target", ()
        seen = self.learned.seen
        rows = np.arange(seen.start[self.target], seen.start[self.target + 1])
        rows = rows[seen.perturbation[rows] != self.code]
        kernels = self.learned.perturbations.row(node)
        alike = self.learned.similarity(kernels[seen.perturbation[rows]])
        best = rows[np.lexsort((rows, -alike))][:_SHOWN]
        best = [int(place) for place, value in zip(best, np.sort(alike)[::-1], strict=False) if value > 0]
        if not best:
            return "no related perturbation was measured on this target", ()
        sources = tuple(self.learned.codes.perturbations[seen.perturbation[place]] for place in best)
        return "; ".join(self._one(node, place) for place in best), sources

    def _one(self, node: int, row: int) -> str:
        seen = self.learned.seen
        other = int(self.learned.perturbations.nodes[seen.perturbation[row]])
        nodes = self.ground.snapshot.nodes
        said = f"{nodes.shown(other)}: {_SAID[seen.label[row]]} in {self.learned.codes.lines[seen.line[row]]}"
        names = [text for _, text in sorted(self._shared(node, other), key=lambda one: (-one[0], one[1]))[:_NAMED]]
        return f"{said} ({'; '.join(names)})" if names else said

    def _shared(self, one: int, other: int) -> Iterator[tuple[float, str]]:
        """Yield the rarest complex, pathway, term and partner that two genes share: its weight, and a few words."""
        for name, words in _SHARED.items():
            if _PROVIDERS[name] not in self.providers:
                continue
            common = self.ground.kernels[name].common(one, other)
            partners = [place for place in common if name != "string" or place[0] not in {one, other}]
            if partners and partners[0][1] >= _RARE:
                yield partners[0][1], f"{words} {self.ground.snapshot.nodes.shown(partners[0][0])}"

    def targets(self) -> _Text:
        near = self.learned.near_targets.names[self.target] if self.target != UNKNOWN else np.zeros(0, dtype=np.int32)
        names = [self.learned.codes.targets[code] for code in near[near >= 0][:_SHOWN]]
        shown = ", ".join(self._shown(int(self.learned.targets.nodes[code])) for code in near[near >= 0][:_SHOWN])
        rate = self.value(f"near_rate_{COLUMNS[0]}")
        text = f"targets that respond alike ({shown or 'none known'}) change in {rate:.0%} of perturbations"
        return text, tuple(names)

    def _shown(self, node: int) -> str:
        return self.ground.snapshot.nodes.shown(node) if node >= 0 else "unresolved gene"

    def process(self) -> _Text:
        text = "the process over all perturbations of the target expects {:+.2f} change above its usual, {:+.2f} upward"
        return text.format(self.value("process_changed"), self.value("process_signed")), ()

    def factorisation(self) -> _Text:
        text = "the factors of the two genes move the log odds of change by {:+.2f}, of up against down by {:+.2f}"
        return text.format(self.value("factors0_changed_own"), self.value("factors1_up_own")), ()

    def lines(self) -> _Text:
        if self.code == UNKNOWN or self.value("lines_elsewhere") == 0:
            return f"{self.row['perturbation']} was measured in no other line", ()
        if self.target == UNKNOWN:
            return f"{self.row['target']} was measured in no other line", ()
        seen = self.learned.seen
        rows = np.arange(seen.start[self.target], seen.start[self.target + 1])
        rows = rows[(seen.perturbation[rows] == self.code) & (seen.line[rows] != self.line)]
        measured = [f"{_SAID[seen.label[row]]} in {self.learned.codes.lines[seen.line[row]]}" for row in rows]
        if measured:
            return "the same pair: " + ", ".join(measured), ()
        more = round(100 * self.value("excess_changed"))
        return f"in other lines its targets change {more:+d}% against their usual; this pair was not measured", ()

    def expression(self) -> _Text:
        return f"{self.row['target']} has a baseline of {self.value('target_expression'):.2f} log counts", ()


_TELLERS: Final[dict[str, Callable[[_Teller], _Text]]] = {
    "rates": _Teller.rates,
    "similar targets": _Teller.targets,
    "related perturbations": _Teller.perturbations,
    "process": _Teller.process,
    "factorisation": _Teller.factorisation,
    "other lines": _Teller.lines,
    "expression": _Teller.expression,
}


def reasons_for(
    ground: Ground,
    learned: Learned,
    providers: Collection[str],
    row: Mapping[str, Any],
    columns: Float32,
    contributions: Mapping[str, Floats],
    changed: float,
) -> list[Reason]:
    """Return one reason for each kind of evidence; direction weighs as much as change is likely.

    Args:
        ground: The opened release.
        learned: What was learned.
        providers: Those whose edges were read.
        row: Columns of ``aroma.model.ground.ROWS``.
        columns: float32 (columns), the row's features.
        contributions: By step, float64 (columns), SHAP values.
        changed: Probability that the target is changed.
    """
    teller = _Teller(ground, learned, providers, row, columns)
    found = []
    for kind, tell in _TELLERS.items():
        own = np.array([one == kind for one in KIND_OF])
        moved, turned = float(contributions["changed"][own].sum()), float(contributions["up"][own].sum()) * changed
        if moved == 0.0 == turned:
            continue
        text, sources = tell(teller)
        found.append(Reason(kind, text, abs(moved) + abs(turned), _towards(moved, turned), sources))
    if not found:  # too few rows for any tree: every pair gets the usual rates
        found.append(Reason("rates", teller.rates()[0], 0.0, "not significant"))
    return found


def _towards(moved: float, turned: float) -> str:
    """Return where a kind of evidence pushes: up or down where that is a good part of what it does."""
    if abs(turned) > abs(moved) or abs(turned) > moved / 2 > 0:
        return "up" if turned > 0 else "down"
    return "changed" if moved > 0 else "not significant"


def _key(row: Mapping[str, Any], side: str) -> str:
    return str(row[f"{side}_gene"] or f"name:{row[side] or ''}")


def _place(known: tuple[str, ...], name: str | None) -> int:
    return known.index(name) if name in known else UNKNOWN
