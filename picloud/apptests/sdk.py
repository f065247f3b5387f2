"""What test files can call beside what every script can: the app, its world, and assertions."""

from __future__ import annotations

import json
from typing import Any, TypedDict

from picloud.apptests import events
from picloud.apptests.comparing import difference, shown
from picloud.apptests.errors import AssertionFailedError
from picloud.apptests.mocks import Mock
from picloud.apptests.requests import RequestOptions, send
from picloud.apptests.rows import Row
from picloud.apptests.runs import shown as shown_run
from picloud.apptests.runs import shown_line
from picloud.apptests.services import world_of
from picloud.engine.calls import Function, Json, thrown_by, to_json
from picloud.engine.sdk.context import RunContext
from picloud.engine.sdk.description import SdkModule
from picloud.engine.sdk.errors import ArgumentError
from picloud.engine.sdk.modules import time as time_module
from picloud.engine.sdk.modules.http import body_bytes
from picloud.engine.sdk.options import read_options

TEST = SdkModule("test", __doc__)


class ContextFixture(TypedDict, total=False):
    """What a script finds in `ctx`.

    Attributes:
        event: with its `source`; `#{ source: "invoke", args: () }` when neither this nor `request` is given.
        request: in place of an event: `#{ method, path, params, query, headers, body }`.
        attempt: 1 when not given.
        trigger: the name of what fired it.
        principal: whom it acts as.
        trigger_depth: 0 when not given.
    """

    event: dict[str, Any]
    request: dict[str, Any]
    attempt: int
    trigger: str
    principal: str
    trigger_depth: int


# What runs.


@TEST.function
def request(run: RunContext, options: RequestOptions) -> dict[str, Any]:
    """Send a request to the app, through the routes of its manifest: `#{ status, headers, body, error, logs, … }`.

    A sync route runs its script now. An async one answers 202 and its script waits for `drain`. A script that fails
    answers as the data plane would, with 502 for instance, and `error` says what went wrong.

    Example:
        let answer = test::request(#{ method: "POST", path: "/orders", body: #{ item: "tea" } });
        assert_eq(answer.status, 201);
    """
    return send(world_of(run), dict(options))


@TEST.function
def fire(run: RunContext, source: str, event: dict[str, Any]) -> list[Any]:
    """Fire a source and run what listens: an array of `#{ script, trigger, status, result, error, logs, … }`.

    No key is changed and no mail received. `status` is `completed`, `retrying` (it failed and waits to be tried again),
    `dead`, `failed` or `depth_exceeded`.

    Args:
        source: `kv`, `cron`, `pubsub`, `queue` or `email`.
        event: what happened; for `cron` the trigger's name, which may be left out when there is one.

    Example:
        test::fire("kv", #{ op: "insert", collection: "orders", key: "1", value: #{ item: "tea" } });
        test::fire("cron", #{ trigger: "restock" });
    """
    world = world_of(run)
    return [shown_run(*world.run_now(row)) for row in events.rows_of(world, source, event)]


@TEST.function
def invoke(run: RunContext, script: str, args: Json) -> dict[str, Any]:
    """Run a script once, as `picloud invoke` does; what came of it, as for `fire`.

    Throws:
        script_not_found: the app has none of this name.

    Example:
        let run = test::invoke("send_invoice", #{ order: 7 });
        assert_eq(run.status, "completed");
    """
    world = world_of(run)
    world.app.version(script)
    row = world.new_row("invoke", script, b'{"args":%s}' % args.data, is_sync=True)
    return shown_run(*world.run_now(row))


