"""dead-letters: grouped, replayed and ignored by filter, tried."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.cli.conftest import CommandLine, FakeServer

ID = "019a1b2c-3d4e-7f50-8a6b-7c8d9e0f1a2b"
NOW = "2030-01-31T12:00:00Z"
ERROR = {"code": "script_failed", "message": "no stock", "line": 4, "column": 2}

Page = Callable[..., dict[str, Any]]

GROUP = {
    "fingerprint": "5f0c2a9be41d",
    "app": "shop",
    "script": "orders",
    "source": "kv",
    "count": 12,
    "open": 3,
    "first_died_at": NOW,
    "last_died_at": NOW,
    "example_id": ID,
    "last_error": ERROR,
}

REPORT: dict[str, Any] = {
    "execution_id": ID,
    "status": "completed",
    "script": "orders",
    "version": 3,
    "result_kind": "json",
    "result": {"ok": True},
    "error": None,
    "logs": [{"at_us": 1, "level": "info", "message": "packed \x1b[31m"}],
    "run_ms": 1.25,
    "operations": 12,
    "kv": [
        {"collection": "t", "key": "a", "op": "insert", "before": None, "after": {"n": 1}, "ttl_seconds": 90.0},
        {"collection": "t", "key": "b", "op": "update", "before": 1, "after": 2, "ttl_seconds": None},
        {"collection": "t", "key": "c", "op": "delete", "before": "x", "after": None, "ttl_seconds": None},
    ],
    "messages": [{"queue": "work", "message": [1], "delay_seconds": 5.0, "key": "k"}],
    "published": [{"topic": "news", "message": "hi"}],
    "mails": [{"to": ["ada@example.com"], "subject": "s", "text": "t", "html": None}],
    "invocations": [{"script": "other", "args": {"a": 1}}],
    "triggers": [{"trigger": "on-t", "kind": "kv", "script": "on_t", "on": "t/a"}],
    "calls": [{"method": "POST", "url": "https://x.test/", "is_made": False, "status": None, "error": "no"}],
}


@pytest.mark.parametrize("words", [("groups",), ("ls", "--group")], ids=" ".join)
def test_letters_are_counted_by_error(
    picloud: CommandLine, server: FakeServer, page: Page, words: tuple[str, ...]
) -> None:
    server.on("GET", "/dead-letters/groups", page(GROUP))
    done = picloud("dead-letters", *words, "--app", "shop")
    assert dict(server.requests[0].url.params) == {"app": "shop", "limit": "50"}
    assert done.stdout.splitlines()[1].split()[:4] == ["5f0c2a9be41d", "12", "shop", "orders"]
    assert done.stdout.endswith("orders:4:2: no stock\n")
    assert json.loads(picloud("dead-letters", *words, "--json").stdout) == [GROUP]


def test_every_filter_reaches_the_server(picloud: CommandLine, server: FakeServer, page: Page) -> None:
    server.on("GET", "/dead-letters", page())
    picloud(
        "dead-letters", "ls", "--app", "shop", "--script", "orders", "--source", "kv", "--trigger", "on-order",
        "--resolution", "unresolved", "--fingerprint", "5f0c2a9be41d", "--since", NOW, "--older-than", NOW,
    )  # fmt: skip
    assert dict(server.requests[0].url.params) == {
        "app": "shop", "script": "orders", "source": "kv", "trigger": "on-order", "resolution": "unresolved",
        "fingerprint": "5f0c2a9be41d", "since": NOW, "until": NOW, "limit": "50",
    }  # fmt: skip


@pytest.mark.parametrize(("given", "rate"), [("10/s", 10.0), ("30/min", 0.5), ("36/h", 0.01), ("2.5", 2.5)])
def test_a_replay_at_a_pace_tells_when_the_last_will_run(
    picloud: CommandLine, server: FakeServer, given: str, rate: float
) -> None:
    replayed = [{"id": ID, "execution_id": "e1", "available_at": NOW}]
    answer = {"dry_run": False, "matched": 1, "replayed": replayed, "last_at": NOW}
    server.on("POST", "/dead-letters/replay", answer)
    done = picloud("dead-letters", "replay", "--all", "--fingerprint", "abc", "--rate", given, "--version", "original")
    assert server.bodies == [
        {"fingerprint": "abc", "version": "original", "rate": rate, "limit": 10_000, "dry_run": False}
    ]
    assert done.stderr.startswith("the last of them may run at 2030-01-")


@pytest.mark.parametrize("rate", ["0/s", "fast", "10/d", "100001/s", "-1"])
def test_a_rate_that_is_none_is_refused(picloud: CommandLine, rate: str) -> None:
    assert picloud("dead-letters", "replay", "--all", "--rate", rate).exit_code == 2


def test_letters_named_by_id_can_be_spread_too(picloud: CommandLine, server: FakeServer) -> None:
    server.on("POST", "/dead-letters/replay", {"dry_run": False, "matched": 0, "replayed": [], "last_at": None})
    done = picloud("dead-letters", "replay", ID, "--rate", "1/s")
    assert server.bodies == [{"ids": [ID], "rate": 1.0, "limit": 10_000, "dry_run": False}]
    assert done.stderr == "no open dead letter fits\n"


def test_many_are_ignored_by_filter(picloud: CommandLine, server: FakeServer) -> None:
    server.on("POST", "/dead-letters/ignore", {"dry_run": False, "matched": 3, "ignored": [{"id": ID}] * 2})
    done = picloud("dead-letters", "ignore", "--all", "--app", "shop", "--reason", "old", "--limit", "2")
    assert server.bodies == [{"app": "shop", "reason": "old", "limit": 2, "dry_run": False}]
    assert done.stderr.splitlines() == ["ignored 2", "1 are left: there are more than --limit"]


def test_a_trial_shows_what_would_happen(picloud: CommandLine, server: FakeServer) -> None:
    server.on("POST", f"/dead-letters/{ID}/dry-run", REPORT)
    done = picloud("dead-letters", "try", ID, "--event", '{"args": 1}', "--with-calls")
    assert server.bodies == [{"version": "current", "with_calls": True, "event": {"args": 1}}]
    assert (done.exit_code, done.stderr) == (0, "nothing was committed\n")
    assert done.stdout.splitlines() == [
        "script  orders v3",
        "took    1.2 ms",
        'result  {"ok":true}',
        "",
        "would write",
        '  + t/a  {"n":1}  for 90 s',
        "  ~ t/b  1 -> 2",
        '  - t/c  "x"',
        "",
        "would send",
        "  queue work  [1]  key k  in 5.0 s",
        '  topic news  "hi"',
        "  mail to ada@example.com  s",
        '  invoke other  {"a":1}',
        "",
        "would fire",
        "  kv on-t  on_t  t/a",
        "",
        "called",
        "  POST https://x.test/  not made: no",
        "",
        "logged",
        "  INFO   packed \\x1b[31m",
    ]


@pytest.mark.parametrize(("code", "exit_code"), [("script_failed", 3), ("script_timeout", 7)])
def test_a_trial_that_fails_ends_with_the_code_of_an_invocation(
    picloud: CommandLine, server: FakeServer, code: str, exit_code: int
) -> None:
    lists = ("kv", "messages", "published", "mails", "invocations", "triggers", "calls")
    empty: dict[str, Any] = {name: [] for name in lists}
    report = {**REPORT, **empty, "status": "failed", "error": {**ERROR, "code": code}, "result": None}
    server.on("POST", f"/dead-letters/{ID}/dry-run", report)
    done = picloud("dead-letters", "try", ID, "--json")
    assert (done.exit_code, json.loads(done.stdout)) == (exit_code, report)
    assert done.stderr.startswith("error: orders:4:2: no stock\n")


def test_a_letter_that_is_not_there_cannot_be_tried(picloud: CommandLine, server: FakeServer) -> None:
    server.problem("POST", f"/dead-letters/{ID}/dry-run", 404, "not_found")
    assert picloud("dead-letters", "try", ID).exit_code == 5
