"""Sources that a test fires by hand: nothing is changed, sent or received, but what listens runs as if it had been."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypedDict

import msgspec

from picloud.apptests.rows import Row
from picloud.engine.calls import to_json
from picloud.engine.sdk.errors import ArgumentError
from picloud.engine.sdk.options import read_options
from picloud.errors import NotFoundError
from picloud.services.effects import Sent
from picloud.triggers import KV_OPS, CronTrigger, EmailTrigger, matches_address

if TYPE_CHECKING:
    from picloud.apptests.world import World


class KvFixture(TypedDict, total=False):
    """A key that changed."""

    op: str
    collection: str
    key: str
    value: Any
    old_value: Any
    version: int


class CronFixture(TypedDict, total=False):
    """A clock that ticked."""

    trigger: str
    scheduled_at: str


class PubsubFixture(TypedDict, total=False):
    """A message that was published."""

    topic: str
    message: Any


class QueueFixture(TypedDict, total=False):
    """A message of a queue."""

    queue: str
    message: Any


#: ``from`` cannot be the name of a member in a class.
EmailFixture = TypedDict(
    "EmailFixture",
    {
        "to": str,
        "from": str,
        "subject": str,
        "text": str,
        "html": str,
        "headers": dict[str, Any],
        "attachments": list[Any],
    },
    total=False,
)


def rows_of(world: World, source: str, event: Mapping[str, Any]) -> list[Row]:
    """The rows a source makes.

    Raises:
        ArgumentError: there is no such source, or the event is none of it.
        NotFoundError: no such queue or cron trigger.
    """
    if source not in _ROWS:
        raise ArgumentError(f"there is no source {source!r}; there are {', '.join(_ROWS)}")
    return _ROWS[source](world, event)


def _kv(world: World, event: Mapping[str, Any]) -> list[Row]:
    given = read_options(event, KvFixture)
    op = given.get("op", "insert")
    if op not in KV_OPS:
        raise ArgumentError(f"op: expected one of {', '.join(KV_OPS)}, not {op!r}")
    collection = _needed(given, "collection")
    content = {"value": None, "old_value": None, "version": 1, "op": op} | given | {"key": _needed(given, "key")}
    return [world.row_of_trigger(each, to_json(content)) for each in world.listeners("kv", collection, op)]


def _cron(world: World, event: Mapping[str, Any]) -> list[Row]:
    given = read_options(event, CronFixture)
    names = [each.name for each in world.app.triggers if isinstance(each.detail, CronTrigger)]
    wanted = given.get("trigger") or (names[0] if len(names) == 1 else None)
    if wanted is None and names:
        raise ArgumentError(f"the option `trigger` is missing: which of {', '.join(names)} is meant?")
    if wanted not in names:
        raise NotFoundError(f"the app has no cron trigger {wanted!r}" if wanted else "the app has no cron trigger")
    trigger = next(each for each in world.app.triggers if each.name == wanted)
    detail = trigger.detail
    assert isinstance(detail, CronTrigger)
    now = world.clock.text()
    content = {
        "schedule": detail.schedule,
        "timezone": detail.timezone,
        "scheduled_at": given.get("scheduled_at", now),
        "fired_at": now,
    }
    return [world.row_of_trigger(trigger, msgspec.json.encode(content))]


def _pubsub(world: World, event: Mapping[str, Any]) -> list[Row]:
    given = read_options(event, PubsubFixture)
    topic = _needed(given, "topic")
    content = world.event_of_topic(topic, to_json(given.get("message")))
    return [world.row_of_trigger(each, content) for each in world.listeners("pubsub", topic)]


def _queue(world: World, event: Mapping[str, Any]) -> list[Row]:
    given = read_options(event, QueueFixture)
    queue = _needed(given, "queue")
    if queue not in world.app.catalog.queues:
        raise NotFoundError(f"the app has no queue {queue!r}", code="queue_not_found")
    message = to_json(given.get("message"))
    row = world.message_row(Sent(world.new_id(), world.app_id, "queue", queue, message, 1, world.retry), {})
    if row.script is None:
        world.waiting.append(row)
        return []
    return [row]


def _email(world: World, event: Mapping[str, Any]) -> list[Row]:
    given = read_options(event, EmailFixture)
    address = _needed(given, "to").lower()
    whole: dict[str, Any] = {"from": "", "subject": "", "text": None, "html": None, "headers": {}, "attachments": []}
    content = to_json(whole | dict(given) | {"to": [address]})
    triggers = [each for each in world.app.triggers if isinstance(each.detail, EmailTrigger)]
    return [
        world.row_of_trigger(each, content)
        for each in triggers
        if isinstance(each.detail, EmailTrigger) and matches_address(each.detail.address, address)
    ]


_ROWS: Mapping[str, Callable[[World, Mapping[str, Any]], list[Row]]] = {
    "kv": _kv,
    "cron": _cron,
    "pubsub": _pubsub,
    "queue": _queue,
    "email": _email,
}


def _needed(given: Mapping[str, Any], name: str) -> str:
    """Raises: ArgumentError: it is not there."""
    if name not in given:
        raise ArgumentError(f"the option `{name}` is missing")
    value: str = given[name]
    return value
