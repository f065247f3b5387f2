"""The plan of a deploy: what turns the app there is into the app that is wanted.

Pure: nothing is read or written here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import msgspec

from picloud.control.drafts import CurrentScript, Draft
from picloud.control.queues import StoredQueue
from picloud.control.routes import Route, RouteKey
from picloud.control.trigger_rows import CurrentTrigger
from picloud.engine import ScriptLimits
from picloud.engine.limits import LIMIT_NAMES
from picloud.manifest import Manifest, RouteEntry
from picloud.retries import RetryPolicy
from picloud.settings import SandboxCeilings, Settings
from picloud.triggers import QueueTrigger, Trigger

Action = Literal["create", "update", "delete"]


class Change(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of a plan.

    Attributes:
        note: what the action does not say: what changes into what, what becomes of rows that wait.
        diff: of a changed script's source, in the unified format; only where it was asked for.
    """

    action: Action
    kind: Literal["app", "script", "route", "queue", "trigger"]
    name: str
    note: str | None = None
    diff: str | None = None


class Kept(msgspec.Struct, frozen=True):
    """What the manifest no longer names and a deploy does not remove; ``note`` says why."""

    kind: Literal["queue"]
    name: str
    note: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the manifest and the files ask for.

    Attributes:
        manifest: names every script, in the one order that manifests of the same content have.
    """

    manifest: Manifest
    drafts: Mapping[str, Draft]
    routes: Mapping[RouteKey, RouteEntry]
    triggers: Mapping[str, Trigger] = field(default_factory=dict[str, Trigger])
    queues: frozenset[str] = frozenset()
    #: Rows of what is removed end as cancelled, and queues that are no longer named go with their messages.
    cancels_waiting: bool = False

    @property
    def app(self) -> str:
        """The app's name."""
        return self.manifest.app


@dataclass(frozen=True, slots=True)
class Found:
    """What there is; empty for an app that does not exist."""

    scripts: Mapping[str, CurrentScript] = field(default_factory=dict[str, CurrentScript])
    routes: Mapping[RouteKey, Route] = field(default_factory=dict[RouteKey, Route])
    #: Rows that still have to run a script, by its id.
    waiting: Mapping[int, int] = field(default_factory=dict[int, int])
    triggers: Mapping[str, CurrentTrigger] = field(default_factory=dict[str, CurrentTrigger])
    queues: Mapping[str, StoredQueue] = field(default_factory=dict[str, StoredQueue])


def plan_changes(wanted: Wanted, found: Found, settings: Settings) -> list[Change]:
    """What turns ``found`` into ``wanted``: scripts, routes, queues, triggers, each in the order of names."""
    return [
        *_script_changes(wanted, found, settings.sandbox),
        *_route_changes(wanted, found),
        *_queue_changes(wanted, found),
        *_trigger_changes(wanted, found, settings),
    ]


# Scripts


def changed_drafts(wanted: Wanted, found: Found) -> list[Draft]:
    """The drafts that would be written: the others were compiled when they were."""
    return [draft for name, draft in wanted.drafts.items() if not _is_current(draft, found.scripts.get(name))]


def _is_current(draft: Draft, current: CurrentScript | None) -> bool:
    return current is not None and current.equals(draft)


def _script_changes(wanted: Wanted, found: Found, ceilings: SandboxCeilings) -> list[Change]:
    changes: list[Change] = []
    for name in sorted({*wanted.drafts, *found.scripts}):
        draft, current = wanted.drafts.get(name), found.scripts.get(name)
        if draft is None:
            assert current is not None
            count, version = found.waiting.get(current.id, 0), f", at version {current.version}"
            changes.append(Change("delete", "script", name, _note_on_waiting(wanted, count, version)))
        elif current is None:
            notes = [_note_on_version(draft, None), _note_on_cuts(draft, ceilings)]
            changes.append(Change("create", "script", name, _joined(notes)))
        elif not current.equals(draft):
            changes.append(Change("update", "script", name, _note_on_script(wanted, found, draft, current, ceilings)))
    return changes


