"""Triggers, schedules and the queues of apps on the command line."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import pytest

from picloud.cli.commands import triggers
from picloud.triggers import KINDS
from tests.unit.cli.conftest import CommandLine, FakeServer

Page = Callable[..., dict[str, Any]]

NOW = "2030-01-31T12:00:00Z"
POLICY = {"max_attempts": 3, "backoff": "exponential", "base_ms": 1000, "max_ms": 3600000, "jitter_pct": 20}
KV = {
    "id": 1,
    "app": "shop",
    "name": "orders",
    "kind": "kv",
    "script": "on_order",
    "enabled": True,
    "principal": "admin",
    "retry": {},
    "policy": POLICY,
    "waiting": 2,
    "created_at": NOW,
    "collection": "orders:*",
    "ops": ["insert", "delete"],
}
CRON = {
    **{key: value for key, value in KV.items() if key not in ("collection", "ops")},
    "name": "nightly",
    "kind": "cron",
    "enabled": False,
    "waiting": 0,
    "schedule": "0 3 * * *",
    "timezone": "Europe/Berlin",
    "missed": "once",
}
QUEUE = {
    "id": 1,
    "app": "shop",
    "name": "jobs",
    "consumer": "work",
    "script": "work",
    "is_consumed": False,
    "concurrency": 2,
    "waiting": 0,
    "held": 3,
    "in_flight": 1,
    "oldest_seconds": 90.0,
    "created_at": NOW,
}


@pytest.fixture
def somebody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Questions are asked, and the line's input answers them."""
    monkeypatch.setattr("picloud.cli.options.sys", type("Terminal", (), {"stdin": _Terminal()}))


class _Terminal:
    def isatty(self) -> bool:
        return True

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stdin, name)


# triggers


def test_the_kinds_are_those_there_are() -> None:
    assert triggers.KINDS == KINDS


def test_triggers_are_listed_with_what_they_listen_to(picloud: CommandLine, server: FakeServer, page: Page) -> None:
    server.on("GET", "/apps/shop/triggers", page(KV, CRON))
    assert [line.split() for line in picloud("triggers", "ls", "shop").stdout.splitlines()] == [
        ["APP", "NAME", "KIND", "LISTENS", "TO", "SCRIPT", "STATE", "WAITING"],
        ["shop", "orders", "kv", "orders:*", "insert+delete", "on_order", "on", "2"],
        ["shop", "nightly", "cron", "0", "3", "*", "*", "*", "Europe/Berlin", "on_order", "off", "·"],
    ]
    assert json.loads(picloud("triggers", "ls", "shop", "--kind", "kv", "--json").stdout) == [KV, CRON]
    assert server.requests[-1].url.params["kind"] == "kv"


@pytest.mark.parametrize(
    ("detail", "shown"),
    [
        ({"kind": "pubsub", "topic": "t.*"}, "t.*"),
        ({"kind": "queue", "queue": "jobs"}, "jobs"),
        ({"kind": "queue", "queue": "jobs", "concurrency": 2}, "jobs  2 at once"),
        ({"kind": "email", "address": "orders"}, "orders"),
        ({"kind": "dead_letter"}, "every dead letter"),
        ({"kind": "dead_letter", "source": "kv", "failed_script": "a"}, "source=kv  failed_script=a"),
    ],
)
def test_what_each_kind_listens_to_is_told(detail: dict[str, Any], shown: str) -> None:
    assert triggers.listens_to(detail) == shown


def test_a_trigger_is_shown_with_the_retries_that_hold(picloud: CommandLine, server: FakeServer) -> None:
    server.on("GET", "/apps/shop/triggers/nightly", CRON)
    shown = picloud("triggers", "show", "shop", "nightly").stdout
    assert "listens to  0 3 * * *  Europe/Berlin\n" in shown
    assert "back-off    exponential from 1000 to 3600000 ms, ± 20 %\n" in shown


def test_a_trigger_is_made_of_its_kind_s_options(picloud: CommandLine, server: FakeServer) -> None:
    server.on("POST", "/apps/shop/triggers", KV)
    kv = ("create", "shop", "kv", "on_order", "--collection", "orders:*", "--op", "insert", "--op", "delete")
    result = picloud("triggers", *kv, "--max-attempts", "9", "--disabled")
    assert result.stderr == "orders runs on_order: kv  orders:*  insert+delete\n"
    server.on("POST", "/apps/shop/triggers", CRON)
    picloud("triggers", "create", "shop", "cron", "tick", "--name", "nightly", "--schedule", "0 3 * * *")
    assert server.bodies == [
        {
            "kind": "kv", "script": "on_order", "enabled": False, "retry": {"max_attempts": 9},
            "collection": "orders:*", "ops": ["insert", "delete"],
        },
        {
            "kind": "cron", "script": "tick", "enabled": True, "retry": {}, "schedule": "0 3 * * *", "name": "nightly",
        },
    ]  # fmt: skip