@TEST.function(name="run")
def run_script(run: RunContext, script: str, context: ContextFixture | None = None) -> dict[str, Any]:
    """Run a script once with a `ctx` of the test's choice, whatever its triggers say; what came of it, as for `fire`.

    Throws:
        script_not_found: the app has none of this name.

    Example:
        let run = test::run("pack", #{ event: #{ source: "queue", message: #{ order: "1" } }, attempt: 2 });
    """
    world = world_of(run)
    world.app.version(script)
    given = read_options(context or {}, ContextFixture)
    source, event, body = _event(given)
    row = world.new_row(
        source,
        script,
        event,
        body=body,
        is_sync=True,
        attempt=given.get("attempt", 1),
        trigger=given.get("trigger"),
        principal=given.get("principal", "test"),
        depth=given.get("trigger_depth", 0),
    )
    return shown_run(*world.run_now(row))


def _event(given: ContextFixture) -> tuple[str, bytes, bytes | None]:
    """Source, event and body of a run."""
    if "request" not in given:
        event = dict(given.get("event", {"source": "invoke", "args": None}))
        source = event.pop("source", None)
        if not isinstance(source, str) or source == "http":
            raise ArgumentError("event.source: expected kv, cron, pubsub, queue, email, invoke or dead_letter")
        return source, to_json(event), None
    if "event" in given:
        raise ArgumentError("there is either a request or an event")
    plain: dict[str, Any] = {"method": "GET", "path": "/", "params": {}, "query": {}, "headers": {}}
    unknown = given["request"].keys() - plain.keys() - {"body"}
    if unknown:
        raise ArgumentError(f"request: there is no {min(unknown)!r}; there are {', '.join(plain)}, body")
    shown_request = plain | given["request"]
    body, content_type = body_bytes(shown_request.pop("body", None))
    content_type = shown_request["headers"].get("content-type", content_type)
    return "http", to_json(shown_request | {"content_type": content_type}), body


@TEST.function
def drain(run: RunContext) -> int:
    """Run what waits, and what that causes, until nothing does; how many runs that were.

    The order is that of a server with one worker. What is due later, a delayed message or a retry, runs too: the clock
    goes on to it. Schedules are fired by `fire` alone.
    """
    return world_of(run).drain(only_due=False)


@TEST.function
def run_due(run: RunContext) -> int:
    """Like `drain`, but the clock stands still: what is due later goes on waiting."""
    return world_of(run).drain(only_due=True)


# What is arranged.


@TEST.function
def secret(run: RunContext, name: str, value: str) -> None:
    """Give the app a secret."""
    world_of(run).secrets[name] = value


@TEST.function
def mock_http(run: RunContext, mock: Mock) -> None:
    """Answer HTTP calls; of two mocks for one call the later answers.

    A call that no mock is for fails, and so does the test.

    Example:
        test::mock_http(#{ method: "GET", url: "https://api.example.com/rates*", body: #{ eur: 1.1 } });
    """
    world_of(run).web.add(dict(mock))


@TEST.function
def set_time(run: RunContext, instant: str) -> None:
    """Set the clock: what scripts find in `time`, what times to live and retries count by. It is 2026-01-01 before.

    Example:
        test::set_time("2026-07-01T12:00:00Z");
    """
    world_of(run).clock.set(time_module.parse(instant))


@TEST.function
def advance(run: RunContext, seconds: float) -> None:
    """Let time pass. Nothing runs by that alone: see `run_due`."""
    if seconds < 0:
        raise ArgumentError(f"time does not go back by {-seconds:g} seconds: see set_time")
    world_of(run).clock.advance(round(seconds * 1_000))


@TEST.function
def seed(run: RunContext, number: int) -> None:
    """Draw other numbers from `random` and `uuid`: with one seed they are the same in every run."""
    world_of(run).chance.seed(number)


# What is looked at.


@TEST.function
def queued(run: RunContext, queue: str) -> list[Any]:
    """The messages that wait in a queue, in order: `#{ message, key, attempt, due_in_seconds }`."""
    world = world_of(run)
    rows = sorted((each for each in world.waiting if each.queue == queue), key=lambda each: each.seq)
    return [
        {
            "message": json.loads(each.event)["message"],
            "key": each.order_key,
            "attempt": each.attempt,
            "due_in_seconds": max(0.0, (each.available_at - world.clock.now).total_seconds()),
        }
        for each in rows
    ]


