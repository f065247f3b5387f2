"""emit: a source fired by hand, from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.conftest import CommandLine, FakeServer

FIRED: dict[str, Any] = {
    "source": "kv",
    "executions": [{"id": "e1", "trigger": "orders", "script": "on_order"}],
    "note": None,
}


def test_what_was_begun_is_listed(picloud: CommandLine, server: FakeServer) -> None:
    server.on("POST", "/apps/shop/emit", FIRED)
    done = picloud("emit", "kv", "shop", '{"op": "insert"}', "--trigger", "orders")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.split() == ["EXECUTION", "TRIGGER", "SCRIPT", "e1", "orders", "on_order"]
    assert server.bodies == [{"source": "kv", "event": {"op": "insert"}, "trigger": "orders"}]
    assert json.loads(picloud("emit", "kv", "shop", "--json").stdout) == FIRED


@pytest.mark.parametrize(
    ("event", "stdin", "sent"), [("@FILE", None, {"a": 1}), ("-", '{"a": 2}', {"a": 2}), (None, None, {})]
)
def test_an_event_comes_from_a_file_or_the_input_or_is_left_out(
    picloud: CommandLine, server: FakeServer, tmp_path: Path, event: str | None, stdin: str | None, sent: Any
) -> None:
    file = tmp_path / "event.json"
    file.write_text('{"a": 1}')
    server.on("POST", "/apps/shop/emit", FIRED)
    given = () if event is None else (event.replace("FILE", str(file)),)
    assert picloud("emit", "cron", "shop", *given, stdin=stdin).exit_code == 0
    assert server.bodies[0]["event"] == sent


def test_that_nothing_listens_is_said_and_is_no_failure(picloud: CommandLine, server: FakeServer) -> None:
    nothing = {"source": "pubsub", "executions": [], "note": "no pubsub trigger subscribes to t"}
    server.on("POST", "/apps/shop/emit", nothing)
    done = picloud("emit", "pubsub", "shop", '{"topic": "t", "message": 1}')
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr.splitlines() == ["nothing was fired", "no pubsub trigger subscribes to t"]
    done = picloud("emit", "pubsub", "shop", '{"topic": "t", "message": 1}', "--json")
    assert (done.exit_code, json.loads(done.stdout)) == (0, nothing)


def test_what_is_not_there_ends_with_5_and_what_is_off_with_6(picloud: CommandLine, server: FakeServer) -> None:
    server.problem("POST", "/apps/shop/emit", 404, "not_found")
    assert picloud("emit", "cron", "shop", "--trigger", "x").exit_code == 5
    server.problem("POST", "/apps/shop/emit", 409, "trigger_disabled")
    assert picloud("emit", "cron", "shop", "--trigger", "x").exit_code == 6


@pytest.mark.parametrize("arguments", [("http", "shop"), ("kv", "shop", "[1]"), ("kv", "shop", "{")])
def test_what_makes_no_sense_is_a_usage_error(picloud: CommandLine, arguments: tuple[str, ...]) -> None:
    assert picloud("emit", *arguments).exit_code == 2
