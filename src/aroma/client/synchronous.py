"""The sync client."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Self, Unpack

import httpx

from aroma.client import calls
from aroma.client import curation as curation_calls
from aroma.client.calls import Answer, BatchOptions, Call, EvidenceOptions, PathOptions, SimilarOptions
from aroma.client.curation import RetractOptions, Said
from aroma.client.retries import PAIRS_A_REQUEST, Lines, Retries, connection, line_of, lost, problem_of
from aroma.model.serving import answer_model as predicted
from aroma.retrieval import answer_model as model
from aroma.retrieval import embedding_model as embedded
from aroma.retrieval.curation_model import CurationAnswer, CurationPage
from aroma.retrieval.evidence_model import Evidence, from_json


class Client:
    """Asks a server; close it, or use it in a ``with`` block.

    Args:
        base_url: Where the server is, such as ``http://127.0.0.1:8080``.
        token: Bearer token; else ``AROMA_TOKEN``.
        seconds: Time for one answer.
        retries: When requests are sent again.
        transport: Another way to the server (tests: a mounted application).

    All methods raise ``ServerAnswerError`` where the server says no or does not answer.
    """

    def __init__(
        self,
        base_url: str = "http://127.0.0.1:8080",
        *,
        token: str | None = None,
        seconds: float = 30.0,
        retries: Retries | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._http = httpx.Client(**connection(base_url, token, seconds), transport=transport)
        self._retries = retries or Retries()

    def gene(self, name: str) -> model.GeneAnswer:
        """Return what one name stands for.

        Raises:
            ServerAnswerError: 404 where it stands for no gene; ``problem`` has the reason and the nearest symbols.
        """
        return self._send(calls.gene(name))

    def genes(self, q: str, *, offset: int = 0, limit: int = 20) -> model.GenePage:
        """Search genes by name, also mistyped ones."""
        return self._send(calls.genes(q, offset, limit))

    def resolve(self, names: Iterable[str]) -> model.GeneBatch:
        """Resolve many names in their order; unknown ones are marked, at most 10,000."""
        return self._send(calls.resolve(names))

    def search(self, q: str, *, limit: int = 20) -> model.TextPage:
        """Search nodes by names, synonyms and definitions."""
        return self._send(calls.search(q, limit))

    def paths(self, perturbation: str, target: str, **options: Unpack[PathOptions]) -> model.PathsAnswer:
        """Return the ranked paths between two genes."""
        return self._send(calls.paths(perturbation, target, options))

    def neighbourhood(
        self,
        gene: str,
        *,
        view: str | None = None,
        hops: int | None = None,
        limit: int | None = None,
        release: str | None = None,
    ) -> model.NeighbourhoodAnswer:
        """Return the nodes around a node and the edges among them."""
        return self._send(calls.neighbourhood(gene, {"view": view, "hops": hops, "limit": limit, "release": release}))

    def evidence(self, perturbation: str, target: str, cell_line: str, **options: Unpack[EvidenceOptions]) -> Evidence:
        """Return the evidence for one pair in one cell line.

        Raises:
            ServerAnswerError: 404 where a gene is unknown.
        """
        return self._send(calls.evidence(perturbation, target, cell_line, options))

    def prompt(
        self,
        perturbation: str,
        target: str,
        cell_line: str,
        *,
        template: str | None = None,
        budget: int | None = None,
        **options: Unpack[EvidenceOptions],
    ) -> model.PromptAnswer:
        """Return the evidence for one pair as text."""
        return self._send(
            calls.prompt(perturbation, target, cell_line, {"template": template, "budget": budget, **options})
        )

    def coverage(self, pairs: Iterable[tuple[str, str, str]]) -> model.CoverageAnswer:
        """Say how much of (perturbation, target, cell line) triples the release knows."""
        return self._send(calls.coverage(pairs))

    def embeddings(self, *, release: str | None = None) -> embedded.EncoderList:
        """Return the vector sets of a release, with what made each and the licences of what went in."""
        return self._send(calls.embeddings(release))

    def vectors(
        self, ids: Iterable[str], *, encoder: str | None = None, release: str | None = None
    ) -> embedded.VectorBatch:
        """Return the vectors of nodes, or of genes by any name, in their order; at most 2,000,000 numbers.

        Args:
            ids: Node ids or gene names; what has no vector has None and the reason.
            encoder: Name or id; None takes the only one.
            release: A release other than the served one.
        """
        return self._send(calls.vectors(ids, encoder, release))

    def similar(self, name: str, **options: Unpack[SimilarOptions]) -> embedded.SimilarAnswer:
        """Return what lies nearest to a node by an encoder's vectors.

        Raises:
            ServerAnswerError: 404 where the name is no node, the encoder is unknown, or the node has no vector; the
                ``problem`` has the reason.
        """
        return self._send(calls.similar(name, options))

    def models(self) -> predicted.ServedModelList:
        """Return the models in service, one of each plug-in at most."""
        return self._send(calls.models())

    def predictions(
        self, pairs: Iterable[tuple[str, str, str]], *, plugin: str | None = None, explain: bool = False
    ) -> predicted.PredictionBatch:
        """Return what a model in service says of (perturbation, target, cell line) triples, in their order.

        Args:
            pairs: At most 10,000; 50 where they are explained. Unknown genes are answered and flagged.
            plugin: Whose model; not needed where one alone is served.
            explain: Whether to say what moved each answer.
        """
        return self._send(calls.predictions(pairs, plugin, explain=explain))

    def lineage(self, name: str, *, against: str | None = None) -> dict[str, Any]:
        """Return the chain behind a prediction, model, release or file; with ``against``, which inputs differ."""
        return self._send(calls.lineage(name, against))

    def curation(self, *, state: Sequence[str] = (), about: str = "", offset: int = 0, limit: int = 20) -> CurationPage:
        """Return the curators' assertions and retractions, in the order entered."""
        return self._send(curation_calls.curation(state, about, offset, limit))

    def assert_edge(self, subject: str, relation: str, object_: str, **said: Unpack[Said]) -> CurationAnswer:
        """Assert an edge; it is in the graph from the next release on. Sent twice, it is entered once."""
        return self._send(curation_calls.assert_edge(subject, relation, object_, said))

    def retract(self, **options: Unpack[RetractOptions]) -> CurationAnswer:
        """Hide a provider's edge, or one statement of it, from the next release on."""
        return self._send(curation_calls.retract(options))

    def revoke(self, entry: str, *, curator: str, reason: str) -> CurationAnswer:
        """Take an assertion or retraction back."""
        return self._send(curation_calls.revoke(entry, curator, reason))

    def review(self, entry: str, decision: str, *, curator: str, reason: str) -> CurationAnswer:
        """Approve or reject another person's entry."""
        return self._send(curation_calls.review(entry, decision, curator, reason))

    def releases(self, *, offset: int = 0, limit: int = 20) -> model.ReleasePage:
        """Return the publications, newest first."""
        return self._send(calls.releases(offset, limit))

    def release(self, name: str = "published") -> model.ReleaseDetail:
        """Return what a release holds."""
        return self._send(calls.release(name))

    def audit(self, name: str = "published") -> dict[str, Any]:
        """Return the audit report of a release."""
        return self._send(calls.audit(name))

    def sources(self) -> model.SourceList:
        """Return the providers and their licences."""
        return self._send(calls.sources())

    def views(self) -> model.ViewList:
        """Return the preset views."""
        return self._send(calls.views())

    def health(self) -> model.Health:
        """Return the server's state; needs no token."""
        return self._send(calls.health())

    def metrics(self) -> str:
        """Return the server's metrics in Prometheus' text format."""
        return self._send(calls.metrics())

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema of the evidence object."""
        return self._send(calls.schema())

    def evidence_many(
        self, pairs: Iterable[tuple[str, str, str]], **options: Unpack[BatchOptions]
    ) -> Iterator[Evidence]:
        """Yield the evidence of (perturbation, target, cell line) triples in their order, any number of them.

        They are sent in parts and answered in streams; a pair with an unknown gene gets an object that says so.
        """
        rest = iter(pairs)
        while part := list(islice(rest, PAIRS_A_REQUEST)):
            yield from self._stream(calls.batch(part, options))

    def _stream(self, call: Call[Evidence]) -> Iterator[Evidence]:
        request = self._http.build_request(call.method, call.path, content=call.content, headers=_JSON)
        response = self._sent(request, stream=True)
        lines = Lines()
        try:
            for piece in response.iter_bytes():
                for line in lines.feed(piece):
                    yield from_json(line_of(line))
        except httpx.HTTPError as error:
            raise lost(str(self._http.base_url), error) from error
        finally:
            response.close()

    def _send(self, call: Call[Answer]) -> Answer:
        headers = _JSON if call.body is not None else None
        request = self._http.build_request(
            call.method, call.path, params=call.query, content=call.content, headers=headers
        )
        return call.decode(self._sent(request).content)

    def _sent(self, request: httpx.Request, *, stream: bool = False) -> httpx.Response:
        attempt = 0
        while True:
            attempt += 1
            try:
                response = self._http.send(request, stream=stream)
            except httpx.HTTPError as error:
                wait = self._retries.wait_after(attempt, error)
                if wait is None:
                    raise lost(str(self._http.base_url), error) from error
            else:
                if response.is_success:
                    return response
                response.read()
                wait = self._retries.wait_after(attempt, response)
                if wait is None:
                    raise problem_of(response)
            time.sleep(wait)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


_JSON = {"Content-Type": "application/json"}