def _note_on_script(
    wanted: Wanted, found: Found, draft: Draft, current: CurrentScript, ceilings: SandboxCeilings
) -> str | None:
    limits = _differences(_limits(current.limits), _limits(draft.limits))
    leaving = draft.stored is not None and draft.stored.script_id != current.id
    waiting = _note_on_waiting(wanted, found.waiting.get(current.id, 0), f", at version {current.version}")
    return _joined(
        [_note_on_version(draft, current), limits, _note_on_cuts(draft, ceilings), waiting if leaving else None]
    )


def _note_on_version(draft: Draft, current: CurrentScript | None) -> str | None:
    """Which version is gone back to."""
    if draft.stored is None:
        return None
    if current is None:
        return f"again, at version {draft.stored.version}"
    is_other = draft.stored.script_id != current.id
    return f"version {current.version} → {draft.stored.version}{' of the one that was removed' if is_other else ''}"


def _joined(notes: Iterable[str | None]) -> str | None:
    return "; ".join(note for note in notes if note) or None


def _note_on_waiting(wanted: Wanted, count: int, how: str = "") -> str | None:
    """What becomes of rows that were accepted for what is removed."""
    if not count:
        return None
    rows = f"{count} accepted execution{'s' if count > 1 else ''} of it"
    if wanted.cancels_waiting:
        return f"{rows} will be cancelled, those that run excepted"
    return f"{rows} will still run{how}"


def _note_on_cuts(draft: Draft, ceilings: SandboxCeilings) -> str | None:
    """Which limits are above what this installation allows: they are cut when a run begins."""
    ceiling_of = {name: getattr(ceilings, name, ceilings.max_timeout_seconds) for name in LIMIT_NAMES}
    asked = _limits(draft.limits)
    cut = [
        f"{name} {value:g} is cut to this server's {ceiling_of[name]:g}"
        for name, value in asked.items()
        if value is not None and value > ceiling_of[name]
    ]
    return "; ".join(cut) or None


def _limits(limits: ScriptLimits) -> dict[str, Any]:
    return {name: getattr(limits, name) for name in LIMIT_NAMES}


# Routes


def is_same_route(entry: RouteEntry, current: Route) -> bool:
    """Whether writing ``entry`` over ``current`` would change nothing."""
    return _facts_of_entry(entry) == _facts_of_route(current)


def _route_changes(wanted: Wanted, found: Found) -> list[Change]:
    changes: list[Change] = []
    for key in sorted({*wanted.routes, *found.routes}, key=lambda key: (key[1], key[0])):
        entry, current = wanted.routes.get(key), found.routes.get(key)
        if entry is None:
            assert current is not None
            changes.append(Change("delete", "route", current.label))
        elif current is None:
            changes.append(Change("create", "route", f"{entry.method} {entry.path}", f"runs {entry.script}"))
        elif not is_same_route(entry, current):
            changes.append(Change("update", "route", f"{entry.method} {entry.path}", _note_on_route(entry, current)))
    return changes


def _note_on_route(entry: RouteEntry, current: Route) -> str:
    return _differences(_facts_of_route(current), _facts_of_entry(entry))


def _facts_of_entry(entry: RouteEntry) -> dict[str, Any]:
    auth = entry.auth.to_data()
    return {"path": entry.path, "script": entry.script, "dispatch_mode": entry.dispatch_mode, "auth": auth}


def _facts_of_route(route: Route) -> dict[str, Any]:
    return {"path": route.path, "script": route.script, "dispatch_mode": route.dispatch_mode, "auth": route.auth}


# Queues


def kept_queues(wanted: Wanted, found: Found) -> list[Kept]:
    """Queues that are no longer named, and stay for the messages in them."""
    return [
        Kept("queue", name, f"{_messages(queue.messages)} in it; `picloud queues rm --cancel-waiting` removes both")
        for name, queue in sorted(found.queues.items())
        if name not in wanted.queues and not _may_go(wanted, queue)
    ]


