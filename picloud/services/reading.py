"""Reads of running scripts from PostgreSQL, through its outages: a restart is not the script's fault."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, LiteralString

import psycopg
from psycopg import Connection
from psycopg_pool import ConnectionPool

from picloud.database import backoff_seconds, fetch, is_outage
from picloud.errors import UnavailableError

#: How long a read waits for PostgreSQL to come back.
_OUTAGE_SECONDS = 10.0


class Reader:
    """Thread-safe. Each read is a statement of its own, on a connection of the pool."""

    def __init__(self, pool: ConnectionPool[Connection[Any]], clock: Callable[[], float] = time.monotonic) -> None:
        self._pool = pool
        self._clock = clock

    def ask(self, statement: LiteralString, parameters: Mapping[str, object]) -> list[Any]:
        """The rows of a statement, asked again while PostgreSQL is away.

        Raises:
            UnavailableError: it stays away.
        """
        give_up_at = self._clock() + _OUTAGE_SECONDS
        for wait in backoff_seconds():
            try:
                with self._pool.connection() as connection:
                    return fetch(connection, statement, parameters)
            except psycopg.Error as error:
                if not is_outage(error):
                    raise
                if self._clock() + wait > give_up_at:
                    raise UnavailableError("PostgreSQL does not answer") from error
            time.sleep(wait)
        raise AssertionError("the waits never end")
