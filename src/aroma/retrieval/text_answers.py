"""Text search as REST and MCP answer it."""

from __future__ import annotations

from aroma.kgstore.home import GraphTarget, Home
from aroma.kgstore.text_search import search
from aroma.retrieval.answer_model import TextMatch, TextPage
from aroma.retrieval.evidence import EvidenceStore
from aroma.retrieval.evidence_model import Node


def search_text(store: EvidenceStore, home: Home, target: GraphTarget, text: str, *, limit: int) -> TextPage:
    """Find nodes of the published release by their words.

    Raises:
        UsageError: No word in the text.
        StoreUnavailableError: The database cannot be reached.
    """
    engine, hits = search(home, target, text, limit, resolver=store.resolver)
    return TextPage(
        release=store.snapshot.release,
        query=text,
        engine=engine,
        items=[
            TextMatch(
                node=Node(id=hit.id, label=hit.label, name=hit.name),
                found_in=hit.found_in,
                score=hit.score,
                text=hit.text,
            )
            for hit in hits
        ],
    )
