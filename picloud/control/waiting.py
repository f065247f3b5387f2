"""Rows that still have to run: seen, and taken back.

A row is cancelled in whatever state it is. A run that is under way finds at its next
heartbeat that its row is gone, and whatever it commits later matches nothing.
"""

from __future__ import annotations

import datetime as dt
from typing import Any, Literal
from uuid import UUID

import msgspec

from picloud.control.events import shown_event
from picloud.control.executions import Filters, has_ended, require
from picloud.control.pages import Page, id_cursor, page_of
from picloud.control.records import Connection, fetch_all, fetch_one, fetch_row
from picloud.errors import ConflictError, NotFoundError
from picloud.queries import Queries

_SQL = Queries("inspect")


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the outbox.

    Attributes:
        version: pinned by the row; null: whatever is current when it begins.
        state: held: of a queue that nobody consumes.
        due: pending, and its time has come.
        attempts: runs so far; 0: it has not run yet.
        available_at: not before.
        lease_until: published: when the relay looks again; running: the hard deadline.
        parent_execution_id: of the run whose effect it is; null: no run's.
    """

    id: UUID
    app: str | None
    script: str | None
    version: int | None
    source: str
    trigger: str | None
    principal: str | None
    state: Literal["pending", "published", "running", "held"]
    due: bool
    attempts: int
    max_attempts: int
    is_sync: bool
    order_key: str | None
    crashes: int
    lost: int
    worker_id: UUID | None
    available_at: dt.datetime
    created_at: dt.datetime
    started_at: dt.datetime | None
    lease_until: dt.datetime | None
    root_execution_id: UUID
    parent_execution_id: UUID | None
    trigger_depth: int
    payload_bytes: int


class RowDetail(Row, frozen=True, kw_only=True):
    """A row with the event it carries; null when its payload cannot be found."""

    event: Any


class CancelledRow(msgspec.Struct, frozen=True):
    """What was cancelled, and the inbox that waits for its answer."""

    id: UUID
    app: str | None
    reply_to: str | None
    state: int


async def list_rows(connection: Connection, filters: Filters, *, limit: int, after: str | None) -> Page[Row]:
    """The longest accepted first."""
    parameters = filters.parameters() | {"id": None, "after": id_cursor(after), "limit": limit + 1}
    rows = await fetch_all(connection, _SQL.outbox, parameters, Row)
    return page_of(rows, limit, lambda row: row.id)


async def read_row(connection: Connection, row_id: UUID, *, app_ids: list[int] | None = None) -> RowDetail:
    """Raises: NotFoundError: the row never was, or has ended."""
    parameters = Filters(app_ids=app_ids).parameters() | {"id": row_id, "after": None, "limit": 1}
    row = await fetch_one(connection, _SQL.outbox, parameters, Row)
    if row is None:
        raise NotFoundError(f"{row_id} is not in the outbox", hint="`picloud executions show` tells how it ended")
    payload = await fetch_row(connection, _SQL.payload, {"id": row_id})
    event = None if payload is None else shown_event(row.source, payload.event, payload.body)
    return RowDetail(**msgspec.structs.asdict(row), event=event)


async def cancel(connection: Connection, row_id: UUID, *, by: str, app_ids: list[int] | None = None) -> CancelledRow:
    """End a row as ``cancelled``, in one statement: no dead letter, no handler.

    Args:
        by: who asks; kept in the execution's error.

    Raises:
        ConflictError: it ended before.
        NotFoundError: there is no such row.
    """
    error = msgspec.json.encode({"code": "cancelled", "message": f"cancelled by {by}"})
    parameters = {"id": row_id, "app_ids": app_ids, "error": error}
    gone = await fetch_one(connection, _SQL.cancel, parameters, CancelledRow)
    if gone is not None:
        return gone
    unknown = NotFoundError(f"{row_id} is not in the outbox")
    if not await has_ended(connection, row_id):
        raise unknown
    try:
        await require(connection, row_id, app_ids=app_ids)
    except NotFoundError:  # another app's: other words than for what never was would tell that it is there
        raise unknown from None
    raise ConflictError(f"{row_id} has ended already", code="already_ended")
