"""What scripts logged: of one execution, or followed as it is written."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
from typing import Any
from uuid import UUID

import msgspec

from picloud.control.records import Connection, fetch_row, fetch_rows
from picloud.errors import InvalidInputError
from picloud.queries import Queries

_SQL = Queries("inspect")

#: Attempts whose logs are shown with one execution at most; a retry policy may allow a thousand.
_MAX_ATTEMPTS_SHOWN = 100
_LAST_ATTEMPT = 2_147_483_647
_NOBODY = UUID(int=0)


class LogLine(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a script's log; ``at`` is when the script wrote it."""

    at: dt.datetime
    level: str
    message: str
    fields: Any = None
    execution_id: UUID
    app: str | None
    script: str | None
    attempt: int


class LogPage(msgspec.Struct, frozen=True):
    """Lines, oldest first, and the cursor of what will be written after them: there always is one."""

    items: list[LogLine]
    next: str


class Cursor(msgspec.Struct, frozen=True, array_like=True):
    """Where a reader of logs is: the last attempt whose lines it has."""

    written_at: dt.datetime
    execution_id: UUID = _NOBODY
    attempt: int = 0

    def encode(self) -> str:
        return base64.urlsafe_b64encode(msgspec.msgpack.encode(self)).decode("ascii").rstrip("=")

    @classmethod
    def decode(cls, text: str) -> Cursor:
        """Raises: InvalidInputError."""
        try:
            data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
            cursor = msgspec.msgpack.decode(data, type=cls)
        except (binascii.Error, ValueError):
            cursor = None
        # A cursor of ours has its time zone; without one PostgreSQL would take it for local time.
        if cursor is None or cursor.written_at.tzinfo is None:
            raise InvalidInputError(
                "after: not a cursor of this list", hint="pass the `next` of an earlier page unchanged"
            )
        return cursor


class _Line(msgspec.Struct):
    """A line as the engine wrote it."""

    at_us: int = 0
    level: str = "info"
    message: str = ""
    fields: Any = None


async def read_logs(connection: Connection, execution_id: UUID) -> list[LogLine]:
    """Everything one execution logged, attempt by attempt."""
    parameters = {"id": execution_id, "first": 0, "last": _LAST_ATTEMPT, "limit": _MAX_ATTEMPTS_SHOWN}
    rows = await fetch_rows(connection, _SQL.logs_of_execution, parameters)
    return [line for row in rows for line in _lines(row)]


async def read_attempt_logs(connection: Connection, execution_id: UUID, first: int, last: int) -> list[LogLine]:
    """What these attempts of one execution logged, both included, in order."""
    parameters = {"id": execution_id, "first": first, "last": last, "limit": None}
    rows = await fetch_rows(connection, _SQL.logs_of_execution, parameters)
    return [line for row in rows for line in _lines(row)]


async def follow_logs(connection: Connection, *, app_ids: list[int] | None, limit: int, after: str | None) -> LogPage:
    """What was logged after the cursor; without one, the last of what there is.

    Args:
        app_ids: None: of all apps.
        limit: attempts, not lines: an attempt's lines stay together.
    """
    found = await fetch_row(connection, _SQL.log_horizon, {})
    assert found is not None
    horizon = {"app_ids": app_ids, "horizon": found.horizon}
    cursor = Cursor(found.horizon) if after is None else Cursor.decode(after)
    if after is None:
        latest = await fetch_rows(connection, _SQL.latest_logs, horizon | {"limit": limit + 1})
        # The one before those that are wanted is where the reader would have been.
        if len(latest) > limit:
            cursor = Cursor(latest[-1].written_at, latest[-1].execution_id, latest[-1].attempt)
        elif latest:
            cursor = Cursor(latest[-1].written_at)
    parameters = horizon | msgspec.structs.asdict(cursor) | {"limit": limit}
    rows = await fetch_rows(connection, _SQL.logs_after, parameters)
    if rows:
        cursor = Cursor(rows[-1].written_at, rows[-1].execution_id, rows[-1].attempt)
    return LogPage([line for row in rows for line in _lines(row)], cursor.encode())


def shown_lines(lines: bytes) -> list[Any]:
    """Stored lines whose run is told elsewhere (a dead letter's attempts), as a list."""
    return [msgspec.to_builtins(line) for line in _decode(lines)]


def _lines(row: Any) -> list[LogLine]:
    started_at = row.started_at or row.written_at
    return [
        LogLine(
            at=started_at + dt.timedelta(microseconds=line.at_us),
            level=line.level,
            message=line.message,
            fields=line.fields,
            execution_id=row.execution_id,
            app=row.app,
            script=row.script,
            attempt=row.attempt,
        )
        for line in _decode(row.lines)
    ]


def _decode(lines: bytes) -> list[_Line]:
    try:
        return msgspec.json.decode(lines, type=list[_Line])
    except msgspec.DecodeError:
        # Cannot come from our own writers; shown all the same, because hiding it would help nobody.
        return [_Line(message=bytes(lines).decode("utf-8", "replace"))]