def test_replacing_a_trigger_needs_its_name(picloud: CommandLine, server: FakeServer) -> None:
    change = ("triggers", "create", "shop", "pubsub", "a", "--topic", "t", "--replace")
    assert picloud(*change).exit_code == 2
    server.on("PUT", "/apps/shop/triggers/it", {**KV, "kind": "pubsub", "topic": "t"})
    assert picloud(*change, "--name", "it").exit_code == 0
    assert server.bodies == [{"kind": "pubsub", "script": "a", "enabled": True, "retry": {}, "topic": "t"}]


@pytest.mark.parametrize(("word", "enabled"), [("enable", True), ("disable", False)])
def test_a_trigger_is_switched(picloud: CommandLine, server: FakeServer, word: str, enabled: bool) -> None:
    server.on("PATCH", "/apps/shop/triggers/orders", {**KV, "enabled": enabled})
    assert picloud("triggers", word, "shop", "orders").stderr == f"orders is {'on' if enabled else 'off'}\n"
    assert json.loads(picloud("triggers", word, "shop", "orders", "--json").stdout)["enabled"] == enabled
    assert server.bodies == [{"enabled": enabled}] * 2


@pytest.mark.usefixtures("somebody_answers")
def test_before_a_trigger_is_removed_it_is_told_what_becomes_of_what_waits(
    picloud: CommandLine, server: FakeServer
) -> None:
    server.on("GET", "/apps/shop/triggers/orders", KV)
    removed = {"trigger": "orders", "kind": "kv", "still_run": 2, "held": 0, "cancelled": 0}
    server.on("DELETE", "/apps/shop/triggers/orders", removed)
    result = picloud("triggers", "rm", "shop", "orders", stdin="n\n")
    assert "Remove the trigger orders of shop? 2 accepted executions will still run." in result.stderr
    assert (result.exit_code, [request.method for request in server.requests]) == (1, ["GET"])
    result = picloud("triggers", "rm", "shop", "orders", "--cancel-waiting", stdin="n\n")
    assert "2 accepted executions will be cancelled." in result.stderr
    result = picloud("triggers", "rm", "shop", "orders", stdin="y\n")
    assert result.stderr.endswith("removed orders; 2 accepted executions will still run\n")


def test_what_waits_for_a_trigger_is_cancelled_when_asked_for(picloud: CommandLine, server: FakeServer) -> None:
    removed = {"trigger": "orders", "kind": "kv", "still_run": 0, "held": 0, "cancelled": 1}
    server.on("DELETE", "/apps/shop/triggers/orders", removed)
    result = picloud("triggers", "rm", "shop", "orders", "--cancel-waiting", "--yes")
    assert result.stderr == "removed orders; 1 accepted execution cancelled\n"
    assert server.requests[-1].url.params["cancel_waiting"] == "true"
    assert json.loads(picloud("triggers", "rm", "shop", "orders", "--yes", "--json").stdout) == removed
    assert not server.requests[-1].url.query


# scripts and apps


@pytest.mark.usefixtures("somebody_answers")
def test_scripts_and_apps_say_how_much_waits_before_they_go(picloud: CommandLine, server: FakeServer) -> None:
    server.on("GET", "/apps/shop/scripts/a", {"waiting": 1})
    assert "Remove shop/a? 1 accepted execution will still run." in picloud("scripts", "rm", "shop", "a").stderr
    waiting = {"pending": 1, "published": 2, "running": 3}
    server.on("GET", "/queues", {"apps": [waiting, waiting]})
    told = picloud("apps", "rm", "shop").stderr
    assert "Remove shop with everything it holds? 12 accepted executions will be cancelled." in told
    assert server.requests[-1].url.params["app"] == "shop"


def test_a_removed_script_tells_what_still_runs(picloud: CommandLine, server: FakeServer) -> None:
    server.on("DELETE", "/apps/shop/scripts/a", {"script": "a", "still_run": 2, "cancelled": 0})
    result = picloud("scripts", "rm", "shop", "a", "--yes")
    assert result.stderr == "removed shop/a; 2 accepted executions will still run\n"


# schedules


