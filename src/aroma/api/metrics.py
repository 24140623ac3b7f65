"""Counts and times of requests, and how the home stands, as Prometheus reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_BUCKETS: Final = (0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


@dataclass(frozen=True, slots=True)
class Standing:
    """How a home stands when metrics are asked for.

    Attributes:
        release: Release served.
        sequence: Its number.
        age: Seconds since it was published.
        releases: Releases in the home.
        runs: Runs of the ledger by kind and state.
        workers: Workers seen lately, by queue.
        free_bytes: Free on the home's file system.
    """

    release: str
    sequence: int
    age: float
    releases: int = 0
    runs: Mapping[tuple[str, str], int] = field(default_factory=dict)
    workers: Mapping[str, int] = field(default_factory=dict)
    free_bytes: int = 0


class Metrics:
    """The metrics of one server process.

    Attributes:
        in_flight: Requests being answered.
        refused_often: Requests turned away because their caller asks too often.
        writes: Writes (curation and others) by route and outcome.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "aroma_requests", "Requests answered.", ("method", "route", "status"), registry=self.registry
        )
        self._seconds = Histogram(
            "aroma_request_seconds", "Time to answer.", ("route",), buckets=_BUCKETS, registry=self.registry
        )
        self._pairs = Counter("aroma_evidence_pairs", "Evidence objects made.", registry=self.registry)
        self.in_flight = Gauge("aroma_requests_in_flight", "Requests being answered.", registry=self.registry)
        self.refused_often = Counter("aroma_rate_limited", "Requests answered by 429.", registry=self.registry)
        self.writes = Counter("aroma_writes", "Writes asked for.", ("route", "outcome"), registry=self.registry)
        self._release = Gauge("aroma_release_sequence", "Release served.", ("release",), registry=self.registry)
        self._age = Gauge("aroma_release_age_seconds", "Time since it was published.", registry=self.registry)
        self._releases = Gauge("aroma_releases", "Releases in the home.", registry=self.registry)
        self._runs = Gauge("aroma_ledger_runs", "Runs of the ledger.", ("kind", "state"), registry=self.registry)
        self._workers = Gauge("aroma_workers", "Workers seen lately.", ("queue",), registry=self.registry)
        self._free = Gauge("aroma_home_free_bytes", "Free on the home's file system.", registry=self.registry)
        self._children: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def note(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request."""
        known = self._children.get((method, route, status))
        if known is None:
            shown = method if method in {"GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS"} else "other"
            known = self._requests.labels(shown, route, str(status)), self._seconds.labels(route)
            if shown == method:
                self._children[method, route, status] = known
        known[0].inc()
        known[1].observe(seconds)

    def made(self, pairs: int) -> None:
        """Count evidence objects."""
        self._pairs.inc(pairs)

    def text(self, standing: Standing) -> bytes:
        """Return all metrics in Prometheus' text format."""
        self._release.clear()
        self._release.labels(standing.release).set(standing.sequence)
        self._age.set(standing.age)
        self._releases.set(standing.releases)
        self._free.set(standing.free_bytes)
        for gauge in (self._runs, self._workers):
            gauge.clear()
        for (kind, state), count in standing.runs.items():
            self._runs.labels(kind, state).set(count)
        for queue, count in standing.workers.items():
            self._workers.labels(queue).set(count)
        return generate_latest(self.registry)
