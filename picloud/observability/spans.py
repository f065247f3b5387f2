"""Sends spans of requests, runs and calls to an OpenTelemetry collector (OTLP over HTTP).

On when ``OTEL_EXPORTER_OTLP_ENDPOINT`` names a collector and ``picloud[otel]`` is installed; off, nothing
of OpenTelemetry is imported here. The SDK reads its other ``OTEL_*`` variables itself, the sampler's too.
Ids are not made by the SDK: they follow from those of executions (``traceparent``), so that a process can
name the span of another one that it has never spoken to.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping
from typing import Any

from picloud import __version__
from picloud.observability.traceparent import TraceContext

_LOG = logging.getLogger("picloud.spans")

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


class Spans:
    """The spans of one process. Thread-safe."""

    def __init__(self) -> None:
        self._provider: Any = None
        self._recorder: Any = None

    @property
    def is_on(self) -> bool:
        """Whether anything is recorded: ask before working out what to say."""
        return self._recorder is not None

    def start(self, process: str, environ: Mapping[str, str] = os.environ) -> None:
        """Begin to record where a collector is named; after the last fork, for it starts a thread.

        Args:
            process: web or worker.
        """
        if self._provider is not None or not _is_wanted(environ):
            return
        try:
            self._provider = _make_provider(process, environ)
        except ModuleNotFoundError as error:
            _LOG.warning("OTEL_EXPORTER_OTLP_ENDPOINT is set, but no spans are sent: install picloud[otel] (%s)", error)
            return
        self._recorder = _Recorder(self._provider)

    def stop(self) -> None:
        """Send what is left; blocks for as long as the exporter takes."""
        provider, self._provider, self._recorder = self._provider, None, None
        if provider is not None:
            provider.shutdown()

    def samples(self, trace_id: str, name: str) -> bool:
        """Whether a trace that begins here is recorded; every process decides alike."""
        if self._provider is None:
            return True
        decision = self._provider.sampler.should_sample(None, int(trace_id, 16), name).decision
        return bool(decision.is_sampled())

    def record(
        self,
        name: str,
        kind: str,
        context: TraceContext,
        parent: TraceContext | None,
        *,
        started_ns: int,
        ended_ns: int,
        attributes: Mapping[str, str | int | bool],
        error: str | None = None,
    ) -> None:
        """Hand over a span that has ended.

        Args:
            kind: server, consumer or client.
            parent: None: the trace begins with it.
            started_ns, ended_ns: since the epoch.
            error: what went wrong; None: nothing.
        """
        if self._recorder is not None and context.is_sampled:
            self._recorder.record(
                name,
                kind,
                context,
                parent,
                started_ns=started_ns,
                ended_ns=ended_ns,
                attributes=attributes,
                error=error,
            )


def _is_wanted(environ: Mapping[str, str]) -> bool:
    if environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or environ.get("OTEL_TRACES_EXPORTER") == "none":
        return False
    return any(environ.get(name) for name in _ENDPOINTS)


def _make_provider(process: str, environ: Mapping[str, str]) -> Any:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    attributes: dict[str, str | int] = {"service.version": __version__, "process.pid": os.getpid()}
    if not environ.get("OTEL_SERVICE_NAME"):
        attributes["service.name"] = f"picloud-{process}"
    provider = TracerProvider(resource=Resource.create(attributes), id_generator=_given_ids(), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


def _given_ids() -> Any:
    from opentelemetry.sdk.trace.id_generator import IdGenerator

    class GivenIds(IdGenerator):
        """Hands out the ids that the thread was told to use next."""

        def __init__(self) -> None:
            self.next = threading.local()

        def generate_span_id(self) -> int:
            return int(self.next.context.span_id, 16)

        def generate_trace_id(self) -> int:
            return int(self.next.context.trace_id, 16)

    return GivenIds()


class _Recorder:
    """Speaks to the SDK; made only when it is there."""

    def __init__(self, provider: Any) -> None:
        from opentelemetry import trace

        self._api = trace
        self._ids = provider.id_generator
        self._tracer = provider.get_tracer("picloud", __version__)
        self._kinds = {
            "server": trace.SpanKind.SERVER,
            "consumer": trace.SpanKind.CONSUMER,
            "client": trace.SpanKind.CLIENT,
        }

    def record(
        self,
        name: str,
        kind: str,
        context: TraceContext,
        parent: TraceContext | None,
        *,
        started_ns: int,
        ended_ns: int,
        attributes: Mapping[str, str | int | bool],
        error: str | None,
    ) -> None:
        self._ids.next.context = context
        span = self._tracer.start_span(
            name, self._above(parent), self._kinds[kind], attributes=dict(attributes), start_time=started_ns
        )
        if error is not None:
            span.set_status(self._api.Status(self._api.StatusCode.ERROR, error))
        span.end(ended_ns)

    def _above(self, parent: TraceContext | None) -> Any:
        from opentelemetry.context import Context

        if parent is None:
            return Context()
        api = self._api
        above = api.SpanContext(
            int(parent.trace_id, 16), int(parent.span_id, 16), is_remote=True, trace_flags=api.TraceFlags(parent.flags)
        )
        return api.set_span_in_context(api.NonRecordingSpan(above), Context())


#: What this process records: one for the process, as its tally is.
SPANS = Spans()
