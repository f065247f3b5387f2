"""The rows of triggers, read and written: what a deploy and the control API are made of.

A trigger is a row of ``triggers`` and one of the table of its kind. Whoever writes here
has locked the app (``lock_app_and_rows``), and raises its revision afterwards. Triggers that are written together
first let go of what only one may have, a queue or an address, so that two can swap them.
Waiting messages follow their queue's consumer in the same transaction.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, assert_never

import msgspec

from picloud.control.apps import AppRow, hold_apps, lock_app
from picloud.control.records import Connection, fetch_row, fetch_rows
from picloud.errors import ConflictError
from picloud.queries import Queries
from picloud.retries import RetryPolicy
from picloud.triggers import (
    CronTrigger,
    DeadLetterTrigger,
    Detail,
    EmailTrigger,
    Kind,
    KvTrigger,
    PubsubTrigger,
    QueueTrigger,
    RetryOverrides,
    Schedule,
    Trigger,
    glob_of,
    glob_parts,
)

_SQL = Queries("triggers")


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrentTrigger:
    """A trigger as it is now.

    Attributes:
        policy: how its rows are tried again: its own values over the defaults of when it was written.
        principal: whom its runs act as.
        waiting: rows it has written that have not begun.
        next_at: cron: the first scheduled time that has not fired.
        fired_at: cron: when it last fired.
    """

    id: int
    trigger: Trigger
    policy: RetryPolicy
    script_id: int
    principal_id: int
    principal: str
    queue_id: int | None
    waiting: int
    created_at: dt.datetime
    next_at: dt.datetime | None
    fired_at: dt.datetime | None

    def equals(self, trigger: Trigger, policy: RetryPolicy) -> bool:
        """Whether writing ``trigger`` with ``policy`` would change nothing."""
        return self.trigger == trigger and self.policy == policy


@dataclass(frozen=True, slots=True)
class TriggerWrite:
    """A trigger as it shall be.

    Attributes:
        principal_id: whom its runs act as.
        current: what it replaces; None: it is new.
    """

    trigger: Trigger
    policy: RetryPolicy
    script_id: int
    principal_id: int
    current: CurrentTrigger | None

    @property
    def replaced(self) -> CurrentTrigger | None:
        """What leaves for it: a trigger of one kind cannot become one of another."""
        return self.current if self.current is not None and self.current.trigger.kind != self.trigger.kind else None

    @property
    def kept(self) -> CurrentTrigger | None:
        """What becomes it, and keeps its id."""
        return None if self.replaced is not None else self.current


async def lock_app_and_rows(connection: Connection, name: str) -> AppRow:
    """Lock an app to change it, and perhaps what waits of it in the outbox. Raises: NotFoundError."""
    await hold_apps(connection)
    return await lock_app(connection, name)


async def read_triggers(
    connection: Connection,
    app: AppRow,
    *,
    limit: int | None = None,
    name: str | None = None,
    kind: Kind | None = None,
    after: str | None = None,
) -> list[CurrentTrigger]:
    """Triggers of an app, by name; all of them without a ``limit``."""
    parameters = {"app": app.name, "app_id": app.id, "name": name, "kind": kind, "after": after, "limit": limit}
    return [_current(row) for row in await fetch_rows(connection, _SQL.triggers, parameters)]


async def write_triggers(
    connection: Connection, app: AppRow, *, gone: Iterable[CurrentTrigger] = (), written: Sequence[TriggerWrite] = ()
) -> None:
    """Remove ``gone``, write the others, make the queues they consume, and let waiting messages follow.

    Raises:
        ConflictError: a mail address is another app's.
    """
    leaving = [*gone, *(each.replaced for each in written if each.replaced is not None)]
    staying = [each.kept for each in written if each.kept is not None]
    # Before any of them is let go: whoever takes one that another deploy has let go, and not committed, waits for that.
    current = [each.trigger for each in (*leaving, *staying)]
    await _lock_addresses(connection, [*current, *(each.trigger for each in written)])
    if leaving:
        await connection.execute(_SQL.delete_triggers, {"ids": [each.id for each in leaving]})
    if staying:
        await connection.execute(_SQL.release_takings, {"ids": [each.id for each in staying]})
    queues = {each.trigger.detail.queue for each in written if isinstance(each.trigger.detail, QueueTrigger)}
    await make_queues(connection, app, sorted(queues))
    changed = {each.queue_id for each in (*leaving, *staying)} - {None}
    now = await _now(connection)
    for each in written:
        trigger_id = await _write_row(connection, app, each)
        queue_id = await _write_detail(connection, app, trigger_id, each, now)
        changed |= set() if queue_id is None else {queue_id}
    await assign_queues(connection, sorted(each for each in changed if each is not None))


async def make_queues(connection: Connection, app: AppRow, names: Sequence[str]) -> int:
    """Make those queues that are not there yet; returns how many."""
    if not names:
        return 0
    return len(await fetch_rows(connection, _SQL.insert_queues, {"app_id": app.id, "names": list(names)}))


async def assign_queues(connection: Connection, queue_ids: Sequence[int]) -> None:
    """Let waiting messages of these queues follow their consumers."""
    if queue_ids:
        await connection.execute(_SQL.assign_queues, {"ids": list(queue_ids)})


async def cancel_waiting(
    connection: Connection,
    app: AppRow,
    *,
    by: str,
    script_ids: Sequence[int] = (),
    trigger_ids: Sequence[int] = (),
    queue_ids: Sequence[int] = (),
) -> int:
    """End rows that have not begun as ``cancelled``; messages only with their queue.

    Args:
        by: who asks; kept in the executions' errors.

    Returns:
        How many.
    """
    parameters = {
        "app_id": app.id,
        "script_ids": list(script_ids),
        "trigger_ids": list(trigger_ids),
        "queue_ids": list(queue_ids),
        "error": msgspec.json.encode({"code": "cancelled", "message": f"cancelled by {by}"}),
    }
    row = await fetch_row(connection, _SQL.cancel_waiting, parameters)
    assert row is not None
    return int(row.count)


# From a row


def _current(row: Any) -> CurrentTrigger:
    retry = msgspec.json.decode(row.retry, type=RetryOverrides)
    return CurrentTrigger(
        id=row.id,
        trigger=Trigger(row.name, row.script, _detail(row), row.is_enabled, retry),
        policy=RetryPolicy(
            row.max_attempts, row.backoff, row.backoff_base_ms, row.backoff_max_ms, row.backoff_jitter_pct
        ),
        script_id=row.script_id,
        principal_id=row.principal_id,
        principal=row.principal,
        queue_id=row.queue_id,
        waiting=row.waiting,
        created_at=row.created_at,
        next_at=row.next_at,
        fired_at=row.fired_at,
    )


def _detail(row: Any) -> Detail:
    kind: Kind = row.kind
    match kind:
        case "kv":
            return KvTrigger(glob_of(row.is_prefix, row.collection), tuple(row.ops))
        case "cron":
            return CronTrigger(row.schedule, row.timezone, row.missed)
        case "pubsub":
            return PubsubTrigger(glob_of(row.is_prefix, row.topic))
        case "queue":
            return QueueTrigger(row.queue, row.concurrency)
        case "email":
            return EmailTrigger(row.address)
        case "dead_letter":
            return DeadLetterTrigger(row.source, row.trigger_name, row.script_name)
        case _:
            assert_never(kind)


# To rows


async def _lock_addresses(connection: Connection, triggers: Iterable[Trigger]) -> None:
    """Have the mail addresses of these triggers to oneself until the transaction ends.

    Addresses belong to the whole installation. All that a deploy lets go and takes are locked in one order for
    everybody, so that apps that swap theirs at the same moment wait for each other, never in a circle.
    """
    addresses = {each.detail.address for each in triggers if isinstance(each.detail, EmailTrigger)}
    if addresses:
        await connection.execute(_SQL.lock_addresses, {"addresses": sorted(addresses)})


async def _now(connection: Connection) -> dt.datetime:
    row = await fetch_row(connection, _SQL.now, {})
    assert row is not None
    now: dt.datetime = row.at
    return now


async def _write_row(connection: Connection, app: AppRow, write: TriggerWrite) -> int:
    trigger, policy = write.trigger, write.policy
    values = {
        "script_id": write.script_id,
        "principal_id": write.principal_id,
        "is_enabled": trigger.enabled,
        "retry": msgspec.json.encode(trigger.retry.to_data()).decode(),
        "max_attempts": policy.max_attempts,
        "backoff": policy.backoff,
        "base_ms": policy.base_ms,
        "max_ms": policy.max_ms,
        "jitter_pct": policy.jitter_pct,
    }
    if write.kept is None:
        new = {"app_id": app.id, "name": trigger.name, "kind": trigger.kind}
        row = await fetch_row(connection, _SQL.insert_trigger, values | new)
    else:
        row = await fetch_row(connection, _SQL.update_trigger, values | {"id": write.kept.id})
    assert row is not None, "the app is locked"
    return int(row.id)


async def _write_detail(
    connection: Connection, app: AppRow, trigger_id: int, write: TriggerWrite, now: dt.datetime
) -> int | None:
    """Write what the trigger listens to; returns the id of the queue it consumes."""
    own: Mapping[str, object] = {"trigger_id": trigger_id, "app_id": app.id}
    detail = write.trigger.detail
    match detail:
        case KvTrigger(collection=glob, ops=ops):
            await connection.execute(_SQL.put_kv, {**own, **_glob(glob), "ops": list(ops)})
        case CronTrigger():
            await connection.execute(_SQL.put_cron, {**own, **_cron(detail, write, now)})
        case PubsubTrigger(topic=glob):
            await connection.execute(_SQL.put_pubsub, {**own, **_glob(glob)})
        case QueueTrigger(queue=queue, concurrency=concurrency):
            consumed = {**own, "queue": queue, "concurrency": concurrency}
            row = await fetch_row(connection, _SQL.put_queue, consumed)
            assert row is not None, "the queue was made before"
            return int(row.queue_id)
        case EmailTrigger(address=address):
            if await fetch_row(connection, _SQL.put_email, {**own, "address": address}) is None:
                raise ConflictError(
                    f"the address {address!r} belongs to a trigger of another app",
                    hint="choose another address, or remove that trigger first",
                )
        case DeadLetterTrigger():
            filters = (detail.source, detail.trigger, detail.failed_script)
            names = ("source", "trigger_name", "script_name")
            await connection.execute(_SQL.put_dead_letter, {**own, **dict(zip(names, filters, strict=True))})
        case _:
            assert_never(detail)
    return None


def _glob(glob: str) -> dict[str, object]:
    is_prefix, literal = glob_parts(glob)
    return {"is_prefix": is_prefix, "literal": literal}


def _cron(detail: CronTrigger, write: TriggerWrite, now: dt.datetime) -> dict[str, object]:
    """A schedule's row; without a ``next_at`` where it goes on as it did."""
    return {
        "schedule": detail.schedule,
        "timezone": detail.timezone,
        "missed": detail.missed,
        "is_on": write.trigger.enabled,
        "next_at": Schedule(detail.schedule, detail.timezone).next_after(now) if _begins_anew(detail, write) else None,
    }


def _begins_anew(detail: CronTrigger, write: TriggerWrite) -> bool:
    """Whether what was due before does not count: a new schedule, or one that was off."""
    if write.kept is None or not isinstance(write.kept.trigger.detail, CronTrigger):
        return True
    before = write.kept.trigger
    was = write.kept.trigger.detail
    is_other = (was.schedule, was.timezone) != (detail.schedule, detail.timezone)
    return is_other or (write.trigger.enabled and not before.enabled)
