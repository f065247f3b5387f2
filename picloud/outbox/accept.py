"""Accepting work: what the ingress, the CLI and every trigger do to make something run.

A row is accepted when the statement's transaction has committed. The writer
makes the id, so after a lost COMMIT answer the same batch is sent again.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, LiteralString
from uuid import UUID

from psycopg import AsyncConnection, Connection
from psycopg.rows import namedtuple_row

from picloud.database import record_array
from picloud.ids import day_of
from picloud.queries import Queries
from picloud.retries import RetryPolicy

_SQL = Queries("accept")

#: How long a published row may stay unbegun before the relay looks where it is.
PUBLISH_LEASE = dt.timedelta(seconds=10)

#: A sync run gets one attempt: its caller decides whether to ask again.
ONE_ATTEMPT = RetryPolicy(max_attempts=1, backoff="constant", base_ms=0, max_ms=0, jitter_pct=0)


@dataclass(frozen=True, slots=True)
class ReplyWanted:
    """Who waits for the answer of a sync run, and for how long.

    Attributes:
        inbox: name of the web process' inbox (see ``picloud.broker.inbox_key``).
        timeout_ms: milliseconds after acceptance when nobody waits any more.
        token: the fence under which the writer itself publishes the row; None: the row is
            pending, and the relay publishes it when the workers have room.
    """

    inbox: str
    timeout_ms: int
    token: int | None


@dataclass(frozen=True, slots=True)
class Arrival:
    """One thing to run.

    Attributes:
        id: a new UUIDv7 (``picloud.ids.new_id``).
        app_revision: of the app as the caller knows it; a changed app refuses the row.
        script_version: pins a version; None: the one current when the run begins.
        source: http, invoke, … the kind of event.
        trigger_id: the route or trigger that fired.
        event: JSON object, ``ctx.request`` or ``ctx.event`` without the body.
        body: raw bytes of an HTTP body.
        reply: set for a sync run.
        root_execution_id: the first cause; None: this row is its own root.
        order_key: rows of one app with one key run one after another.
        delay_ms: not before this many milliseconds from now.
        traceparent: the span above the run (W3C Trace Context); None: its trace begins with its root execution.
        access_revision: when a remembered credential let it in, of what was remembered; changed, it refuses the row.
    """

    id: UUID
    app_id: int
    app_revision: int
    script_id: int
    source: str
    principal_id: int
    event: bytes
    retry: RetryPolicy
    body: bytes | None = None
    trigger_id: int | None = None
    script_version: int | None = None
    reply: ReplyWanted | None = None
    root_execution_id: UUID | None = None
    trigger_depth: int = 0
    order_key: str | None = None
    delay_ms: int = 0
    traceparent: str | None = None
    access_revision: int | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """What became of a batch.

    Attributes:
        at: PostgreSQL's time of the transaction; None for an empty batch.
        refused: ids whose app, or whose caller, has changed, or whose app is paused: look both up again.
    """

    at: dt.datetime | None
    refused: frozenset[UUID] = field(default_factory=frozenset[UUID])


async def accept_async(connection: AsyncConnection[Any], arrivals: Sequence[Arrival], *, durable: bool) -> Accepted:
    """Write a batch; on an autocommit connection it is committed on return.

    Args:
        durable: False only for sync rows, whose callers were promised nothing yet.
    """
    if not arrivals:
        return Accepted(None)
    async with connection.cursor(row_factory=namedtuple_row, binary=True) as cursor:
        await cursor.execute(_SQL.accept, _parameters(arrivals, durable))
        return _accepted(await cursor.fetchall())


def accept(connection: Connection[Any], arrivals: Sequence[Arrival], *, durable: bool = True) -> Accepted:
    """The same on a blocking connection."""
    if not arrivals:
        return Accepted(None)
    with connection.cursor(row_factory=namedtuple_row, binary=True) as cursor:
        cursor.execute(_SQL.accept, _parameters(arrivals, durable))
        return _accepted(cursor.fetchall())


def _accepted(rows: Sequence[Any]) -> Accepted:
    return Accepted(rows[0].accepted_at, frozenset(row.id for row in rows if not row.is_fresh))


def _parameters(arrivals: Sequence[Arrival], durable: bool) -> dict[str, object]:
    """The batch as ``accept_v1`` takes it: the rows as records, events and bodies one after another beside them."""
    rows: list[tuple[object, ...]] = []
    data: list[bytes] = []
    first_byte = 1  # substring() counts from one
    for arrival in arrivals:
        rows.append(_row(arrival, first_byte))
        data.append(arrival.event)
        first_byte += len(arrival.event)
        if arrival.body is not None:
            data.append(arrival.body)
            first_byte += len(arrival.body)
    return {
        "arrivals": record_array(rows),
        "data": b"".join(data),
        "publish_lease": PUBLISH_LEASE,
        "durable": durable,
    }


def _row(arrival: Arrival, first_byte: int) -> tuple[object, ...]:
    """The columns of the type ``arrival``, in their order."""
    retry, reply = arrival.retry, arrival.reply
    return (
        arrival.id,
        day_of(arrival.id),
        arrival.app_id,
        arrival.app_revision,
        arrival.script_id,
        arrival.script_version,
        arrival.source,
        arrival.trigger_id,
        arrival.principal_id,
        first_byte,
        len(arrival.event),
        None if arrival.body is None else len(arrival.body),
        reply.token or 0 if reply else 0,
        reply.inbox if reply else None,
        reply.timeout_ms if reply else None,
        retry.max_attempts,
        retry.backoff,
        retry.base_ms,
        retry.max_ms,
        retry.jitter_pct,
        arrival.root_execution_id or arrival.id,
        arrival.trigger_depth,
        arrival.order_key,
        arrival.delay_ms,
        arrival.traceparent,
        arrival.access_revision,
    )


@dataclass(frozen=True, slots=True)
class FirstAnswer:
    """Who owns an Idempotency-Key.

    Attributes:
        execution_id: of the first request with this key.
        accepted_at: when that one was accepted.
        is_first: this very call was the first.
        is_same_request: method, path and body were the same then.
    """

    execution_id: UUID
    accepted_at: dt.datetime
    is_first: bool
    is_same_request: bool


async def accept_once(
    connection: AsyncConnection[Any], arrival: Arrival, *, key: str, fingerprint: bytes
) -> FirstAnswer | None:
    """Accept ``arrival`` unless ``key`` was used before; one transaction, committed on return.

    Returns:
        The first answer under this key, or None when the app has changed or is
        paused (nothing was written, the key is still free).
    """
    parameters: dict[str, object] = {
        "app_id": arrival.app_id,
        "key": key,
        "fingerprint": fingerprint,
        "execution_id": arrival.id,
    }
    async with connection.transaction() as transaction:
        is_first = await _returns_a_row(connection, _SQL.claim_idempotency_key, parameters)
        if is_first:
            accepted = await accept_async(connection, [arrival], durable=True)
            if accepted.refused:
                transaction.force_rollback = True
                return None
            assert accepted.at is not None
            return FirstAnswer(arrival.id, accepted.at, is_first=True, is_same_request=True)
        async with connection.cursor(row_factory=namedtuple_row) as cursor:
            await cursor.execute(_SQL.read_idempotency_key, parameters)
            row: Any = await cursor.fetchone()
    if row is None:  # the first one was rolled back or forgotten between our two statements
        return await accept_once(connection, arrival, key=key, fingerprint=fingerprint)
    same = row.execution_id == arrival.id or bytes(row.fingerprint) == fingerprint
    return FirstAnswer(row.execution_id, row.accepted_at, is_first=row.execution_id == arrival.id, is_same_request=same)


async def _returns_a_row(
    connection: AsyncConnection[Any], statement: LiteralString, parameters: dict[str, object]
) -> bool:
    async with connection.cursor() as cursor:
        await cursor.execute(statement, parameters)
        return await cursor.fetchone() is not None


async def withdraw_sync(connection: AsyncConnection[Any], ids: Sequence[UUID], error: bytes) -> frozenset[UUID]:
    """Settle sync rows that could not be published as failed: their callers are answered now.

    Returns:
        Those withdrawn. The others had begun after all, and will answer.
    """
    cursor = await connection.execute(_SQL.withdraw_sync, {"ids": list(ids), "error": error})
    return frozenset(row[0] for row in await cursor.fetchall())


async def forget_idempotency_key(connection: AsyncConnection[Any], app_id: int, key: str, execution_id: UUID) -> None:
    """Free a key whose request never ran: its repeat is the first one then."""
    await connection.execute(_SQL.forget_idempotency_key, {"app_id": app_id, "key": key, "execution_id": execution_id})


async def give_up_waiting(connection: AsyncConnection[Any], execution_id: UUID) -> None:
    """Say that the client of this sync run has left."""
    await connection.execute(_SQL.give_up_waiting, {"id": execution_id})
