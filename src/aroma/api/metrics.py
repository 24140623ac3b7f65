"""Counts and times of requests, as Prometheus reads them."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_BUCKETS: Final = (0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class Metrics:
    """The metrics of one server process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "aroma_requests", "Requests answered.", ("method", "route", "status"), registry=self.registry
        )
        self._seconds = Histogram(
            "aroma_request_seconds", "Time to answer.", ("route",), buckets=_BUCKETS, registry=self.registry
        )
        self._pairs = Counter("aroma_evidence_pairs", "Evidence objects made.", registry=self.registry)
        self._release = Gauge("aroma_release_sequence", "Release served.", ("release",), registry=self.registry)
        self._children: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def note(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request."""
        known = self._children.get((method, route, status))
        if known is None:
            shown = method if method in {"GET", "POST", "HEAD", "OPTIONS"} else "other"
            known = self._requests.labels(shown, route, str(status)), self._seconds.labels(route)
            if shown == method:
                self._children[method, route, status] = known
        known[0].inc()
        known[1].observe(seconds)

    def made(self, pairs: int) -> None:
        """Count evidence objects."""
        self._pairs.inc(pairs)

    def text(self, release: str, sequence: int) -> bytes:
        """Return all metrics in Prometheus' text format."""
        self._release.clear()
        self._release.labels(release).set(sequence)
        return generate_latest(self.registry)
