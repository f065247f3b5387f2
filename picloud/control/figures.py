"""What PostgreSQL knows about the platform as a whole, in figures for ``/metrics``."""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

import msgspec

from picloud.control.records import Connection, fetch_rows
from picloud.control.system import Queue, Worker, read_queues, read_workers
from picloud.queries import Queries

_SQL = Queries("figures")


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """One look.

    Attributes:
        accepted: rows ever accepted; see the statement for what it includes.
        unresolved_letters: by app.
    """

    accepted: int
    apps: int
    database_bytes: int
    queues: list[Queue]
    unresolved_letters: dict[str, int]
    workers: list[Worker]


async def read_figures(connection: Connection, listening: Collection[UUID]) -> Figures:
    """Look at everything once.

    Args:
        listening: worker processes that Redis knows to listen.
    """
    (totals,) = await fetch_rows(connection, _SQL.totals, {})
    letters = await fetch_rows(connection, _SQL.unresolved_letters, {})
    return Figures(
        accepted=totals.accepted,
        apps=totals.apps,
        database_bytes=totals.database_bytes,
        queues=await read_queues(connection),
        unresolved_letters={row.app: row.count for row in letters},
        workers=await read_workers(connection, listening),
    )
