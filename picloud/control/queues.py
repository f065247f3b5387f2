"""Queues of an app: made, listed, removed, and what waits in them.

A queue is there before its consumer and after it: its messages wait (``held``). It is
removed only when it is empty, or when its messages are to be cancelled with it.
"""

from __future__ import annotations

import datetime as dt

import msgspec

from picloud.access import Principal
from picloud.control.apps import AppRow, find_app, raise_revision
from picloud.control.pages import Page, page_of
from picloud.control.records import Connection, fetch_all
from picloud.control.trigger_rows import cancel_waiting, lock_app_and_rows, make_queues
from picloud.errors import ConflictError, InvalidInputError, NotFoundError
from picloud.queries import Queries
from picloud.triggers import wrong_name

_SQL = Queries("triggers")


class StoredQueue(msgspec.Struct, frozen=True, kw_only=True):
    """A queue with what is in it.

    Attributes:
        consumer: the name of the trigger that consumes it.
        script: what the consumer runs.
        is_consumed: there is a consumer, and it is on.
        concurrency: messages that run at once, at most; null: as many as the workers can.
        waiting: for their time, their turn or a worker.
        held: nobody consumes the queue.
        in_flight: on their way to a worker, or running.
        oldest_seconds: since the oldest message that has not begun was sent.
    """

    id: int
    app: str
    name: str
    consumer: str | None
    script: str | None
    is_consumed: bool
    concurrency: int | None
    waiting: int
    held: int
    in_flight: int
    oldest_seconds: float | None
    created_at: dt.datetime

    @property
    def messages(self) -> int:
        """All that are in it."""
        return self.waiting + self.held + self.in_flight


class RemovedQueue(msgspec.Struct, frozen=True):
    """A queue that is gone.

    Attributes:
        cancelled: messages that ended as `cancelled`.
        in_flight: messages that were under way, and end as they began.
    """

    queue: str
    cancelled: int
    in_flight: int


async def list_queues(connection: Connection, app_name: str, *, limit: int, after: str | None) -> Page[StoredQueue]:
    """By name. Raises: NotFoundError."""
    app = await find_app(connection, app_name)
    return page_of(await read_queues(connection, app, after=after, limit=limit + 1), limit, lambda queue: queue.name)


async def read_queues(
    connection: Connection,
    app: AppRow,
    *,
    limit: int | None = None,
    name: str | None = None,
    after: str | None = None,
) -> list[StoredQueue]:
    """Queues of an app, by name; all of them without a ``limit``."""
    parameters = {"app": app.name, "app_id": app.id, "name": name, "after": after, "limit": limit}
    return await fetch_all(connection, _SQL.queues, parameters, StoredQueue)


async def read_queue(connection: Connection, app: AppRow, name: str) -> StoredQueue:
    """Raises: NotFoundError."""
    found = await read_queues(connection, app, name=name, limit=1)
    if not found:
        raise NotFoundError(f"{app.name} has no queue {name!r}", hint="`picloud queues ls` lists them")
    return found[0]


async def put_queue(
    connection: Connection, app_name: str, name: str, *, may_exist: bool = True
) -> tuple[StoredQueue, bool]:
    """Make a queue unless there is one.

    Returns:
        The queue, and whether it is new.

    Raises:
        NotFoundError: there is no such app.
        InvalidInputError: the name cannot be a queue's.
        ConflictError: there is one, and ``may_exist`` is false.
    """
    if (wrong := wrong_name("queue", name)) is not None:
        raise InvalidInputError(f"name: {wrong}")
    app = await lock_app_and_rows(connection, app_name)
    is_new = await make_queues(connection, app, [name]) > 0
    if not is_new and not may_exist:
        raise ConflictError(f"{app.name} has a queue {name!r} already")
    if is_new:
        await raise_revision(connection, app)
    return await read_queue(connection, app, name), is_new


async def remove_queue(
    connection: Connection, app_name: str, principal: Principal, name: str, *, cancels_waiting: bool
) -> RemovedQueue:
    """Remove a queue that nobody consumes; with messages only if they are to be cancelled.

    Raises:
        NotFoundError: no such app or queue.
        ConflictError: a trigger consumes it, or there are messages in it.
    """
    app = await lock_app_and_rows(connection, app_name)
    await hold_queues(connection, app)
    queue = await read_queue(connection, app, name)
    if queue.consumer is not None:
        raise ConflictError(
            f"the trigger {queue.consumer!r} consumes {name}", hint="remove the trigger first", code="queue_is_consumed"
        )
    if queue.messages and not cancels_waiting:
        raise ConflictError(
            f"{name} holds {queue.messages} message{'s' if queue.messages > 1 else ''}",
            hint="a trigger can consume them; with cancel_waiting (--cancel-waiting) they are cancelled",
            code="queue_not_empty",
        )
    cancelled = await cancel_waiting(connection, app, by=principal.name, queue_ids=[queue.id]) if queue.messages else 0
    await delete_queues(connection, [queue])
    await raise_revision(connection, app)
    return RemovedQueue(name, cancelled, queue.messages - cancelled)


async def hold_queues(connection: Connection, app: AppRow) -> None:
    """Let nobody send to the app's queues before this transaction ends; the app is locked."""
    await connection.execute(_SQL.hold_queues, {"app_id": app.id})


async def delete_queues(connection: Connection, queues: list[StoredQueue]) -> None:
    """Take queues away that nobody consumes."""
    if queues:
        await connection.execute(_SQL.delete_queues, {"ids": [queue.id for queue in queues]})