def leaving_queues(wanted: Wanted, found: Found) -> list[StoredQueue]:
    """Queues that are no longer named, and go."""
    return [queue for name, queue in found.queues.items() if name not in wanted.queues and _may_go(wanted, queue)]


def _may_go(wanted: Wanted, queue: StoredQueue) -> bool:
    return wanted.cancels_waiting or not queue.messages


def _queue_changes(wanted: Wanted, found: Found) -> list[Change]:
    created = [Change("create", "queue", name) for name in wanted.queues - found.queues.keys()]
    deleted = [
        Change("delete", "queue", queue.name, _note_on_messages(queue)) for queue in leaving_queues(wanted, found)
    ]
    return sorted((*created, *deleted), key=lambda change: change.name)


def _note_on_messages(queue: StoredQueue) -> str | None:
    if not queue.messages:
        return None
    return f"{_messages(queue.messages)} in it will be cancelled, those that run excepted"


def _messages(count: int) -> str:
    return f"{count} message{'s' if count > 1 else ''}"


# Triggers


def changed_triggers(wanted: Wanted, found: Found, settings: Settings) -> list[Trigger]:
    """The triggers that would be written."""
    return [each for each in wanted.triggers.values() if not _is_same_trigger(each, found, settings)]


def _is_same_trigger(trigger: Trigger, found: Found, settings: Settings) -> bool:
    current = found.triggers.get(trigger.name)
    return current is not None and current.equals(trigger, trigger.retry_policy(settings.retry))


def _trigger_changes(wanted: Wanted, found: Found, settings: Settings) -> list[Change]:
    changes: list[Change] = []
    for name in sorted({*wanted.triggers, *found.triggers}):
        trigger, current = wanted.triggers.get(name), found.triggers.get(name)
        if trigger is None:
            assert current is not None
            changes.append(Change("delete", "trigger", name, _note_on_leaving(wanted, found, current)))
        elif current is None:
            off = "" if trigger.enabled else ", off"
            changes.append(Change("create", "trigger", name, f"{trigger.kind}, runs {trigger.script}{off}"))
        elif not _is_same_trigger(trigger, found, settings):
            policy = trigger.retry_policy(settings.retry)
            note = _differences(_comparable(current.trigger, current.policy), _comparable(trigger, policy))
            changes.append(Change("update", "trigger", name, note or None))
    return changes


def _note_on_leaving(wanted: Wanted, found: Found, current: CurrentTrigger) -> str | None:
    detail = current.trigger.detail
    if not isinstance(detail, QueueTrigger):
        return _note_on_waiting(wanted, current.waiting)
    queue = found.queues.get(detail.queue)
    if queue is None or not queue.waiting or (wanted.cancels_waiting and detail.queue not in wanted.queues):
        return None
    return f"{_messages(queue.waiting)} will wait in {detail.queue} for another consumer"


def _comparable(trigger: Trigger, policy: RetryPolicy) -> dict[str, Any]:
    """What a change of a trigger can be about, by the name the manifest has for it."""
    data = {key: value for key, value in trigger.to_data().items() if key not in ("name", "retry")}
    values = ("max_attempts", "backoff", "base_ms", "max_ms", "jitter_pct")
    return data | {f"retry.{name}": getattr(policy, name) for name in values}


def _differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """``name before → after`` for each value that differs."""
    names = [*before, *(name for name in after if name not in before)]
    return ", ".join(
        f"{name} {_spelled(before.get(name))} → {_spelled(after.get(name))}"
        for name in names
        if before.get(name) != after.get(name)
    )


def _spelled(value: Any) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return str(value).lower()
        case float():
            return f"{value:g}"
        case [*several]:
            return "+".join(str(each) for each in cast("list[object]", several))
        case _:
            return str(value)
