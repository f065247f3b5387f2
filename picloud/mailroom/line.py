"""One connection to PostgreSQL, made when it is first needed and again after it was lost.

The process rests for days between two mails: nothing is kept open before the first one,
and nobody asks whether it still works. Whoever finds it lost tries again on a new one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import psycopg
from psycopg import AsyncConnection

from picloud.database import backoff_seconds, connection_options, is_outage

_LOG = logging.getLogger("picloud.mail")

Connection = AsyncConnection[Any]
T = TypeVar("T")


class Line:
    """Belongs to one event loop; who comes while it is in use waits.

    Args:
        name: shown in pg_stat_activity.
    """

    def __init__(self, url: str, *, name: str) -> None:
        self._url = url
        self._name = name
        self._free = asyncio.Lock()
        self._connection: Connection | None = None
        self._is_down = False

    async def insist(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Do ``work``, again and again while PostgreSQL is away; for how long, the caller decides by cancelling.

        Raises:
            psycopg.Error: ``work`` itself is wrong; no other try would help.
        """
        waits = backoff_seconds()
        while True:
            try:
                done = await self._try(work)
            except psycopg.Error as error:
                if not is_outage(error):
                    raise
                self._note(error)
            else:
                self._note(None)
                return done
            await asyncio.sleep(next(waits))

    async def close(self) -> None:
        """Hang up; the next one who needs it opens it again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def _try(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        async with self._free:
            if self._connection is None or self._connection.closed:
                self._connection = await AsyncConnection.connect(
                    self._url, autocommit=True, **connection_options(self._name)
                )
            try:
                return await work(self._connection)
            except BaseException:
                # Lost, or left in the middle of something by a caller who would not wait any longer.
                await self.close()
                raise

    def _note(self, error: psycopg.Error | None) -> None:
        """Say it once when PostgreSQL goes, and once when it is back."""
        if error is not None and not self._is_down:
            _LOG.warning("waiting for PostgreSQL: %s", str(error).strip() or type(error).__name__)
        elif error is None and self._is_down:
            _LOG.info("PostgreSQL answers again")
        self._is_down = error is not None
