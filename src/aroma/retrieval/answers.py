"""Questions other than evidence, each one function over an opened release: REST, MCP and commands ask the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final

import polars as pl

from aroma.errors import IdentifierError, UsageError
from aroma.kgstore.home import Home
from aroma.kgstore.publications import Publication, read_publications
from aroma.kgstore.releases import find_release, load_manifest
from aroma.kgstore.resolver import UNKNOWN, Resolution
from aroma.kgstore.tables import read_table
from aroma.kgstore.views import PRESETS, ViewDefinition
from aroma.retrieval.answer_model import (
    CoverageAnswer,
    GeneAnswer,
    GeneBatch,
    GeneMatch,
    GenePage,
    NameCoverage,
    NeighbourhoodAnswer,
    PathsAnswer,
    PromptAnswer,
    ReleaseDetail,
    ReleaseItem,
    ReleasePage,
    Source,
    SourceList,
    ViewItem,
    ViewList,
)
from aroma.retrieval.evidence import EvidenceStore
from aroma.retrieval.evidence_model import Evidence, Node, ViewRef
from aroma.retrieval.neighbourhoods import neighbourhood_of, node_number
from aroma.retrieval.snapshot import View

MOST_HOPS: Final = 3
MOST_NODES: Final = 5_000
_MOST_FOUND: Final = 1_000
_MOST_UNRESOLVED: Final = 100
_NEAREST_FOR: Final = 20


class UnknownGeneError(IdentifierError):
    """A name that stands for no gene; ``answer`` holds the reason and the nearest symbols."""

    def __init__(self, answer: GeneAnswer) -> None:
        self.answer = answer
        choices = answer.candidates or answer.nearest
        hint = f"; did you mean {', '.join(choices)}?" if choices else ""
        super().__init__(f"{answer.query!r} names no gene here ({answer.reason}){hint}")


def resolve_gene(store: EvidenceStore, name: str) -> GeneAnswer:
    """Return what a name stands for; a name that stands for nothing gives an answer that says so."""
    found = store.resolve(name)
    nearest = store.resolver.nearest(name) if found.reason == UNKNOWN else []
    return _gene_answer(store, found, nearest)


def require_gene(store: EvidenceStore, name: str) -> GeneAnswer:
    """Return the gene of a name.

    Raises:
        UnknownGeneError: The name stands for no gene, or for several.
    """
    answer = resolve_gene(store, name)
    if answer.gene is None:
        raise UnknownGeneError(answer)
    return answer


def resolve_genes(store: EvidenceStore, names: Sequence[str]) -> GeneBatch:
    """Resolve many names in their order; the nearest symbols are looked up for the first unknown ones only."""
    items, looked_up = [], 0
    for name in names:
        found = store.resolve(name)
        near: list[str] = []
        if found.reason == UNKNOWN and looked_up < _NEAREST_FOR:
            near, looked_up = store.resolver.nearest(name), looked_up + 1
        items.append(_gene_answer(store, found, near))
    resolved = sum(item.gene is not None for item in items)
    return GeneBatch(release=store.snapshot.release, resolved=resolved, items=items)


def _gene_answer(store: EvidenceStore, found: Resolution, nearest: list[str]) -> GeneAnswer:
    number = None if found.gene is None else store.snapshot.nodes.ids.find(found.gene)
    return GeneAnswer(
        release=store.snapshot.release,
        query=found.query,
        gene=found.gene,
        symbol=found.symbol,
        name=None if number is None else store.snapshot.nodes.names[number] or None,
        tier=None if found.tier is None else str(found.tier),
        reason=found.reason,
        candidates=list(found.candidates),
        flags=list(found.flags),
        nearest=nearest,
    )


def search_genes(store: EvidenceStore, text: str, *, offset: int, limit: int) -> GenePage:
    """Find genes by name: what the name stands for, symbols that begin so, symbols spelled alike, in this order."""
    resolver = store.resolver
    symbols = {symbol: gene for gene, symbol in resolver.symbols.items()}
    found: dict[str, GeneMatch] = {}

    def add(gene: str, how: str, score: float) -> None:
        if gene not in found and (number := store.snapshot.nodes.ids.find(gene)) is not None:
            nodes = store.snapshot.nodes
            found[gene] = GeneMatch(
                gene=gene, symbol=nodes.symbols[number], name=nodes.names[number], how=how, score=score
            )

    exact = store.resolve(text)
    for gene in (exact.gene, *exact.candidates):
        if gene is not None:
            add(gene, str(exact.tier or exact.reason), 1.0)
    asked = text.strip().upper()
    if asked:
        for symbol in sorted(symbol for symbol in symbols if symbol.upper().startswith(asked)):
            add(symbols[symbol], "symbol begins so", round(len(asked) / len(symbol), 3))
        for place, symbol in enumerate(resolver.nearest(text, limit=20)):
            add(symbols[symbol], "spelled alike", round(0.9 - 0.01 * place, 3))
    matches = list(found.values())[:_MOST_FOUND]
    page = matches[offset : offset + limit]
    more = offset + limit if offset + limit < len(matches) else None
    return GenePage(
        release=store.snapshot.release,
        query=text,
        total=len(matches),
        offset=offset,
        limit=limit,
        next_offset=more,
        items=page,
    )


def find_paths(store: EvidenceStore, perturbation: str, target: str) -> PathsAnswer:
    """Return the ranked paths between two genes under the store's path options.

    Raises:
        UnknownGeneError: A name stands for no gene.
    """
    genes = [require_gene(store, name) for name in (perturbation, target)]
    numbers = [store.snapshot.nodes.ids.find(str(gene.gene)) for gene in genes]
    view, options = store.paths.view, store.paths.options
    paths = store.paths.one(*numbers)
    return PathsAnswer(
        release=store.snapshot.release,
        view=ViewRef(name=view.definition.name, id=view.definition.id),
        definition=view.definition.model_dump(mode="json"),
        perturbation=_node(store, numbers[0], genes[0]),
        target=_node(store, numbers[1], genes[1]),
        k=options.k,
        slack=options.slack,
        max_hops=options.max_hops,
        paths=paths,
        reason=None if paths else _why_no_path(view, genes, numbers),
    )


def _node(store: EvidenceStore, number: int | None, gene: GeneAnswer) -> Node:
    if number is None:
        return Node(id=str(gene.gene), label="Gene", name=gene.symbol or str(gene.gene))
    return store.paths.node(number)


def _why_no_path(view: View, genes: list[GeneAnswer], numbers: list[int | None]) -> str:
    if numbers[0] == numbers[1]:
        return "perturbation and target are the same gene"
    for gene, number in zip(genes, numbers, strict=True):
        if number is None or view.local(number) is None:
            return f"{gene.symbol or gene.gene} has no edge in view {view.definition.name}"
    return f"no path within the hops allowed in view {view.definition.name}"


def find_node(store: EvidenceStore, name: str) -> int:
    """Return the release node number of a node id, or of a gene by any name.

    Raises:
        UnknownGeneError: The name is neither.
    """
    try:
        return node_number(store.snapshot, name, store.resolver)
    except IdentifierError as error:
        raise UnknownGeneError(resolve_gene(store, name)) from error


def neighbourhood(store: EvidenceStore, name: str, view: View, *, hops: int, limit: int) -> NeighbourhoodAnswer:
    """Return the nodes within some hops and the edges among them.

    Where there are more than ``limit``, nearer nodes stay before farther ones, and of one distance those of the
    smallest degree (the most specific), then the smallest id.

    Args:
        store: The opened release.
        name: Node id, or a gene by any name.
        view: A view of it.
        hops: 0 to ``MOST_HOPS``.
        limit: Most nodes, 1 to ``MOST_NODES``.

    Raises:
        UnknownGeneError: The name is no node.
        UsageError: A number is out of range.
    """
    if not 0 <= hops <= MOST_HOPS or not 1 <= limit <= MOST_NODES:
        raise UsageError(f"hops must be 0 to {MOST_HOPS} and limit 1 to {MOST_NODES}")
    return neighbourhood_of(store.snapshot, view, find_node(store, name), hops=hops, limit=limit)


def coverage(store: EvidenceStore, pairs: Sequence[tuple[str, str, str]]) -> CoverageAnswer:
    """Say how much of a list of (perturbation, target, cell line) the release knows."""
    mentions = Counter(name for pair in pairs for name in pair[:2])
    found = {name: store.resolve(name) for name in mentions}
    lacking = sorted((name for name in found if found[name].gene is None), key=lambda name: (-mentions[name], name))
    items = []
    for place, name in enumerate(lacking[:_MOST_UNRESOLVED]):
        unknown = found[name].reason == UNKNOWN and place < _NEAREST_FOR
        items.append(
            NameCoverage(
                name=name,
                reason=str(found[name].reason),
                candidates=list(found[name].candidates),
                nearest=store.resolver.nearest(name, limit=3) if unknown else [],
                mentions=mentions[name],
            )
        )
    lines = sorted({pair[2] for pair in pairs if pair[2]})
    return CoverageAnswer(
        release=store.snapshot.release,
        pairs=len(pairs),
        pairs_resolved=sum(found[one].gene is not None and found[other].gene is not None for one, other, _ in pairs),
        names=len(found),
        names_resolved=len(found) - len(lacking),
        by_tier=_counted(str(one.tier) for one in found.values() if one.tier is not None),
        by_reason=_counted(str(one.reason) for one in found.values() if one.gene is None),
        unresolved=items,
        cell_lines={line: store.cell_lines.find(line).known for line in lines},
    )


def _counted(values: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(values).items()))


def list_releases(home: Home, *, offset: int, limit: int) -> ReleasePage:
    """Return a page of the publications, newest first.

    Raises:
        ReleaseError: Nothing is published.
    """
    entries = read_publications(home)
    items = [_release_item(entry, entries[-1]) for entry in reversed(entries)]
    more = offset + limit if offset + limit < len(items) else None
    return ReleasePage(
        served=entries[-1].release if entries else "",
        total=len(items),
        offset=offset,
        limit=limit,
        next_offset=more,
        items=items[offset : offset + limit],
    )


def _release_item(entry: Publication, last: Publication) -> ReleaseItem:
    return ReleaseItem(
        sequence=entry.sequence,
        release=entry.release,
        parent=entry.parent,
        published_at=entry.published_at,
        action=entry.action,
        accepted=list(entry.accepted),
        note=entry.note,
        served=entry.sequence == last.sequence,
    )


def show_release(home: Home, asked: str) -> ReleaseDetail:
    """Return what one release holds; ``asked`` is an id, its beginning, a sequence number or ``published``.

    Raises:
        ReleaseError: Nothing or more than one release fits.
    """
    release = find_release(home, asked)
    manifest = load_manifest(home, release)
    entries = read_publications(home)
    return ReleaseDetail(
        release=release,
        schema_version=manifest.schema_version,
        created_at=manifest.created_at,
        parent=manifest.parent,
        counts=manifest.counts,
        views=manifest.views,
        accepted=list(manifest.accepted),
        publications=[_release_item(entry, entries[-1]) for entry in entries if entry.release == release],
    )


def audit_text(home: Home, asked: str) -> bytes:
    """Return the audit report of a release as JSON text.

    Raises:
        ReleaseError: Nothing or more than one release fits.
    """
    return (home.release(find_release(home, asked)) / "audit.json").read_bytes()


def list_sources(home: Home, release: str) -> SourceList:
    """Return the providers of a release with their licences."""
    rows = read_table(home.release(release), "sources").with_columns(pl.col(pl.String).fill_null("")).to_dicts()
    items = [Source(**{**row, "commercial_use": bool(row["commercial_use"])}) for row in rows]
    return SourceList(release=release, items=items)


def list_views(home: Home, release: str) -> ViewList:
    """Return the preset views of a release with their sizes."""
    sizes = load_manifest(home, release).views
    items = [_view_item(view, sizes.get(name, {})) for name, view in PRESETS.items()]
    return ViewList(release=release, items=items)


def _view_item(view: ViewDefinition, size: dict[str, Any]) -> ViewItem:
    return ViewItem(
        name=view.name,
        id=view.id,
        definition=view.model_dump(mode="json"),
        nodes=int(size.get("nodes", 0)),
        edges=int(size.get("edges", 0)),
    )


def render_prompt(evidence: Evidence, template: str, budget: int | None) -> PromptAnswer:
    """Return the evidence as text, by a bundled template; no other file is read.

    Raises:
        IdentifierError: No such template.
        UsageError: A budget that not even the instruction fits.
    """
    from aroma.retrieval.prompts import list_templates, render

    if template not in list_templates():
        raise IdentifierError(f"no template is called {template!r}; there are {', '.join(list_templates())}")
    rendered = render(evidence, template, budget=budget)
    return PromptAnswer(
        release=evidence.release,
        template=template,
        text=rendered.text,
        tokens=rendered.tokens,
        dropped=list(rendered.dropped),
    )