def test_schedules_show_each_time_in_the_zone_and_in_utc(picloud: CommandLine, server: FakeServer, page: Page) -> None:
    tick = {
        "id": 1, "app": "shop", "trigger": "tick", "script": "a", "enabled": True, "schedule": "30 2 * * *",
        "timezone": "Asia/Kolkata", "missed": "once", "fired_at": None,
        "next_times": ["2999-01-01T21:00:00Z", "2999-01-02T21:00:00Z"],
        "next_times_local": ["2999-01-02T02:30:00+05:30", "2999-01-03T02:30:00+05:30"],
    }  # fmt: skip
    off = {**tick, "trigger": "off", "enabled": False, "next_times": [], "next_times_local": []}
    server.on("GET", "/apps/shop/schedules", page(tick, off))
    lines = picloud("schedules", "ls", "shop").stdout.splitlines()
    assert "Wed 2999-01-02 02:30:00 +0530  2999-01-01 21:00:00" in lines[1]
    assert lines[2].split()[0] == "Thu"
    assert lines[3].split()[:3] + lines[3].split()[-1:] == ["shop", "off", "30", "off"]
    assert json.loads(picloud("schedules", "ls", "shop", "--json").stdout) == [tick, off]


# queues


def test_the_queues_of_an_app_are_listed_and_shown(picloud: CommandLine, server: FakeServer, page: Page) -> None:
    server.on("GET", "/apps/shop/queues", page(QUEUE))
    assert [line.split() for line in picloud("queues", "ls", "shop").stdout.splitlines()] == [
        ["APP", "NAME", "WAITING", "HELD", "IN", "FLIGHT", "OLDEST", "CONSUMER", "AT", "ONCE"],
        ["shop", "jobs", "·", "3", "1", "90", "s", "work", "(off)", "2"],
    ]
    assert json.loads(picloud("queues", "ls", "shop", "--json").stdout) == [QUEUE]
    server.on("GET", "/apps/shop/queues/a%2Fb", QUEUE)
    assert "consumer   work (off)\n" in picloud("queues", "show", "shop", "a/b").stdout
    assert json.loads(picloud("queues", "show", "shop", "a/b", "--json").stdout) == QUEUE


def test_a_queue_is_made_and_one_that_is_there_ends_with_6(picloud: CommandLine, server: FakeServer) -> None:
    server.on("POST", "/apps/shop/queues", QUEUE)
    assert "made jobs; " in picloud("queues", "create", "shop", "jobs").stderr
    assert server.bodies == [{"name": "jobs"}]
    server.problem("POST", "/apps/shop/queues", 409, "conflict")
    assert picloud("queues", "create", "shop", "jobs").exit_code == 6


@pytest.mark.usefixtures("somebody_answers")
def test_before_a_queue_is_removed_it_is_told_how_many_messages_go(picloud: CommandLine, server: FakeServer) -> None:
    server.on("GET", "/apps/shop/queues/jobs", QUEUE)
    server.on("DELETE", "/apps/shop/queues/jobs", {"queue": "jobs", "cancelled": 3, "in_flight": 1})
    result = picloud("queues", "rm", "shop", "jobs", "--cancel-waiting", stdin="y\n")
    assert "Remove the queue jobs of shop? 3 messages in it will be cancelled." in result.stderr
    assert result.stderr.endswith("removed jobs; 3 messages cancelled; 1 message under way, to their end\n")
    server.problem("DELETE", "/apps/shop/queues/jobs", 409, "queue_not_empty")
    assert picloud("queues", "rm", "shop", "jobs", "--yes").exit_code == 6


def test_the_overview_is_what_is_no_command_and_any_app_can_be_named(picloud: CommandLine, server: FakeServer) -> None:
    found: dict[str, Any] = {"apps": [], "workers": [], "broker": {}}
    server.on("GET", "/queues", found)
    lines = [(), ("ls-is-no-app",), ("--app", "ls"), ("overview", "shop")]
    for line in lines:
        assert json.loads(picloud("queues", *line, "--json").stdout) == found
    asked = [dict(request.url.params).get("app") for request in server.requests]
    assert asked == [None, "ls-is-no-app", "ls", "shop"]


# deploy


def test_a_plan_tells_what_is_kept(picloud: CommandLine, server: FakeServer, tmp_path: Any) -> None:
    (tmp_path / "picloud.toml").write_text('[app]\nname = "shop"\n')
    change = {"action": "create", "kind": "trigger", "name": "it", "note": "kv, runs a"}
    kept = {"kind": "queue", "name": "jobs", "note": "1 message in it"}
    plan = {"app": "shop", "dry_run": True, "unchanged": False, "revision": 2, "changes": [change], "kept": [kept]}
    server.on("POST", "/apps/shop/deploy", plan, {**plan, "unchanged": True, "changes": []})
    told = picloud("deploy", str(tmp_path), "--dry-run", "--cancel-waiting").stdout
    assert told == "+ trigger it  kv, runs a\n= queue   jobs  1 message in it\n"
    assert server.bodies[0]["cancel_waiting"] is True
    assert picloud("deploy", str(tmp_path)).stdout == "shop: nothing to change\n= queue  jobs  1 message in it\n"
