"""What tells that there is something new to read: asked a few times a second while somebody streams."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from uuid import UUID

from picloud.control.records import Connection, fetch_rows
from picloud.queries import Queries

_SQL = Queries("changes")


async def read_execution_marks(connection: Connection, ids: Sequence[UUID]) -> dict[UUID, tuple[object, ...]]:
    """Where each of these executions is; those that neither wait nor run nor ended are left out."""
    rows = await fetch_rows(connection, _SQL.executions, {"ids": list(ids)})
    return {row.id: (row.state, row.attempt, row.has_ended) for row in rows}


async def read_last_logged(connection: Connection) -> dict[int, dt.datetime]:
    """When each app last logged something, as far as logs can be read by now (``follow_logs``), by the app's id."""
    rows = await fetch_rows(connection, _SQL.last_logged, {})
    return {row.app_id: row.written_at for row in rows}