@TEST.function
def waiting(run: RunContext) -> list[Any]:
    """Everything that waits to run, in order: `#{ source, script, trigger, attempt, event }`."""
    rows = sorted(world_of(run).waiting, key=lambda each: each.seq)
    return [
        {"source": each.source, "script": each.script, "trigger": each.trigger, "attempt": each.attempt}
        | {"event": _event_of(each)}
        for each in rows
    ]


def _event_of(row: Row) -> dict[str, Any]:
    event: dict[str, Any] = json.loads(row.event)
    return {"source": row.source} | event


@TEST.function
def published(run: RunContext) -> list[Any]:
    """What was published, in order: `#{ topic, message }`."""
    return list(world_of(run).published)


@TEST.function
def mails(run: RunContext) -> list[Any]:
    """What was sent by mail, in order: `#{ to, subject, text, html }`, `to` an array."""
    return list(world_of(run).mails)


@TEST.function
def http_calls(run: RunContext) -> list[Any]:
    """The HTTP calls of scripts, in order: `#{ method, url, headers, body, status }`."""
    return list(world_of(run).web.calls)


@TEST.function
def logs(run: RunContext) -> list[Any]:
    """What scripts logged, in order: `#{ script, level, message, fields }`."""
    return [shown_line(each) for each in world_of(run).journal if each.is_of_app]


@TEST.function
def failures(run: RunContext) -> list[Any]:
    """The runs that failed for good, in order: `#{ script, source, trigger, reason, attempts, error, event, handled }`.

    Those are dead letters, handlers of dead letters that failed, and runs that were too deep in a chain. A test that
    ends with one that no script handled, and that it never looked at with this function, has failed.
    """
    found: list[Any] = []
    for each in world_of(run).failures:
        each.is_seen = True
        row = each.row
        found.append(
            {"script": row.script, "source": row.source, "trigger": row.trigger, "reason": each.reason}
            | {"attempts": each.attempts, "error": each.error, "event": _event_of(row), "handled": each.is_handled}
        )
    return found


# Assertions.


@TEST.function(name="assert", is_global=True)
def assert_true(condition: bool, message: str = "") -> None:
    """Fail the test unless a condition holds.

    Example:
        assert(answer.body.len > 0, "there is a body");
    """
    if not condition:
        raise _failed("", message)


@TEST.function(is_global=True)
def assert_eq(left: Any, right: Any, message: str = "") -> None:
    """Fail the test unless two values are equal, maps and arrays to their depth; the message shows where they differ.

    Example:
        assert_eq(kv::collection("orders").get("1").state, "packed");
    """
    found = difference(left, right)
    if found is None:
        return
    text = f"{shown(left)} is not {shown(right)}"
    if found.path:
        text = f"{found.path}: {found.left} is not {found.right}\n  left:  {shown(left)}\n  right: {shown(right)}"
    raise _failed(text, message)


@TEST.function(is_global=True)
def assert_ne(left: Any, right: Any, message: str = "") -> None:
    """Fail the test when two values are equal."""
    if difference(left, right) is None:
        raise _failed(f"both are {shown(left)}", message)


@TEST.function(is_global=True)
def assert_throws(action: Function, part: str = "") -> str:
    """Fail the test unless a function throws, with `part` in its message; the message.

    Example:
        assert_throws(|| stock::take("tea", 99), "not enough");
    """
    thrown = thrown_by(action)
    if thrown is None:
        raise _failed("nothing was thrown", "")
    if isinstance(thrown.cause, AssertionFailedError):
        raise thrown.cause
    if part not in thrown.message:
        raise AssertionFailedError(
            f"assertion failed: {shown(part)} is not in what was thrown, {shown(thrown.message)}"
        )
    return thrown.message


def _failed(text: str, message: str) -> AssertionFailedError:
    """``message`` is what the test says of its assertion."""
    return AssertionFailedError(": ".join(part for part in ("assertion failed", message, text) if part))
