"""Builds the web process' parts from the settings: the only place that knows all of them.

Nothing is opened here: a pool that is open before the server forks would be
shared by its children. ``Dependencies.start`` opens, in the event loop.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import psycopg_pool
import redis.asyncio
from psycopg import AsyncConnection

from picloud import broker
from picloud.access import Caller
from picloud.control.routing import AppRow, HostRows, read_answers, read_app, read_hosts
from picloud.control.signing_secrets import read_signing_secret
from picloud.database import connection_options
from picloud.identity.keys import authenticate_key
from picloud.local.master_key import MasterKeyFile
from picloud.observability.reporting import Reporter
from picloud.observability.spans import SPANS
from picloud.services.provenance import Provenance
from picloud.services.vault import Vault
from picloud.settings import Settings
from picloud_web.callers import Callers
from picloud_web.dataplane import DataPlane
from picloud_web.directory import Directory
from picloud_web.dispatch import OutboxDispatcher
from picloud_web.inbox import POP_SECONDS, Inbox
from picloud_web.services import Database, Services
from picloud_web.window import Window

_POOL_SIZE = 4
#: A request that finds no free connection for this long is answered 503.
_POOL_TIMEOUT_SECONDS = 3.0
_REDIS_TIMEOUT_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Dependencies:
    """The parts, and the order in which they start and stop."""

    services: Services
    directory: Directory
    data_plane: DataPlane
    dispatcher: OutboxDispatcher
    window: Window
    blocking_redis: redis.asyncio.Redis
    reporter: Reporter

    async def start(self) -> None:
        """Open the pool, begin to write and to read. PostgreSQL need not answer yet."""
        await self.services.database.open(wait=False)
        self.dispatcher.start()
        self.reporter.start()
        SPANS.start("web")

    async def stop(self) -> None:
        """The reverse; requests have ended by now."""
        await self.dispatcher.stop()
        await self.services.redis.aclose()
        await self.blocking_redis.aclose()
        await self.services.database.close()
        await asyncio.to_thread(self.reporter.stop)
        await asyncio.to_thread(SPANS.stop)


class _DatabaseSource:
    """Where the directory reads apps."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def app(self, name: str) -> AppRow | None:
        async with self._database.connection() as connection:
            return await read_app(connection, name)

    async def hosts(self) -> HostRows:
        async with self._database.connection() as connection:
            return await read_hosts(connection)


class _CallerSources:
    """Where callers of routes, and the secrets that sign requests, are read."""

    def __init__(self, database: Database, vault: Vault) -> None:
        self._database = database
        self._vault = vault

    async def caller_of_key(self, key: str) -> Caller:
        async with self._database.connection() as connection:
            return await authenticate_key(connection, key)

    async def secret(self, app_id: int, name: str) -> str | None:
        async with self._database.connection() as connection:
            return await read_signing_secret(connection, self._vault, app_id, name)


def build(settings: Settings) -> Dependencies:
    """Every part of one web process."""
    database: Database = psycopg_pool.AsyncConnectionPool(
        settings.database_url,
        kwargs={"autocommit": True, **connection_options("web")},
        min_size=0,
        max_size=_POOL_SIZE,
        timeout=_POOL_TIMEOUT_SECONDS,
        name="picloud-web",
        open=False,
    )
    client = broker.connect_async(settings.redis_url, name="web", socket_timeout_seconds=_REDIS_TIMEOUT_SECONDS)
    blocking = broker.connect_async(settings.redis_url, name="web-inbox", socket_timeout_seconds=POP_SECONDS + 5)

    async def connect() -> AsyncConnection[Any]:
        connection: AsyncConnection[Any] = await AsyncConnection.connect(
            settings.database_url, autocommit=True, **connection_options("web-ingress")
        )
        return connection

    async def answers(ids: Any) -> Any:
        async with database.connection() as connection:
            return await read_answers(connection, ids)

    window = Window(client)
    inbox = Inbox(client, blocking, window, answers)
    dispatcher = OutboxDispatcher(database, window, inbox, connect, max_sync_in_flight=settings.max_sync_in_flight)
    directory = Directory(_DatabaseSource(database))

    master_keys = MasterKeyFile(settings)
    vault = Vault(master_keys)
    return Dependencies(
        services=Services(settings, database, client, dispatcher, vault),
        directory=directory,
        data_plane=DataPlane(
            settings, directory, dispatcher, Provenance(master_keys, "HTTP"), Callers(_CallerSources(database, vault))
        ),
        dispatcher=dispatcher,
        window=window,
        blocking_redis=blocking,
        reporter=Reporter(settings.redis_url),
    )
