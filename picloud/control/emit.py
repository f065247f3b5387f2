"""Firing a trigger's source by hand: the rows it would have made, without what would have caused them.

No key is changed, no mail is received, no schedule moves on. Two sources are not played but
real: a message sent to a queue is one of its messages, and a dead letter is one that is there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeAlias, TypeVar
from uuid import UUID

import msgspec

from picloud.access import Principal
from picloud.control.apps import AppRow, hold_app
from picloud.control.kv import wrong_key
from picloud.control.records import Connection, fetch_all, fetch_row, fetch_rows
from picloud.errors import ConflictError, InvalidInputError, NotFoundError
from picloud.ids import new_id
from picloud.queries import Queries
from picloud.retries import RetryPolicy
from picloud.services.desk import MAX_DELAY_SECONDS, MAX_ORDER_KEY_BYTES
from picloud.triggers import wrong_name

_SQL = Queries("emit")

Source: TypeAlias = Literal["kv", "cron", "pubsub", "queue", "email", "dead_letter"]


class Fired(msgspec.Struct, frozen=True):
    """An execution that was begun; trigger and script are null of a message that nobody consumes yet."""

    id: UUID
    trigger: str | None
    script: str | None


class Emitted(msgspec.Struct, frozen=True):
    """What firing a source by hand has begun.

    Attributes:
        note: why nothing was begun, or what what was begun waits for.
    """

    source: Source
    executions: list[Fired]
    note: str | None


class Emission(msgspec.Struct, frozen=True):
    """A source to be fired.

    Attributes:
        trigger: only this one; None: all that listen.
        principal: whom a message that nobody consumes yet belongs to.
        retry: of such a message.
    """

    app: AppRow
    trigger: str | None
    principal: Principal
    retry: RetryPolicy


class _Event(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of what is given for each source."""


class _KvEvent(_Event, frozen=True):
    op: Literal["insert", "update", "delete"]
    collection: str
    key: str
    value: Any = None
    old_value: Any = None
    version: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] = 0


class _CronEvent(_Event, frozen=True):
    trigger: str | None = None


class _PubsubEvent(_Event, frozen=True):
    topic: str
    message: Any


class _QueueEvent(_Event, frozen=True):
    queue: str
    message: Any
    delay_seconds: Annotated[float, msgspec.Meta(ge=0, le=MAX_DELAY_SECONDS)] = 0
    key: str | None = None


class _EmailEvent(_Event, frozen=True):
    to: str
    from_: str = msgspec.field(name="from", default="")
    subject: str = ""
    text: str | None = None
    html: str | None = None
    headers: dict[str, str | list[str]] = msgspec.field(default_factory=dict[str, str | list[str]])
    attachments: list[dict[str, Any]] = msgspec.field(default_factory=list[dict[str, Any]])


class _DeadLetterEvent(_Event, frozen=True):
    dead_letter_id: UUID


Given = TypeVar("Given", bound=_Event)


async def emit(
    connection: Connection,
    app_name: str,
    principal: Principal,
    source: Source,
    event: Mapping[str, Any],
    *,
    trigger: str | None,
    retry: RetryPolicy,
) -> Emitted:
    """Write the rows; call it in a transaction of its own.

    Args:
        event: what happened, as the source's scripts see it, as far as it cannot be filled in.
        trigger: only this one; None: all that listen.

    Raises:
        NotFoundError: no such app, trigger, queue or dead letter.
        InvalidInputError: the event cannot be one of this source.
        ConflictError: the trigger is off, or the dead letter is resolved or being handled.
    """
    app = await hold_app(connection, app_name)
    if trigger is not None:
        await _check_trigger(connection, app, source, trigger)
    emission = Emission(app, trigger, principal, retry)
    fired, reason = await _FIRE[source](connection, emission, event)
    if fired and app.paused:
        reason = f"{app.name} is paused: this waits until it is resumed"
    return Emitted(source, fired, reason)


async def _check_trigger(connection: Connection, app: AppRow, source: Source, name: str) -> None:
    found = await fetch_row(connection, _SQL.named_trigger, {"app_id": app.id, "trigger": name})
    if found is None:
        raise NotFoundError(f"{app.name} has no trigger {name!r}", hint="`picloud triggers ls` lists them")
    if found.kind != source:
        raise InvalidInputError(f"trigger: {name} is of kind {found.kind}, not {source}")
    if not found.is_enabled:
        raise ConflictError(f"the trigger {name} is disabled", code="trigger_disabled")


