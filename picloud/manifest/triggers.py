"""Reads ``[[trigger]]`` and ``[[queue]]``: their rules are those of ``picloud.triggers``."""

from __future__ import annotations

from typing import assert_never

from picloud.manifest.entries import QueueEntry, ScriptEntry, TriggerEntry
from picloud.manifest.scripts import script_of
from picloud.manifest.tables import Table, did_you_mean
from picloud.triggers import (
    BACKOFFS,
    KINDS,
    KV_OPS,
    MISSED,
    NO_OVERRIDES,
    RETRY_BOUNDS,
    SOURCES,
    CronTrigger,
    DeadLetterTrigger,
    Detail,
    EmailTrigger,
    Kind,
    KvOp,
    KvTrigger,
    Missed,
    PubsubTrigger,
    QueueTrigger,
    RetryOverrides,
    Trigger,
    derived_name,
    problems_of,
    tidied,
    wrong_name,
    wrong_trigger_name,
)


def read_queues(top: Table) -> list[QueueEntry]:
    """The queues that have an entry of their own."""
    entries: list[QueueEntry] = []
    for table in top.tables("queue"):
        name = table.checked_text("name", lambda text: wrong_name("queue", text))
        table.refuse_the_rest()
        if name is None:
            continue
        if QueueEntry(name) in entries:
            table.problem("name", f"the queue {name!r} has an entry already")
        else:
            entries.append(QueueEntry(name))
    return entries


def read_triggers(top: Table, scripts: dict[str, ScriptEntry]) -> list[TriggerEntry]:
    """The triggers; a script that only a trigger names joins ``scripts``."""
    tables = list(top.tables("trigger"))
    read = [(table, _trigger(table, scripts)) for table in tables]
    entries = [(table, entry) for table, entry in read if entry is not None]
    _refuse_same_names(entries)
    _refuse_second_takers(entries)
    if len(entries) == len(tables):  # what a filter names may be one of those that could not be read
        _refuse_filters_for_nothing(entries)
    return [entry for _, entry in entries]


def _trigger(table: Table, scripts: dict[str, ScriptEntry]) -> TriggerEntry | None:
    kind = table.choice("kind", KINDS)
    script = script_of(table, "script", scripts)
    enabled = table.boolean("enabled", default=True)
    retry = _retry(table)
    is_named = table.has("name")
    name = table.checked_text("name", wrong_trigger_name) if is_named else None
    if kind is None:
        return None
    has_failed = kind == "dead_letter" and table.has("failed_script")
    failed = script_of(table, "failed_script", scripts) if has_failed else None
    detail = _checked_detail(table, kind, failed)
    table.refuse_the_rest()
    if detail is None or script is None or enabled is None or (is_named and name is None):
        return None
    name = derived_name(detail, script.name) if name is None else name
    trigger = Trigger(name, script.name, detail, enabled, retry)
    return TriggerEntry(trigger, script.file, None if failed is None else failed.file)


def _checked_detail(table: Table, kind: Kind, failed: ScriptEntry | None) -> Detail | None:
    detail = _detail(table, kind, failed)
    problems = [] if detail is None else problems_of(detail)
    for key, message in problems:
        table.problem(key, message)
    return None if detail is None or problems else tidied(detail)


def _detail(table: Table, kind: Kind, failed: ScriptEntry | None) -> Detail | None:
    """What the kind says, each value of its type; ``failed`` is the script a dead-letter trigger filters by."""
    match kind:
        case "kv":
            collection = table.text("collection")
            ops: tuple[KvOp, ...] | None = table.choices("ops", KV_OPS, default=KV_OPS)
            return None if collection is None or ops is None else KvTrigger(collection, ops)
        case "cron":
            schedule = table.text("schedule")
            timezone = table.text("timezone", default="UTC")
            missed: Missed | None = table.choice("missed", MISSED, default="once")
            if schedule is None or timezone is None or missed is None:
                return None
            return CronTrigger(schedule, timezone, missed)
        case "pubsub":
            topic = table.text("topic")
            return None if topic is None else PubsubTrigger(topic)
        case "queue":
            queue = table.text("queue")
            concurrency = table.whole("concurrency")
            return None if queue is None else QueueTrigger(queue, concurrency)
        case "email":
            address = table.text("address")
            return None if address is None else EmailTrigger(address)
        case "dead_letter":
            source = table.choice("source", SOURCES) if table.has("source") else None
            trigger = table.text("trigger") if table.has("trigger") else None
            return DeadLetterTrigger(source, trigger, None if failed is None else failed.name)
        case _:
            assert_never(kind)


def _retry(trigger: Table) -> RetryOverrides:
    table = trigger.table("retry", required=False)
    if table is None:
        return NO_OVERRIDES
    backoff = table.choice("backoff", BACKOFFS) if table.has("backoff") else None
    numbers = {key: table.whole(key, low=low, high=high) for key, (low, high) in RETRY_BOUNDS.items()}
    table.refuse_the_rest()
    return RetryOverrides(backoff=backoff, **numbers)


def _refuse_same_names(entries: list[tuple[Table, TriggerEntry]]) -> None:
    names: set[str] = set()
    for table, entry in entries:
        if entry.trigger.name in names:
            table.problem("name", f"another trigger is called {entry.trigger.name!r} already: give this one its own")
        names.add(entry.trigger.name)


def _refuse_second_takers(entries: list[tuple[Table, TriggerEntry]]) -> None:
    """A message of a queue, and mail to an address, goes to one trigger."""
    takers: dict[tuple[str, str], str] = {}
    for table, entry in entries:
        match entry.trigger.detail:
            case QueueTrigger(queue=taken):
                key = "queue"
            case EmailTrigger(address=taken):
                key = "address"
            case _:
                continue
        first = takers.setdefault((key, taken), entry.trigger.name)
        if first != entry.trigger.name:
            table.problem(key, f"the {key} {taken!r} has its one trigger already, {first!r}")


def _refuse_filters_for_nothing(entries: list[tuple[Table, TriggerEntry]]) -> None:
    """A dead-letter trigger that waits for a trigger nobody has would be believed to work."""
    firing = [entry.trigger.name for _, entry in entries if entry.trigger.kind != "dead_letter"]
    for table, entry in entries:
        match entry.trigger.detail:
            case DeadLetterTrigger(trigger=str(name)) if name not in firing:
                suggestion = did_you_mean(name, firing)
                table.problem("trigger", f"no trigger whose runs can die is called {name!r}{suggestion}")
            case _:
                pass
