"""The plan of a deploy: what differs, told; what does not, not mentioned."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import Any

import pytest

from picloud.control.drafts import CurrentScript
from picloud.control.plan import Change, Found, kept_queues, plan_changes
from picloud.control.queues import StoredQueue
from picloud.control.routes import Route
from picloud.control.trigger_rows import CurrentTrigger
from picloud.control.wanted import read_wanted
from picloud.engine import ScriptLimits
from picloud.errors import InvalidInputError, ManifestError
from picloud.settings import Settings

_SETTINGS = Settings()
_FILES = {"scripts/orders.rhai": "1", "scripts/lib/tax.rhai": "2"}


def _manifest(**more: Any) -> dict[str, Any]:
    return {
        "app": {"name": "shop"},
        "route": [{"method": "GET", "path": "/a/:id", "script": "scripts/orders.rhai"}],
        **more,
    }


def _found(files: dict[str, str] = _FILES, manifest: dict[str, Any] | None = None) -> Found:
    """What a deploy of these would have left."""
    wanted = read_wanted("shop", manifest or _manifest(), files)
    return Found(
        {
            name: CurrentScript(number, name, 3, draft.sha256, draft.limits)
            for number, (name, draft) in enumerate(wanted.drafts.items(), start=1)
        },
        {
            key: Route(
                1,
                "shop",
                entry.method,
                entry.path,
                entry.script,
                entry.dispatch_mode,
                "none",
                "app:shop",
                dt.datetime.now(dt.UTC),
            )
            for key, entry in wanted.routes.items()
        },
    )


def _plan(found: Found, files: dict[str, str] = _FILES, **more: Any) -> list[Change]:
    return plan_changes(read_wanted("shop", _manifest(**more), files), found, _SETTINGS)


def test_what_is_as_wanted_needs_no_change() -> None:
    assert _plan(_found()) == []


def test_into_nothing_everything_is_created_scripts_before_routes() -> None:
    plan = _plan(Found())
    assert [(change.action, change.kind, change.name) for change in plan] == [
        ("create", "script", "lib/tax"),
        ("create", "script", "orders"),
        ("create", "route", "GET /a/:id"),
    ]


def test_another_source_or_other_limits_are_an_update() -> None:
    assert [change.name for change in _plan(_found(), _FILES | {"scripts/lib/tax.rhai": "3"})] == ["lib/tax"]
    entry = {"file": "scripts/orders.rhai", "timeout_seconds": 3}
    assert [(change.action, change.name) for change in _plan(_found(), script=[entry])] == [("update", "orders")]


def test_a_removed_script_says_what_becomes_of_what_was_accepted_for_it() -> None:
    found = dataclasses.replace(_found(), waiting={1: 2})
    removed = _plan(found, {"scripts/orders.rhai": "1"})
    assert removed == [
        Change("delete", "script", "lib/tax", "2 accepted executions of it will still run, at version 3")
    ]


@pytest.mark.parametrize(
    ("route", "note"),
    [
        ({"path": "/a/:name"}, "path /a/:id → /a/:name"),
        ({"script": "scripts/lib/tax.rhai"}, "script orders → lib/tax"),
        ({"dispatch_mode": "async"}, "dispatch_mode sync → async"),
    ],
)
def test_a_route_of_the_same_shape_is_updated_and_the_note_tells_what(route: dict[str, str], note: str) -> None:
    changed = _plan(_found(), route=[_manifest()["route"][0] | route])
    assert [(change.action, change.kind, change.note) for change in changed] == [("update", "route", note)]


def test_another_shape_is_another_route() -> None:
    changed = _plan(_found(), route=[{"method": "GET", "path": "/b", "script": "scripts/orders.rhai"}])
    assert [(change.action, change.name) for change in changed] == [("delete", "GET /a/:id"), ("create", "GET /b")]


def test_every_limit_above_its_ceiling_is_noted() -> None:
    entry = {"file": "scripts/orders.rhai", "timeout_seconds": 61, "max_array_length": 10_001, "max_call_depth": 3}
    note = next(change.note for change in _plan(Found(), script=[entry]) if change.name == "orders")
    assert note == "timeout_seconds 61 is cut to this server's 60; max_array_length 10001 is cut to this server's 10000"


def test_limits_of_a_stored_version_compare_with_those_of_the_manifest() -> None:
    entry = {"file": "scripts/orders.rhai", "timeout_seconds": 3}
    found = _found(manifest=_manifest(script=[entry]))
    assert found.scripts["orders"].limits == ScriptLimits(timeout_seconds=3.0)
    assert _plan(found, script=[entry]) == []


def test_a_file_that_is_no_script_is_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"'notes\.txt' is not a script"):
        read_wanted("shop", _manifest(), _FILES | {"notes.txt": ""})


def test_a_script_that_is_named_and_not_sent_is_refused() -> None:
    with pytest.raises(ManifestError, match=r"scripts/orders\.rhai"):
        read_wanted("shop", _manifest(), {})


def _trigger(**more: Any) -> dict[str, Any]:
    return {"kind": "kv", "name": "it", "collection": "a", "script": "scripts/orders.rhai", **more}


def _with_trigger(**more: Any) -> Found:
    """What a deploy of one trigger would have left."""
    wanted = read_wanted("shop", _manifest(trigger=[_trigger(**more)]), _FILES).triggers["it"]
    current = CurrentTrigger(
        id=1,
        trigger=wanted,
        policy=wanted.retry_policy(_SETTINGS.retry),
        script_id=1,
        principal_id=1,
        principal="admin",
        queue_id=None,
        waiting=2,
        created_at=dt.datetime.now(dt.UTC),
        next_at=None,
        fired_at=None,
    )
    return dataclasses.replace(_found(), triggers={"it": current})


@pytest.mark.parametrize(
    ("before", "after", "note"),
    [
        ({}, {"collection": "b*"}, "collection a → b*"),
        ({}, {"ops": ["delete", "insert"]}, "ops insert+update+delete → insert+delete"),
        ({}, {"enabled": False}, "enabled true → false"),
        ({}, {"script": "scripts/lib/tax.rhai"}, "script orders → lib/tax"),
        ({"retry": {"base_ms": 5}}, {}, "retry.base_ms 5 → 1000"),
    ],
)
def test_a_changed_trigger_is_updated_and_the_note_tells_what(
    before: dict[str, Any], after: dict[str, Any], note: str
) -> None:
    found = _with_trigger(**before)
    assert _plan(found, trigger=[_trigger(**before)]) == []
    assert _plan(found, trigger=[_trigger(**after)]) == [Change("update", "trigger", "it", note)]


def test_a_retry_policy_that_comes_to_the_same_is_still_a_change_of_what_the_trigger_says() -> None:
    changed = _plan(_with_trigger(), trigger=[_trigger(retry={"base_ms": 1000})])
    assert changed == [Change("update", "trigger", "it")]


def test_a_trigger_of_another_kind_under_the_same_name_tells_both() -> None:
    other = {"kind": "pubsub", "name": "it", "topic": "t", "script": "scripts/orders.rhai"}
    (changed,) = _plan(_with_trigger(), trigger=[other])
    assert (changed.action, changed.note) == (
        "update", "kind kv → pubsub, collection a → none, ops insert+update+delete → none, topic none → t",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("cancels_waiting", "note"),
    [
        (False, "2 accepted executions of it will still run"),
        (True, "2 accepted executions of it will be cancelled, those that run excepted"),
    ],
)
def test_a_removed_trigger_says_what_becomes_of_what_it_has_accepted(cancels_waiting: bool, note: str) -> None:
    wanted = read_wanted("shop", _manifest(), _FILES, cancels_waiting=cancels_waiting)
    assert plan_changes(wanted, _with_trigger(), _SETTINGS) == [Change("delete", "trigger", "it", note)]


def test_a_queue_goes_only_when_it_is_empty_or_its_messages_are_to_be_cancelled() -> None:
    def queue(name: str, held: int) -> StoredQueue:
        return StoredQueue(
            id=1, app="shop", name=name, consumer=None, script=None, is_consumed=False, concurrency=None,
            waiting=0, held=held, in_flight=0, oldest_seconds=None, created_at=dt.datetime.now(dt.UTC),
        )  # fmt: skip

    found = dataclasses.replace(_found(), queues={"a": queue("a", 0), "b": queue("b", 2)})
    wanted = read_wanted("shop", _manifest(), _FILES)
    assert plan_changes(wanted, found, _SETTINGS) == [Change("delete", "queue", "a")]
    assert [kept.name for kept in kept_queues(wanted, found)] == ["b"]
    wanted = dataclasses.replace(wanted, cancels_waiting=True)
    assert [change.name for change in plan_changes(wanted, found, _SETTINGS)] == ["a", "b"]
    assert kept_queues(wanted, found) == []
    wanted = dataclasses.replace(wanted, queues=frozenset({"a", "b", "c"}))
    assert plan_changes(wanted, found, _SETTINGS) == [Change("create", "queue", "c")]