# Each source: what was begun, and what is to be said about it

_Outcome: TypeAlias = tuple[list[Fired], str | None]


async def _fire_kv(connection: Connection, emission: Emission, event: Mapping[str, Any]) -> _Outcome:
    given = _read(event, _KvEvent)
    _refuse(wrong_name("collection", given.collection), "collection")
    _refuse(wrong_key(given.key), "key")
    if given.op == "insert" and given.old_value is not None:
        _refuse("an insert has none", "old_value")
    if given.op == "delete" and given.value is not None:
        _refuse("a delete has none", "value")
    listeners = await _listeners(
        connection, _SQL.kv_listeners, emission, {"op": given.op, "collection": given.collection}
    )
    content = {name: getattr(given, name) for name in ("op", "collection", "key", "version", "value", "old_value")}
    return await _fire(connection, listeners, content), _unheard(
        emission, listeners, f"kv trigger is for {given.op} in {given.collection}"
    )


async def _fire_cron(connection: Connection, emission: Emission, event: Mapping[str, Any]) -> _Outcome:
    given = _read(event, _CronEvent)
    if given.trigger is not None and emission.trigger not in (None, given.trigger):
        _refuse(f"another one, {emission.trigger}, is named beside the event", "trigger")
    wanted = emission.trigger or given.trigger
    if wanted is not None:
        await _check_trigger(connection, emission.app, "cron", wanted)
    found = await fetch_rows(connection, _SQL.cron_triggers, {"app_id": emission.app.id, "trigger": wanted})
    if len(found) > 1:
        names = ", ".join(each.name for each in found)
        raise InvalidInputError("trigger: which of the app's cron triggers is meant?", hint=f"there are {names}")
    if not found:
        return [], f"{emission.app.name} has no cron trigger that is enabled"
    now = await _now(connection)
    content = {"schedule": found[0].schedule, "timezone": found[0].timezone, "scheduled_at": now, "fired_at": now}
    return await _fire(connection, [found[0].id], content), None


async def _fire_pubsub(connection: Connection, emission: Emission, event: Mapping[str, Any]) -> _Outcome:
    given = _read(event, _PubsubEvent)
    _refuse(wrong_name("topic", given.topic), "topic")
    listeners = await _listeners(connection, _SQL.pubsub_listeners, emission, {"topic": given.topic})
    content = {"topic": given.topic, "published_at": await _now(connection), "message": given.message}
    return await _fire(connection, listeners, content), _unheard(
        emission, listeners, f"pubsub trigger subscribes to {given.topic}"
    )


async def _fire_email(connection: Connection, emission: Emission, event: Mapping[str, Any]) -> _Outcome:
    given = _read(event, _EmailEvent)
    address = given.to.lower()
    if "\0" in address or not address.isprintable() or not address.isascii():
        _refuse("expected an address, as in orders@example.org", "to")
    local_part = address.rpartition("@")[0] or address
    listeners = await _listeners(
        connection, _SQL.email_listeners, emission, {"address": address, "local_part": local_part}
    )
    content = msgspec.to_builtins(given)
    return await _fire(connection, listeners, content), _unheard(
        emission, listeners, f"email trigger takes mail for {given.to}"
    )


async def _fire_queue(connection: Connection, emission: Emission, event: Mapping[str, Any]) -> _Outcome:
    given = _read(event, _QueueEvent)
    key = given.key
    if key is not None and not (0 < len(key.encode()) <= MAX_ORDER_KEY_BYTES and "\0" not in key):
        _refuse(f"expected 1 to {MAX_ORDER_KEY_BYTES} bytes without U+0000", "key")
    _refuse(wrong_name("queue", given.queue), "queue")
    queue = await fetch_row(connection, _SQL.queue, {"app_id": emission.app.id, "queue": given.queue})
    if queue is None:
        raise NotFoundError(f"{emission.app.name} has no queue {given.queue!r}", code="queue_not_found")
    if emission.trigger is not None and queue.trigger != emission.trigger:
        _refuse(f"{emission.trigger} does not consume {given.queue}", "trigger")
    message_id = new_id()
    parameters = {
        "id": message_id,
        "app_id": emission.app.id,
        "queue": given.queue,
        "principal_id": emission.principal.id,
        "message": msgspec.json.encode(given.message),
        "delay_ms": round(given.delay_seconds * 1_000),
        "order_key": key,
        **_columns(emission.retry),
    }
    await fetch_row(connection, _SQL.send, parameters)
    reason = None if queue.trigger else f"nobody consumes {given.queue}: the message waits in it"
    return [Fired(message_id, queue.trigger, queue.script)], reason


