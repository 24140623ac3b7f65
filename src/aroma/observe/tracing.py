"""OpenTelemetry, where it is wanted: spans of requests and of tasks, sent by OTLP.

On when ``OTEL_EXPORTER_OTLP_ENDPOINT`` is set (OpenTelemetry's own variable, with its others); it needs the extra
``telemetry``. Otherwise nothing is imported and a span costs a function call.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

from aroma.errors import UsageError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span

ENDPOINT_VARIABLE: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"
_provider: TracerProvider | None = None


def set_up(service: str, exporter: SpanExporter | None = None) -> bool:
    """Begin to send spans where that is asked for; return whether spans are sent.

    Args:
        service: Name of the program, such as ``aroma-api``; ``OTEL_SERVICE_NAME`` wins.
        exporter: Where spans go, each at once; None for the address of the environment, in batches.

    Raises:
        UsageError: The environment asks for it and the packages are not installed.
    """
    global _provider  # noqa: PLW0603 - one a process, as the SDK has it
    if exporter is None and not os.environ.get(ENDPOINT_VARIABLE):
        return False
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
    except ImportError as error:
        raise UsageError(
            f"{ENDPOINT_VARIABLE} is set and OpenTelemetry is not installed ({error.name}); "
            "pip install 'aroma-evidence[telemetry]', or unset it"
        ) from error
    name = os.environ.get("OTEL_SERVICE_NAME") or service
    facts = {"service.name": name, "service.version": version("aroma-evidence")}
    provider = TracerProvider(resource=Resource.create(facts))
    processor = BatchSpanProcessor(OTLPSpanExporter()) if exporter is None else SimpleSpanProcessor(exporter)
    provider.add_span_processor(processor)
    _provider = provider
    return True


def shut_down() -> None:
    """Send what is left and stop."""
    global _provider
    provider, _provider = _provider, None
    if provider is not None:
        provider.shutdown()


@contextmanager
def span(
    name: str, attributes: Mapping[str, Any] | None = None, *, carrier: Mapping[str, str] | None = None
) -> Iterator[Span | None]:
    """Record what the body does as a span; yields it, or None where nothing is traced.

    Args:
        name: What is done.
        attributes: Of the span.
        carrier: Headers of a request (lower case), whose ``traceparent`` the span continues.
    """
    if _provider is None:
        yield None
        return
    from opentelemetry.trace import SpanKind
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    context = TraceContextTextMapPropagator().extract(carrier) if carrier is not None else None
    kind = SpanKind.SERVER if carrier is not None else SpanKind.INTERNAL
    tracer = _provider.get_tracer("aroma")
    with tracer.start_as_current_span(name, context=context, kind=kind, attributes=attributes) as current:
        yield current


def trace_id() -> str | None:
    """Return the id of the trace under way, hex, or None."""
    if _provider is None:
        return None
    from opentelemetry.trace import get_current_span

    context = get_current_span().get_span_context()
    return f"{context.trace_id:032x}" if context.is_valid else None
