"""A PostgreSQL and a Redis that a test may restart and wipe, and a proxy that loses answers."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import quote

from psycopg.conninfo import conninfo_to_dict

from picloud.local.children import Child, stop_child
from picloud.local.data_folder import open_data_folder
from picloud.local.postgres import PostgresServer
from picloud.local.redis import RedisServer
from tests.servers import postgres_source, temporary_folder
from tests.tcp_proxy import Proxy, before_postgres

#: Commits are durable against the death of the server, as in production; not against that of the machine.
_OPTIONS = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "on", "max_connections": "100"}


@dataclass
class OwnServers:
    """Servers of one test module."""

    postgres: PostgresServer
    redis: RedisServer
    _postgres_child: Child = field(init=False)
    _redis_child: Child = field(init=False)

    def start(self) -> None:
        self.postgres.prepare()
        self._postgres_child = self.postgres.start(self.postgres.spawn)
        self.redis.prepare()
        self._redis_child = self.redis.start(self.redis.spawn)

    def stop_postgres(self, how: signal.Signals) -> None:
        """SIGINT: "fast", with a checkpoint. SIGQUIT: "immediate", as a crash of the server."""
        stop_child(self._postgres_child, how, signal.SIGQUIT, 30)

    def start_postgres(self) -> None:
        self._postgres_child = self.postgres.start(self.postgres.spawn)

    def stop_redis(self) -> None:
        stop_child(self._redis_child, signal.SIGKILL, signal.SIGKILL, 10)

    def start_redis(self) -> None:
        """Start it again, empty."""
        self._redis_child = self.redis.start(self.redis.spawn)

    def stop(self) -> None:
        self.stop_postgres(signal.SIGQUIT)
        self.stop_redis()
        self.postgres.clean_up()
        self.redis.clean_up()


@contextmanager
def own_servers() -> Iterator[OwnServers]:
    """Both running; ended with the block."""
    with temporary_folder() as path:
        servers = OwnServers(
            PostgresServer(open_data_folder(path / "p"), print, options=_OPTIONS, only=postgres_source()),
            RedisServer(open_data_folder(path / "r"), print),
        )
        servers.start()
        try:
            yield servers
        finally:
            servers.stop()


class LossyWay:
    """A way to PostgreSQL that can lose an answer: a proxy in an event loop of its own."""

    def __init__(self, database_url: str) -> None:
        self._parameters = conninfo_to_dict(database_url)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy")
        self._proxy: Proxy = before_postgres(database_url)

    @property
    def url(self) -> str:
        """The same database by this way."""
        user, password, database = (
            quote(str(self._parameters[name]), safe="") for name in ("user", "password", "dbname")
        )
        return (
            f"postgresql://{user}:{password}@127.0.0.1:{self._proxy.port}/{database}?sslmode=disable&gssencmode=disable"
        )

    def lose_the_answer_to(self, statement: bytes) -> None:
        """The next statement that contains this is done, and its connection cut before it is answered; once."""
        self._loop.call_soon_threadsafe(self._proxy.lose_answers, statement)

    def has_lost(self) -> bool:
        return self._proxy.lost.is_set()

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._proxy.__aenter__(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._proxy.__aexit__(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
