"""``/metrics`` for Prometheus: the platform as a whole, whichever web process is asked.

What PostgreSQL knows is read when somebody asks, at most every five seconds and for at most a twentieth of the time.
What processes count comes from Redis, where each adds what it counted (``picloud.observability.reporting``). When
one of the two is away its figures are missing, not 0, and ``picloud_database_up`` or ``picloud_redis_up`` says so.
"""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import falcon.asgi
import psycopg

from picloud.access import Capability
from picloud.broker import ASYNC_LIST, METRICS_KEY, SYNC_LIST, worker_alive_key
from picloud.control.figures import Figures, read_figures
from picloud.control.system import read_worker_ids
from picloud.observability.reporting import Reporter, decode_counts
from picloud_web.api.credentials import authenticate
from picloud_web.api.senders import Senders
from picloud_web.dispatch import OutboxDispatcher
from picloud_web.exposition import FromRedis, Snapshot, render
from picloud_web.hosts import peer_address
from picloud_web.services import Services
from picloud_web.window import REDIS_FAILURES

_FRESH_SECONDS = 5.0
#: With a long backlog a look takes longer: it may take at most this share of the time.
_SHARE = 0.05


#: Set by every proxy: what carries one of these came from another machine, whoever the peer is.
_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip", "via")


def is_from_this_machine(request: falcon.asgi.Request) -> bool:
    """Whether a program on this machine asks, and no proxy for somebody else."""
    if any(request.get_header(name) for name in _FORWARDED):
        return False
    try:
        return ipaddress.ip_address(peer_address(request)).is_loopback
    except ValueError:  # a socket file has no address; a proxy is behind it
        return False


@dataclass(frozen=True, slots=True)
class _Look:
    figures: Figures
    at: float
    took: float

    def is_fresh(self, now: float) -> bool:
        return now - self.at < max(_FRESH_SECONDS, self.took / _SHARE)


class PlatformFigures:
    """What PostgreSQL knows, remembered for a moment: many who ask at once cost one look."""

    def __init__(self, services: Services, clock: Callable[[], float] = time.monotonic) -> None:
        self._services = services
        self._clock = clock
        self._looking = asyncio.Lock()
        self._last: _Look | None = None

    async def get(self) -> Figures | None:
        """The figures of now or a moment ago; None: PostgreSQL does not answer."""
        async with self._looking:
            started = self._clock()
            if self._last is None or not self._last.is_fresh(started):
                try:
                    figures = await self._read()
                except psycopg.Error:
                    self._last = None
                    return None
                ended = self._clock()
                self._last = _Look(figures, ended, ended - started)
            return self._last.figures

    async def _read(self) -> Figures:
        async with self._services.database.connection() as connection:
            return await read_figures(connection, await self._listening(await read_worker_ids(connection)))

    async def _listening(self, ids: list[UUID]) -> set[UUID]:
        if not ids:
            return set()
        try:
            alive: Any = await self._services.redis.mget([worker_alive_key(each) for each in ids])
        except REDIS_FAILURES:
            return set()
        return {worker for worker, value in zip(ids, alive, strict=True) if value is not None}


class Metrics:
    """The resource: for programs on this machine, and for whoever may see the installation."""

    def __init__(self, services: Services, reporter: Reporter, dispatcher: OutboxDispatcher) -> None:
        self._services = services
        self._senders = Senders(services.settings)
        self._figures = PlatformFigures(services)
        self._reporter = reporter
        self._redis: Any = services.redis
        self._dispatcher = dispatcher

    async def on_get(self, request: falcon.asgi.Request, response: falcon.asgi.Response) -> None:
        if not is_from_this_machine(request):
            # Names of apps are in the figures.
            caller = await authenticate(self._services, request, self._senders.of(request))
            caller.require(Capability.INSTANCE_READ)
        snapshot = Snapshot(await self._figures.get(), await self._from_redis(), self._dispatcher.sync_in_flight)
        accept = request.get_header("accept", default="")
        response.data, response.content_type = await asyncio.to_thread(render, snapshot, accept)

    async def _from_redis(self) -> FromRedis | None:
        """What all processes counted, this one's own latest included, and what waits in the lists."""
        await asyncio.to_thread(self._reporter.report)
        try:
            async with self._redis.pipeline(transaction=True) as pipeline:
                pipeline.hgetall(METRICS_KEY)
                pipeline.llen(SYNC_LIST)
                pipeline.llen(ASYNC_LIST)
                counts, sync, asynchronous = await pipeline.execute()
        except REDIS_FAILURES:
            return None
        return FromRedis(decode_counts(counts), {"sync": sync, "async": asynchronous})
