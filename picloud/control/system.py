"""The installation at a glance: queues, workers, the books, the totals."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection
from typing import Literal
from uuid import UUID

import msgspec

from picloud import __version__
from picloud.control.executions import Filters
from picloud.control.pages import Page, id_cursor, page_of
from picloud.control.records import Connection, fetch_all, fetch_row, fetch_rows
from picloud.errors import NotFoundError
from picloud.queries import Queries

_SQL = Queries("inspect")


class Queue(msgspec.Struct, frozen=True):
    """What waits of one app and source; ``retrying`` is the part of ``pending`` that has run before."""

    app: str | None
    source: str
    pending: int
    due: int
    published: int
    running: int
    retrying: int
    oldest_due_seconds: float


class Broker(msgspec.Struct, frozen=True):
    """The window in Redis: messages no worker has popped yet."""

    is_up: bool
    sync: int
    async_: int = msgspec.field(name="async")


class Worker(msgspec.Struct, frozen=True, kw_only=True):
    """One worker process.

    Attributes:
        status: ``lost`` when it neither listens nor has said anything for 15 seconds.
        running: rows it runs now.
        run_ms: its average run.
    """

    id: UUID
    host: str
    pid: int
    parent_id: UUID | None
    status: Literal["idle", "busy", "draining", "lost"]
    threads: int
    takes_sync: bool
    running: int
    run_ms: float
    release: str
    protocol: int
    draining_at: dt.datetime | None
    started_at: dt.datetime
    beat_at: dt.datetime


class Queues(msgspec.Struct, frozen=True):
    """What waits, since when, and who runs it."""

    apps: list[Queue]
    broker: Broker
    workers: list[Worker]


class Books(msgspec.Struct, frozen=True):
    """The sum that must come out: nothing that was accepted is lost."""

    accepted: int
    completed: int
    failed: int
    dead: int
    cancelled: int
    depth_exceeded: int
    pending: int
    running: int
    balanced: bool


class Throughput(msgspec.Struct, frozen=True, kw_only=True):
    """What was accepted and what ended how within the last ``seconds``: counts, not rates."""

    seconds: float
    accepted: int
    completed: int
    failed: int
    dead: int
    cancelled: int
    depth_exceeded: int


class Stats(msgspec.Struct, frozen=True, kw_only=True):
    """Totals of the installation; ``last_hour`` counts executions that ended by their status."""

    version: str
    at: dt.datetime
    apps: int
    scripts: int
    routes: int
    pending: int
    running: int
    unresolved_dead_letters: int
    last_hour: dict[str, int]
    database_bytes: int
    postgresql_version: str


class AbandonedExecution(msgspec.Struct, frozen=True):
    """A sync run whose answer nobody waited for any more; its id is the execution's."""

    id: UUID
    app: str | None
    script: str | None
    reason: Literal["deadline_passed", "client_gone"]
    abandoned_at: dt.datetime


async def read_queues(connection: Connection, *, app_ids: list[int] | None = None) -> list[Queue]:
    """What waits, per app and source; those with nothing are not there."""
    return await fetch_all(connection, _SQL.queues, {"app_ids": app_ids}, Queue)


async def read_worker_ids(connection: Connection) -> list[UUID]:
    """Every worker process that is not yet forgotten: those Redis is asked about."""
    return [row.id for row in await fetch_rows(connection, _SQL.workers, {"id": None})]


async def read_workers(connection: Connection, listening: Collection[UUID]) -> list[Worker]:
    """Every worker process that is not yet forgotten.

    Args:
        listening: those of which Redis knows that they listen; an idle process does not beat.
    """
    rows = await fetch_rows(connection, _SQL.workers, {"id": None})
    return [_worker(row, is_listening=row.id in listening) for row in rows]


async def drain_worker(connection: Connection, worker_id: UUID) -> Worker:
    """Let a worker process end what it runs and begin nothing more. Raises: NotFoundError."""
    if await fetch_row(connection, _SQL.drain_worker, {"id": worker_id}) is None:
        raise NotFoundError(f"there is no worker {worker_id}", hint="`picloud workers ls` lists them")
    rows = await fetch_rows(connection, _SQL.workers, {"id": worker_id})
    return _worker(rows[0], is_listening=True)


async def read_books(connection: Connection) -> Books:
    """Count everything that was ever accepted, and what became of it."""
    row = await fetch_row(connection, _SQL.books, {})
    assert row is not None
    entries = [entry for entry in Books.__struct_fields__ if entry != "balanced"]
    counted = {entry: int(getattr(row, entry)) for entry in entries}
    outcomes = sum(count for entry, count in counted.items() if entry != "accepted")
    return Books(**counted, balanced=counted["accepted"] == outcomes)


async def read_throughput(connection: Connection, seconds: float) -> Throughput:
    """Count what was accepted and what ended within the last ``seconds``."""
    row = await fetch_row(connection, _SQL.throughput, {"seconds": seconds})
    assert row is not None
    return Throughput(seconds=seconds, **row._asdict())


async def read_stats(connection: Connection) -> Stats:
    """Count what there is."""
    row = await fetch_row(connection, _SQL.stats, {})
    outcomes = await fetch_rows(connection, _SQL.recent_outcomes, {})
    assert row is not None
    return Stats(version=__version__, last_hour={each.status: each.count for each in outcomes}, **row._asdict())


async def list_abandoned(
    connection: Connection, filters: Filters, *, limit: int, after: str | None
) -> Page[AbandonedExecution]:
    """Newest first."""
    parameters = {
        "app_ids": filters.app_ids,
        "script": filters.script,
        "since": filters.since,
        "after": id_cursor(after),
        "limit": limit + 1,
    }
    rows = await fetch_all(connection, _SQL.abandoned_executions, parameters, AbandonedExecution)
    return page_of(rows, limit, lambda row: row.id)


def _worker(row: object, *, is_listening: bool) -> Worker:
    values = {name: getattr(row, name) for name in Worker.__struct_fields__ if name != "status"}
    return Worker(**values, status=_worker_status(row, is_listening=is_listening))


def _worker_status(row: object, *, is_listening: bool) -> Literal["idle", "busy", "draining", "lost"]:
    if not (is_listening or getattr(row, "beat_lately", False)):
        return "lost"
    if getattr(row, "draining_at", None) is not None:
        return "draining"
    return "busy" if getattr(row, "running", 0) else "idle"
