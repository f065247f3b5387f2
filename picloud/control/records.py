"""Runs statements and hands their rows out as structs, with every instant in UTC.

psycopg gives instants in the session's time zone, which belongs to whoever configured the
server. The loader here reads PostgreSQL's binary form, which is UTC whatever that zone is.
"""

from __future__ import annotations

import datetime as dt
import struct
from collections.abc import Mapping
from typing import Any, LiteralString, TypeAlias, TypeVar

import msgspec
from psycopg import AsyncConnection, AsyncCursor
from psycopg.adapt import Buffer, Loader
from psycopg.pq import Format
from psycopg.rows import class_row, namedtuple_row

Connection: TypeAlias = AsyncConnection[Any]
Parameters: TypeAlias = Mapping[str, object]
Record = TypeVar("Record")

_POSTGRES_EPOCH = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)


class _UtcLoader(Loader):
    """timestamptz, binary: microseconds since 2000-01-01 UTC (PostgreSQL, timestamp.h)."""

    format = Format.BINARY

    def load(self, data: Buffer) -> dt.datetime:
        (microseconds,) = struct.unpack("!q", data)
        return _POSTGRES_EPOCH + dt.timedelta(microseconds=microseconds)


async def fetch_all(
    connection: Connection, statement: LiteralString, parameters: Parameters, into: type[Record]
) -> list[Record]:
    """Every row, as ``into``: its fields are the statement's columns."""
    async with connection.cursor(binary=True, row_factory=class_row(into)) as cursor:
        await _execute(cursor, statement, parameters)
        return await cursor.fetchall()


async def fetch_one(
    connection: Connection, statement: LiteralString, parameters: Parameters, into: type[Record]
) -> Record | None:
    """The first row as ``into``, or None."""
    async with connection.cursor(binary=True, row_factory=class_row(into)) as cursor:
        await _execute(cursor, statement, parameters)
        return await cursor.fetchone()


async def fetch_rows(connection: Connection, statement: LiteralString, parameters: Parameters) -> list[Any]:
    """Every row with its columns as attributes, for callers that convert them."""
    async with connection.cursor(binary=True, row_factory=namedtuple_row) as cursor:
        await _execute(cursor, statement, parameters)
        return list(await cursor.fetchall())


async def fetch_row(connection: Connection, statement: LiteralString, parameters: Parameters) -> Any | None:
    """The first row with its columns as attributes, or None."""
    rows = await fetch_rows(connection, statement, parameters)
    return rows[0] if rows else None


async def _execute(cursor: AsyncCursor[Any], statement: LiteralString, parameters: Parameters) -> None:
    cursor.adapters.register_loader("timestamptz", _UtcLoader)
    # Not prepared: lists carry optional filters, and a plan made for all of them at once serves none.
    await cursor.execute(statement, parameters, prepare=False)


def stored_json(data: bytes | None) -> msgspec.Raw | str | None:
    """A stored JSON document as it was written, byte for byte.

    What is not JSON (it cannot come from our own writers) is shown as text: a broken
    document would make the whole answer unreadable.
    """
    if data is None:
        return None
    try:
        msgspec.json.decode(data)
    except msgspec.DecodeError:
        return bytes(data).decode("utf-8", "replace")
    return msgspec.Raw(bytes(data))
