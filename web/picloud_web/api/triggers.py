"""Triggers of an app, and what they make up: schedules and topics."""

import datetime as dt
from typing import Annotated

import msgspec
from msgspec import UNSET, UnsetType

from picloud.access import Capability
from picloud.control import triggers
from picloud.control.apps import find_app
from picloud.control.pages import Page
from picloud.control.records import Connection
from picloud.control.trigger_rows import lock_app_and_rows
from picloud.control.triggers import RemovedTrigger, StoredTrigger, Topic, TriggerSchedule
from picloud.errors import NotFoundError
from picloud.retries import Backoff
from picloud.triggers import KV_OPS, Kind, KvOp, Missed, Trigger, trigger_from_data
from picloud_web.api.conditions import IfMatch
from picloud_web.api.endpoints import Call, Endpoints
from picloud_web.api.inputs import Input, Name, Paging, Removal, Text

api = Endpoints("triggers")


Ops = Annotated[list[KvOp], msgspec.Meta(max_length=len(KV_OPS))]


class RetryWish(Input, frozen=True, kw_only=True):
    """A retry policy, or parts of one; what is left out is the platform's."""

    max_attempts: int | UnsetType = UNSET
    backoff: Backoff | UnsetType = UNSET
    base_ms: int | UnsetType = UNSET
    max_ms: int | UnsetType = UNSET
    jitter_pct: int | UnsetType = UNSET


class WantedTrigger(Input, frozen=True, kw_only=True):
    """A trigger as it shall be: the members of its kind beside those of all.

    Attributes:
        script: the name of the script it runs.
        collection: kv: a name, `prefix*` or `*`.
        ops: kv: which changes; all when left out.
        schedule: cron: five fields, or six with seconds first.
        timezone: cron: an IANA name; UTC when left out.
        missed: cron: what fires of ticks that were missed; `once` when left out.
        topic: pubsub: a name, `prefix*` or `*`.
        queue: queue: its name; it is made when there is none.
        concurrency: queue: messages that run at once, at most.
        address: email: `orders`, or `orders@example.org`.
        source: dead_letter: only runs that this fired.
        trigger: dead_letter: only runs that the trigger of this name fired.
        failed_script: dead_letter: only runs of the script of this name.
    """

    kind: Kind
    script: Name
    enabled: bool = True
    retry: RetryWish = RetryWish()
    collection: Text | UnsetType = UNSET
    ops: Ops | UnsetType = UNSET
    schedule: Text | UnsetType = UNSET
    timezone: Text | UnsetType = UNSET
    missed: Missed | UnsetType = UNSET
    topic: Text | UnsetType = UNSET
    queue: Text | UnsetType = UNSET
    concurrency: int | UnsetType = UNSET
    address: Text | UnsetType = UNSET
    source: Text | UnsetType = UNSET
    trigger: Text | UnsetType = UNSET
    failed_script: Name | UnsetType = UNSET


class NewTrigger(WantedTrigger, frozen=True, kw_only=True):
    """A trigger to be made; without `name` it gets one that tells what it listens to."""

    name: Text | UnsetType = UNSET


class Switch(Input, frozen=True):
    """Whether a trigger fires."""

    enabled: bool


class TriggerFilters(Paging, frozen=True, kw_only=True):
    """A page of triggers."""

    kind: Kind | None = None


def _read(wanted: WantedTrigger, name: str | None = None) -> Trigger:
    """The trigger a body describes. Raises: InvalidInputError."""
    data = {key: value for key, value in msgspec.to_builtins(wanted).items() if value != {}}
    return trigger_from_data(data if name is None else data | {"name": name})


@api.get("/apps/{app}/triggers", needs=Capability.APP_READ)
async def list_triggers(call: Call, query: TriggerFilters) -> Page[StoredTrigger]:
    """The triggers of an app, by name."""
    async with call.reading() as connection:
        return await triggers.list_triggers(connection, call.app, kind=query.kind, limit=query.limit, after=query.after)


@api.post("/apps/{app}/triggers", needs=Capability.APP_MANAGE_TRIGGERS, statuses=(201,))
async def create_trigger(call: Call, body: NewTrigger) -> StoredTrigger:
    """Make a trigger. One of its name, its queue or its address that is there already is answered 409."""
    made = await _put(call, _read(body), may_replace=False)
    call.status = 201
    call.headers["Location"] = f"/api/v1/apps/{made.app}/triggers/{made.name}"
    return made


