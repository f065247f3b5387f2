"""A TCP proxy that can be cut: between a process and PostgreSQL or Redis, to lose what a network loses.

It runs in the event loop of the test. ``lose_answers`` lets requests through and
drops the connection in place of the answer: the server has done what was asked,
the client never hears of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Self

from psycopg.conninfo import conninfo_to_dict, make_conninfo
from redis.connection import parse_url

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Proxy:
    """Listens on a port of its own; every connection goes to where ``connect`` leads."""

    def __init__(self, connect: Callable[[], Awaitable[Streams]]) -> None:
        self._connect = connect
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._is_open = True
        self._loses_after: bytes | None = None
        self.lost = asyncio.Event()
        self.port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_exception: object) -> None:
        self.cut()
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    def cut(self) -> None:
        """End every connection and refuse new ones."""
        self._is_open = False
        for writer in tuple(self._open):
            writer.transport.abort()

    def heal(self) -> None:
        """Let new connections through again."""
        self._is_open = True

    def lose_answers(self, to: bytes) -> None:
        """Pass the next request that contains ``to`` on and cut its connection when the answer comes; once."""
        self._loses_after = to
        self.lost.clear()

    async def _serve(self, client_reader: asyncio.StreamReader, client_writer: asyncio.StreamWriter) -> None:
        if not self._is_open:
            client_writer.transport.abort()
            return
        server_reader, server_writer = await self._connect()
        self._open |= {client_writer, server_writer}
        is_losing = asyncio.Event()
        await asyncio.gather(
            self._pump(client_reader, server_writer, is_losing, from_client=True),
            self._pump(server_reader, client_writer, is_losing, from_client=False),
        )
        self._open -= {client_writer, server_writer}

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, is_losing: asyncio.Event, *, from_client: bool
    ) -> None:
        try:
            while data := await reader.read(65_536):
                if from_client and self._loses_after is not None and self._loses_after in data:
                    self._loses_after = None
                    is_losing.set()
                elif not from_client and is_losing.is_set():
                    self.lost.set()
                    break
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.transport.abort()


def before_postgres(url: str) -> Proxy:
    """A proxy to the server of ``url``."""
    parameters = conninfo_to_dict(url)
    host, port = str(parameters.get("host") or "127.0.0.1"), int(parameters.get("port") or 5432)
    if host.startswith("/"):
        return Proxy(lambda: asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}"))
    return Proxy(lambda: asyncio.open_connection(host, port))


def through_proxy(url: str, proxy: Proxy) -> str:
    """``url`` of a PostgreSQL, reached by way of the proxy."""
    return make_conninfo(url, host="127.0.0.1", hostaddr=None, port=proxy.port)


def before_redis(url: str) -> Proxy:
    """A proxy to the server of ``url``."""
    parameters: Any = parse_url(url)  # type: ignore[no-untyped-call]  # redis-py leaves this one out
    if "path" in parameters:
        return Proxy(lambda: asyncio.open_unix_connection(parameters["path"]))
    return Proxy(lambda: asyncio.open_connection(parameters.get("host", "127.0.0.1"), parameters.get("port", 6379)))


def redis_through_proxy(url: str, proxy: Proxy) -> str:
    """``url`` of a Redis, reached by way of the proxy."""
    parameters: Any = parse_url(url)  # type: ignore[no-untyped-call]  # redis-py leaves this one out
    password = parameters.get("password")
    login = f":{password}@" if password else ""
    return f"redis://{login}127.0.0.1:{proxy.port}/{parameters.get('db', 0)}"