async def _fire_dead_letter(connection: Connection, emission: Emission, event: Mapping[str, Any]) -> _Outcome:
    if "dead_letter_id" not in event:
        raise InvalidInputError(
            "dead_letter_id: name a dead letter of the app: its handlers get that one",
            hint="`picloud dead-letters ls` lists them; how a handler takes one is tried with a script that fails",
        )
    if emission.trigger is not None:
        _refuse("a dead letter goes to every handler whose filters it passes: leave it out", "trigger")
    letter_id = {"id": _read(event, _DeadLetterEvent).dead_letter_id}
    letter = await fetch_row(connection, _SQL.letter, {**letter_id, "app_id": emission.app.id})
    if letter is None:
        raise NotFoundError(f"{emission.app.name} has no dead letter {letter_id['id']}")
    if letter.is_handled:
        raise ConflictError(f"{letter.id} is being handled", code="being_handled")
    if letter.resolution not in {"unresolved", "handler_failed"}:
        raise ConflictError(f"{letter.id} is {letter.resolution} already", code="already_resolved")
    made = await fetch_row(connection, _SQL.handle, letter_id)
    if made is None or made.count == 0:
        return [], f"no dead_letter trigger of {emission.app.name} is for this one"
    await connection.execute(_SQL.reopen, letter_id)
    return await fetch_all(connection, _SQL.handlers, letter_id, Fired), None


_FIRE: Mapping[Source, Callable[[Connection, Emission, Mapping[str, Any]], Awaitable[_Outcome]]] = {
    "kv": _fire_kv,
    "cron": _fire_cron,
    "pubsub": _fire_pubsub,
    "queue": _fire_queue,
    "email": _fire_email,
    "dead_letter": _fire_dead_letter,
}


async def _listeners(
    connection: Connection, statement: Any, emission: Emission, given: Mapping[str, object]
) -> list[int]:
    parameters = {"app_id": emission.app.id, "trigger": emission.trigger, **given}
    return [row.id for row in await fetch_rows(connection, statement, parameters)]


async def _fire(connection: Connection, trigger_ids: Sequence[int], event: Mapping[str, Any]) -> list[Fired]:
    """Rows of these triggers with this event."""
    if not trigger_ids:
        return []
    parameters = {"id": new_id(), "trigger_ids": list(trigger_ids), "event": msgspec.json.encode(event)}
    return await fetch_all(connection, _SQL.fire, parameters, Fired)


def _unheard(emission: Emission, listeners: Sequence[int], what: str) -> str | None:
    if listeners:
        return None
    if emission.trigger is not None:
        return f"{emission.trigger} does not listen to this"
    return f"no {what}"


async def _now(connection: Connection) -> str:
    row = await fetch_row(connection, _SQL.now, {})
    assert row is not None, "there is always a now"
    return str(row.now)


def _columns(retry: RetryPolicy) -> dict[str, object]:
    return {
        "max_attempts": retry.max_attempts,
        "backoff": retry.backoff,
        "base_ms": retry.base_ms,
        "max_ms": retry.max_ms,
        "jitter_pct": retry.jitter_pct,
    }


def _read(event: Mapping[str, Any], into: type[Given]) -> Given:
    """The event as this source has it. Raises: InvalidInputError, naming the place."""
    try:
        return msgspec.convert(event, into)
    except msgspec.ValidationError as error:
        what, _, place = str(error).partition(" - at `$.")
        raise InvalidInputError(
            f"event{'.' + place.rstrip('`') if place else ''}: {what[:1].lower()}{what[1:]}"
        ) from None


def _refuse(wrong: str | None, field: str) -> None:
    """Raises: InvalidInputError: unless there is nothing ``wrong``."""
    if wrong is not None:
        raise InvalidInputError(f"event.{field}: {wrong}")
