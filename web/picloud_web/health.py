"""What machines ask PiCloud about itself, and the page at its root.

``/healthz`` says that this process answers, ``/readyz`` that PostgreSQL and Redis
answer it, ``/metrics`` what this process has counted (Prometheus text format).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import falcon.asgi
import psycopg

from picloud_web import problems
from picloud_web.dispatch import OutboxDispatcher
from picloud_web.services import Services
from picloud_web.window import REDIS_FAILURES, Window

_PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>PiCloud</title></head>
<body>
<h1>PiCloud</h1>
<p>It runs. Deploy an app with <code>picloud deploy</code>; it answers under
<code>/@app/…</code> and on its own host, <code>app.localhost</code>.</p>
<p><a href="/api/v1/openapi.json">The control API</a></p>
</body>
</html>
"""


class LandingPage:
    """``/`` of PiCloud's own host."""

    async def on_get(self, _request: falcon.asgi.Request, response: falcon.asgi.Response) -> None:
        response.content_type = falcon.MEDIA_HTML
        response.set_header("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
        response.text = _PAGE


class Health:
    """``/healthz``: the process lives."""

    async def on_get(self, _request: falcon.asgi.Request, response: falcon.asgi.Response) -> None:
        response.media = {"status": "ok"}


class Metrics:
    """``/metrics`` in Prometheus' text format; the platform's own figures are in ``/api/v1/system/stats``."""

    def __init__(self, dispatcher: OutboxDispatcher, window: Window) -> None:
        self._dispatcher = dispatcher
        self._window = window

    async def on_get(self, _request: falcon.asgi.Request, response: falcon.asgi.Response) -> None:
        response.content_type = "text/plain; version=0.0.4; charset=utf-8"
        response.text = "".join(
            f"# HELP {name} {meaning}\n# TYPE {name} {kind}\n{name} {value}\n"
            for name, kind, meaning, value in self._figures()
        )

    def _figures(self) -> Iterator[tuple[str, str, str, int]]:
        dispatcher = self._dispatcher
        yield "picloud_web_async_requests_total", "counter", "Requests to async routes.", dispatcher.async_total
        yield "picloud_web_sync_requests_total", "counter", "Requests to sync routes.", dispatcher.sync_total
        yield "picloud_web_sync_refused_total", "counter", "Of these, refused unwritten.", dispatcher.refused_total
        yield "picloud_web_sync_in_flight", "gauge", "Requests that wait for an answer.", dispatcher.sync_in_flight
        yield "picloud_web_redis_up", "gauge", "1 while Redis answers.", int(self._window.is_up)


class Readiness:
    """``/readyz``: what requests need is there."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def on_get(self, _request: falcon.asgi.Request, response: falcon.asgi.Response) -> None:
        checks = {"database": await self._database_answers(), "redis": await self._redis_answers()}
        if all(checks.values()):
            response.media = {"status": "ok", "checks": checks}
        else:
            missing = ", ".join(name for name, answers in checks.items() if not answers)
            problems.write(response, "storage_unavailable", f"no answer: {missing}", extra={"checks": checks})

    async def _database_answers(self) -> bool:
        try:
            async with self._services.database.connection() as connection:
                await connection.execute("select 1")
        except psycopg.Error:
            return False
        return True

    async def _redis_answers(self) -> bool:
        try:
            await cast(Any, self._services.redis).ping()
        except REDIS_FAILURES:
            return False
        return True
