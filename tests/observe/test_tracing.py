"""Spans of requests and tasks, by the SDK's own exporter in memory; and what is said where it is not installed."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind
from starlette.testclient import TestClient

from aroma.api.app import create_app
from aroma.api.settings import Settings
from aroma.errors import UsageError
from aroma.kgstore.home import Home
from aroma.observe import logs, tracing
from tests.observe.test_logs import line_of

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture
def exporter() -> Iterator[InMemorySpanExporter]:
    kept = InMemorySpanExporter()
    assert tracing.set_up("aroma-test", kept)
    yield kept
    tracing.shut_down()


def test_nothing_is_traced_unless_asked(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    assert not tracing.set_up("aroma-test")
    with tracing.span("work") as span:
        assert span is None
    assert tracing.trace_id() is None


def test_a_request_is_a_span_that_continues_the_callers_trace(exporter: InMemorySpanExporter, sample_home: Home):
    with TestClient(create_app(Settings(home=sample_home.path)), raise_server_exceptions=False) as client:
        headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "X-Request-ID": "traced"}
        assert client.get("/v1/genes/TULP1", headers=headers).status_code == 200
        spans = exporter.get_finished_spans()
    (span,) = (one for one in spans if one.attributes["aroma.request_id"] == "traced")
    assert span.name == "GET /v1/genes/{name:path}"
    assert span.kind is SpanKind.SERVER
    assert f"{span.context.trace_id:032x}" == TRACE
    assert f"{span.parent.span_id:016x}" == PARENT
    assert span.attributes["http.response.status_code"] == 200


def test_a_span_says_what_failed_and_log_lines_name_its_trace(exporter: InMemorySpanExporter):
    said: dict[str, object] = {}

    def work() -> None:
        with tracing.span("task embed", {"aroma.run": "r1"}), logs.bound(run_id="r1"):
            said.update(line_of("inside"))
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        work()
    (span,) = exporter.get_finished_spans()
    assert (span.name, span.attributes["aroma.run"], span.status.is_ok) == ("task embed", "r1", False)
    assert said["trace_id"] == f"{span.context.trace_id:032x}"


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(UsageError, match=r"aroma-evidence\[telemetry\]"):
        tracing.set_up("aroma-test")