@api.get("/apps/{app}/triggers/{trigger}", needs=Capability.APP_READ)
async def show_trigger(call: Call) -> StoredTrigger:
    """One trigger."""
    async with call.reading() as connection:
        return await triggers.read_trigger(connection, await find_app(connection, call.app), call.path["trigger"])


@api.put("/apps/{app}/triggers/{trigger}", needs=Capability.APP_MANAGE_TRIGGERS, statuses=(200, 201))
async def put_trigger(call: Call, headers: IfMatch, body: WantedTrigger) -> StoredTrigger:
    """Make a trigger, or make the one of this name like the body.

    It acts as the caller from then on. The same as now writes nothing.
    """
    return await _put(call, _read(body, call.path["trigger"]), condition=headers)


@api.patch("/apps/{app}/triggers/{trigger}", needs=Capability.APP_MANAGE_TRIGGERS)
async def switch_trigger(call: Call, headers: IfMatch, body: Switch) -> StoredTrigger:
    """Switch a trigger off or on.

    Messages of a queue whose consumer is off wait. A schedule that is switched on begins anew.
    """
    async with call.transaction() as connection:
        await _require_unchanged(call, connection, call.path["trigger"], headers)
        switched = await triggers.switch_trigger(connection, call.app, call.path["trigger"], enabled=body.enabled)
        call.entry.after = {"enabled": switched.enabled}
    await call.wake_relay()
    return switched


@api.delete("/apps/{app}/triggers/{trigger}", needs=Capability.APP_MANAGE_TRIGGERS, statuses=(200,))
async def remove_trigger(call: Call, query: Removal, headers: IfMatch) -> RemovedTrigger:
    """Remove a trigger. What it has accepted still runs, or is cancelled; messages of its queue wait."""
    async with call.transaction() as connection:
        await _require_unchanged(call, connection, call.path["trigger"], headers)
        app = await find_app(connection, call.app)
        call.entry.before = await triggers.read_trigger(connection, app, call.path["trigger"])
        removed = await triggers.remove_trigger(
            connection, call.app, call.principal, call.path["trigger"], cancels_waiting=query.cancel_waiting
        )
        call.entry.after = removed
    await call.wake_relay()
    return removed


@api.get("/apps/{app}/schedules", needs=Capability.APP_READ)
async def list_schedules(call: Call, query: Paging) -> Page[TriggerSchedule]:
    """The cron triggers of an app, by name, each with its next five times."""
    async with call.reading() as connection:
        return await triggers.list_schedules(
            connection, call.app, dt.datetime.now(dt.UTC), limit=query.limit, after=query.after
        )


@api.get("/apps/{app}/topics", needs=Capability.APP_READ)
async def list_topics(call: Call, query: Paging) -> Page[Topic]:
    """What of topics an app listens to: globs, each with the triggers that run."""
    async with call.reading() as connection:
        return await triggers.list_topics(connection, call.app, limit=query.limit, after=query.after)


async def _put(
    call: Call, wanted: Trigger, *, may_replace: bool = True, condition: IfMatch | None = None
) -> StoredTrigger:
    async with call.transaction() as connection:
        if condition is not None:
            await _require_unchanged(call, connection, wanted.name, condition)
        call.entry.object = wanted.name
        call.entry.before = await _trigger_or_none(call, connection, wanted.name)
        trigger, is_new = await triggers.put_trigger(
            connection, call.app, call.principal, wanted, call.services.settings.retry, may_replace=may_replace
        )
        call.entry.after = trigger
    call.status = 201 if is_new else 200
    await call.wake_relay()  # a schedule begins, or messages have a consumer now
    return trigger


async def _require_unchanged(call: Call, connection: Connection, name: str, condition: IfMatch) -> None:
    """Raises: ConflictError: the trigger is no longer what the caller has seen."""
    if condition.is_given:
        await lock_app_and_rows(connection, call.app)
        condition.require(await _trigger_or_none(call, connection, name))


async def _trigger_or_none(call: Call, connection: Connection, name: str) -> StoredTrigger | None:
    try:
        return await triggers.read_trigger(connection, await find_app(connection, call.app), name)
    except NotFoundError:
        return None


ENDPOINTS = api.collected()
