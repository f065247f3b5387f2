"""What is noted of each request while it is answered: for the counts, and for its trace."""

from __future__ import annotations

import time
from uuid import UUID

import falcon.asgi

from picloud.observability.metrics import HTTP_REQUESTS, HTTP_SECONDS, class_of
from picloud.observability.spans import SPANS
from picloud.observability.tally import TALLY
from picloud.observability.traceparent import TraceContext, parse_traceparent, span_of_request


class Seen:
    """A request to an app.

    Attributes:
        kind: sync or async: its route's; app: it has none.
        brought: the trace it came with, when that is valid.
    """

    __slots__ = ("app_name", "brought", "execution_id", "kind", "route")

    def __init__(self, execution_id: UUID, app_name: str, traceparent: str | None) -> None:
        self.execution_id = execution_id
        self.app_name = app_name
        self.kind = "app"
        self.route = ""
        self.brought = parse_traceparent(traceparent)

    def matched(self, is_sync: bool, route: str) -> None:
        """It has a route: method and path, as they were declared."""
        self.kind = "sync" if is_sync else "async"
        self.route = route

    @property
    def ids(self) -> dict[str, object]:
        """What a log line about it carries."""
        return {"app": self.app_name, "execution_id": self.execution_id}

    @property
    def traceparent(self) -> str | None:
        """What is kept with its row; None: the run begins its own trace."""
        if SPANS.is_on:
            return self.span.header
        return self.brought.header if self.brought is not None else None

    @property
    def span(self) -> TraceContext:
        """Its own span, where spans are sent."""
        own = span_of_request(self.execution_id)
        if self.brought is not None:
            return self.brought.below(own)
        trace_id = self.execution_id.hex
        return TraceContext(trace_id, own, int(SPANS.samples(trace_id, "HTTP")))


class RequestMiddleware:
    """Counts every request and times it; sends a span of those to routes of apps."""

    async def process_request(self, request: falcon.asgi.Request, _response: falcon.asgi.Response) -> None:
        request.context.started_ns = time.time_ns()
        request.context.started_at = time.perf_counter()
        request.context.seen = None

    async def process_response(
        self,
        request: falcon.asgi.Request,
        response: falcon.asgi.Response,
        _resource: object,
        _succeeded: bool,
    ) -> None:
        seen: Seen | None = request.context.seen
        kind = seen.kind if seen is not None else "own"
        status = class_of(response.status_code)
        TALLY.add(HTTP_REQUESTS, kind, status)
        TALLY.observe(HTTP_SECONDS, (time.perf_counter() - request.context.started_at,), kind)
        if SPANS.is_on and seen is not None and seen.route:
            _record(request, response.status_code, seen)


def _record(request: falcon.asgi.Request, status: int, seen: Seen) -> None:
    SPANS.record(
        f"{request.method} {seen.route}",
        "server",
        seen.span,
        seen.brought,
        started_ns=request.context.started_ns,
        ended_ns=time.time_ns(),
        attributes={
            "http.request.method": request.method,
            "http.route": seen.route,
            "http.response.status_code": status,
            "picloud.app": seen.app_name,
            "picloud.execution_id": str(seen.execution_id),
        },
        error=str(status) if status >= 500 else None,
    )
