"""Dry runs: the script runs as ever, and what it does is told and not done."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest

from picloud.engine import Run, RunResult, ScriptLimits
from picloud.outbox.run_rows import BegunRow
from picloud.services.dry_run import DRY_RUN, encode_event
from picloud.services.effects import NO_EFFECTS, KeyId
from picloud.services.kv import Stored
from picloud.services.listeners import Listener
from picloud_actors.dry_runs import DryRun
from tests.unit.engine.sdk.scripts import EXECUTION, IDENTITY, KEY, RUNNER
from tests.unit.services.memory import APP, MemoryWorld

EVERYTHING = """
    let things = kv::collection("things");
    things.set("new", #{ n: 1 }, #{ ttl_seconds: 60 });
    things.set("old", things.get("old") + 1);
    things.delete("gone");
    queue::send("work", #{ job: 1 }, #{ delay_seconds: 5, key: "k" });
    pubsub::publish("news", "hello");
    email::send(#{ to: "ada@example.com", subject: "s", text: "t" });
    functions::invoke("other", #{ a: 1 });
    http::get("https://example.com/x");
    log::info("did it");
    #{ event: ctx.event, trigger: ctx.trigger }
"""

LISTENERS = [
    Listener("on-things", "kv", "on_thing", True, "th", frozenset({"insert", "update"})),
    Listener("on-gone", "kv", "on_gone", False, "things", frozenset({"delete"})),
    Listener("elsewhere", "kv", "never", False, "others", frozenset({"insert", "update", "delete"})),
    Listener("worker", "queue", "work", False, "work", frozenset()),
    Listener("reader", "pubsub", "read", True, "", frozenset()),
]


def world() -> MemoryWorld:
    made = MemoryWorld(scripts={"other": "1"}, queues=frozenset({"work"}), secrets={"TOKEN": "hush-hush"})
    made.store.rows[KeyId(APP, "things", "old")] = Stored(b"1", 1)
    made.store.rows[KeyId(APP, "things", "gone")] = Stored(b'"x"', 2)
    return made


def begun(event: bytes) -> BegunRow:
    return BegunRow(
        id=EXECUTION, token=1, app_id=APP, app_name="shop", script_id=KEY[0], script_name="main", version=KEY[1],
        timeout_ms=1_000, source=DRY_RUN, trigger_id=None, attempt=1, max_attempts=1, backoff="constant",
        backoff_base_ms=0, backoff_max_ms=0, backoff_jitter_pct=0, is_sync=True, reply_to="web", is_suspect=False,
        root_execution_id=EXECUTION, trigger_depth=0, payload_day=dt.date(2030, 1, 1), payload_bytes=10,
        principal_id=1, principal_name="ada", is_principal_disabled=False, is_handler=False, app_revision=1,
        event=event, body=None,
    )  # fmt: skip


def tried(
    made: MemoryWorld,
    source: str,
    *,
    event: bytes = b'{"op":"insert"}',
    original: str = "kv",
    with_calls: bool = False,
) -> tuple[dict[str, Any], DryRun]:
    """The report of a dry run, and what it was."""
    row = begun(encode_event(original, "on-order", event, with_calls=with_calls))
    dry_run = DryRun(row, row.event or b"", row.body, made.desk(), IDENTITY)
    if dry_run.is_mail:
        result = RunResult("unit")
    else:
        RUNNER.prepare(KEY, "main", source)
        run = Run(
            EXECUTION, EXECUTION, "shop", "main", 1, dry_run.row.source, dry_run.trigger, "ada", 0, 1,
            dry_run.row.is_sync, dry_run.row.event or b"",
        )  # fmt: skip
        result = RUNNER.run(KEY, run, ScriptLimits(), services=dry_run.services)
    reported = dry_run.report(result, lambda _: LISTENERS)
    assert (reported.failure, reported.kind) == (None, "json")
    return json.loads(reported.data or b""), dry_run


def test_everything_a_script_does_is_told_and_nothing_is_handed_over() -> None:
    made = world()
    before = dict(made.store.rows)
    report, dry_run = tried(made, EVERYTHING)
    assert report["error"] is None
    assert [(each["key"], each["op"], each["before"], each["after"], each["ttl_seconds"]) for each in report["kv"]] == [
        ("new", "insert", None, {"n": 1}, 60.0),
        ("old", "update", 1, 2, None),
        ("gone", "delete", "x", None, None),
    ]
    assert report["messages"] == [{"queue": "work", "message": {"job": 1}, "delay_seconds": 5.0, "key": "k"}]
    assert report["published"] == [{"topic": "news", "message": "hello"}]
    assert [mail["subject"] for mail in report["mails"]] == ["s"]
    assert report["invocations"] == [{"script": "other", "args": {"a": 1}}]
    assert [(each["trigger"], each["on"]) for each in report["triggers"]] == [
        ("on-things", "things/new"),
        ("on-things", "things/old"),
        ("on-gone", "things/gone"),
        ("worker", "work"),
        ("reader", "news"),
    ]
    assert report["calls"] == [
        {"method": "GET", "url": "https://example.com/x", "is_made": True, "status": 204, "error": None}
    ]
    assert [line["message"] for line in report["logs"]] == ["did it"]
    assert (report["status"], report["script"], report["version"]) == ("completed", "main", 1)
    # What a settlement would be given.
    assert dry_run.services.effects(completed=True) is NO_EFFECTS
    assert dry_run.services.effects(completed=False) is NO_EFFECTS
    assert made.store.rows == before


def test_the_script_sees_the_event_as_it_was_fired() -> None:
    report, _ = tried(world(), "#{ event: ctx.event, trigger: ctx.trigger }", event=b'{"op":"update","key":"k"}')
    assert report["result"] == {"event": {"source": "kv", "op": "update", "key": "k"}, "trigger": "on-order"}


def test_a_run_that_fails_would_commit_nothing_and_tells_where() -> None:
    report, _ = tried(world(), 'kv::collection("things").set("new", 1);\nthrow "no stock"')
    assert (report["status"], report["result"]) == ("failed", None)
    assert (report["error"]["message"], report["error"]["line"]) == ("no stock", 2)
    assert report["kv"] == report["triggers"] == []


@pytest.mark.parametrize("method", ["POST", "DELETE", "put"])
def test_a_call_that_may_change_something_is_made_only_when_somebody_said_so(method: str) -> None:
    source = f'http::request(#{{ method: "{method}", url: "https://example.com/x" }}).status'
    made = world()
    report, _ = tried(made, source)
    assert report["error"]["reason"] == "call_not_made"
    assert (made.calls, report["calls"][0]["is_made"]) == ([], False)
    report, _ = tried(made, source, with_calls=True)
    assert (report["result"], report["calls"][0]["status"], len(made.calls)) == (204, 204, 1)


def test_secrets_that_were_read_are_struck_out_of_the_report() -> None:
    source = """
        let token = secrets::get("TOKEN");
        kv::collection("things").set("token", token);
        queue::send("work", token);
        http::get("https://example.com/?key=" + token);
        log::info(token);
        token
    """
    report, _ = tried(world(), source)
    assert report["status"] == "completed"
    assert report["kv"][0]["after"] == "[secret TOKEN]"
    assert "hush-hush" not in json.dumps(report)


def test_a_mail_that_died_is_shown_and_not_sent() -> None:
    report, _ = tried(world(), "", event=b'{"to":["ada@example.com"],"subject":"s"}', original="send_email")
    assert (report["script"], report["mails"]) == (None, [{"to": ["ada@example.com"], "subject": "s"}])


def test_a_value_that_is_too_large_is_shown_by_its_beginning() -> None:
    made = world()
    made.store.rows[KeyId(APP, "things", "old")] = Stored(b'"%s"' % (b"x" * 100_000), 1)
    report, _ = tried(made, 'kv::collection("things").set("old", 1)')
    assert report["kv"][0]["before"]["bytes"] == 100_002
    assert len(report["kv"][0]["before"]["begins"]) == 1_000
