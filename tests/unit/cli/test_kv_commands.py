"""kv: the key-value store from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.unit.cli.conftest import CommandLine, FakeServer

NOW = "2030-01-31T12:00:00Z"
KEY: dict[str, Any] = {"key": "apples", "version": 7, "bytes": 1, "expires_at": None, "updated_at": NOW}
WRITTEN = {"collection": "stock", "key": "apples", "version": 8, "created": True, "fired": 2}

Page = Callable[..., dict[str, Any]]


def test_collections_are_listed(picloud: CommandLine, server: FakeServer, page: Page) -> None:
    rows = [{"name": "stock", "keys": 2, "bytes": 12}]
    server.on("GET", "/apps/shop/kv", page(*rows))
    assert json.loads(picloud("kv", "ls", "shop", "--json").stdout) == rows
    assert picloud("kv", "ls", "shop").stdout.split() == ["COLLECTION", "KEYS", "BYTES", "stock", "2", "12"]


def test_keys_are_listed_with_what_is_asked_for(picloud: CommandLine, server: FakeServer, page: Page) -> None:
    server.on("GET", "/apps/shop/kv/a%2Fb", page({**KEY, "value": {"n": "\x1b[31m"}}))
    told = picloud("kv", "ls", "shop", "a/b", "--prefix", "app%", "--values", "--limit", "3")
    assert dict(server.requests[0].url.params) == {"prefix": "app%", "values": "true", "limit": "3"}
    assert '{"n":"\\u001b[31m"}' in told.stdout
    picloud("kv", "ls", "shop", "a/b")
    assert dict(server.requests[1].url.params) == {"limit": "50"}


def test_a_prefix_needs_a_collection(picloud: CommandLine) -> None:
    assert picloud("kv", "ls", "shop", "--prefix", "a").exit_code == 2


@pytest.mark.parametrize(
    ("value", "plain", "as_json"),
    [
        ({"a": 1}, '{\n  "a": 1\n}\n', '{"a": 1}\n'),
        ("text\n", "text\n\n", '"text\\n"\n'),
        (None, "null\n", "null\n"),
        (False, "false\n", "false\n"),
    ],
)
def test_a_value_is_printed(picloud: CommandLine, server: FakeServer, value: Any, plain: str, as_json: str) -> None:
    server.on("GET", "/apps/shop/kv/stock/red%2Fapples", httpx2.Response(200, content=json.dumps(value).encode()))
    assert picloud("kv", "get", "shop", "stock", "red/apples").stdout == plain
    assert picloud("kv", "get", "shop", "stock", "red/apples", "--json").stdout == as_json


def test_a_key_that_is_not_there_ends_with_5(picloud: CommandLine, server: FakeServer) -> None:
    server.problem("GET", "/apps/shop/kv/stock/kiwis", 404, "not_found")
    server.problem("DELETE", "/apps/shop/kv/stock/kiwis", 404, "not_found")
    assert picloud("kv", "get", "shop", "stock", "kiwis").exit_code == 5
    gone = picloud("kv", "rm", "shop", "stock", "kiwis")
    assert (gone.exit_code, gone.stderr) == (5, "error: told so\n")


@pytest.mark.parametrize(
    ("value", "stdin", "sent"),
    [
        ("-5", None, -5),
        ("null", None, None),
        ('"x"', None, "x"),
        ("-", "[1]\n", [1]),
        ("@FILE", None, {"from": "file"}),
    ],
)
def test_a_value_comes_from_the_line_a_file_or_the_input(
    picloud: CommandLine, server: FakeServer, tmp_path: Path, value: str, stdin: str | None, sent: Any
) -> None:
    file = tmp_path / "value.json"
    file.write_text('{"from": "file"}')
    server.on("PUT", "/apps/shop/kv/stock/apples", WRITTEN)
    done = picloud("kv", "set", "shop", "stock", "apples", value.replace("FILE", str(file)), stdin=stdin)
    assert (done.exit_code, done.stderr) == (0, "made stock/apples, version 8; it fired 2\n")
    assert server.bodies == [sent]
    assert server.requests[0].headers["content-type"] == "application/json"
    assert not server.requests[0].url.params


@pytest.mark.parametrize("value", ["text", "{", "NaN", "-Infinity", "@nowhere"])
def test_what_is_no_json_is_a_usage_error(picloud: CommandLine, value: str) -> None:
    assert picloud("kv", "set", "shop", "stock", "apples", value).exit_code == 2


@pytest.mark.parametrize(("ttl", "seconds"), [("90", 90), ("1.5", 1.5), ("15m", 900), ("12h", 43_200), ("7d", 604_800)])
def test_a_time_to_live_is_sent_in_seconds(picloud: CommandLine, server: FakeServer, ttl: str, seconds: float) -> None:
    server.on("PUT", "/apps/shop/kv/stock/apples", {**WRITTEN, "created": False, "fired": 0})
    done = picloud("kv", "set", "shop", "stock", "apples", "5", "--ttl", ttl)
    assert done.stderr == "changed stock/apples, version 8\n"
    assert float(server.requests[0].url.params["ttl_seconds"]) == seconds


@pytest.mark.parametrize("ttl", ["0", "-5", "soon", "0s"])
def test_a_time_to_live_that_is_none_is_a_usage_error(picloud: CommandLine, ttl: str) -> None:
    assert picloud("kv", "set", "shop", "stock", "apples", "5", "--ttl", ttl).exit_code == 2


def test_conditions_are_sent_and_end_with_6_when_they_do_not_hold(picloud: CommandLine, server: FakeServer) -> None:
    server.problem("PUT", "/apps/shop/kv/stock/apples", 412, "precondition_failed")
    server.problem("DELETE", "/apps/shop/kv/stock/apples", 412, "precondition_failed")
    assert picloud("kv", "set", "shop", "stock", "apples", "5", "--create").exit_code == 6
    assert picloud("kv", "set", "shop", "stock", "apples", "5", "--if-version", "7").exit_code == 6
    assert picloud("kv", "rm", "shop", "stock", "apples", "--if-version", "7").exit_code == 6
    create, change, remove = (each.headers for each in server.requests)
    assert (create.get("if-none-match"), create.get("if-match")) == ("*", None)
    assert (change.get("if-none-match"), change.get("if-match")) == (None, '"7"')
    assert remove.get("if-match") == '"7"'
    assert picloud("kv", "set", "shop", "stock", "apples", "5", "--create", "--if-version", "7").exit_code == 2


def test_keys_are_removed(picloud: CommandLine, server: FakeServer) -> None:
    for key in ("apples", "pears"):
        server.on("DELETE", f"/apps/shop/kv/stock/{key}", httpx2.Response(204))
    assert picloud("kv", "rm", "shop", "stock", "apples").stderr == "removed stock/apples\n"
    done = picloud("kv", "rm", "shop", "stock", "apples", "pears", "--json")
    assert json.loads(done.stdout) == {"removed": ["apples", "pears"]}
    server.problem("DELETE", "/apps/shop/kv/stock/pears", 404, "not_found")
    done = picloud("kv", "rm", "shop", "stock", "apples", "pears")
    assert (done.exit_code, done.stderr.splitlines()[0]) == (5, "removed 1 of 2")


def test_all_that_begin_with_something_are_removed_once_somebody_agrees(
    picloud: CommandLine, server: FakeServer, page: Page
) -> None:
    server.on("GET", "/apps/shop/kv/stock", page({**KEY, "key": "a1"}, {**KEY, "key": "a2"}))
    server.on("DELETE", "/apps/shop/kv/stock/a1", httpx2.Response(204))
    server.problem("DELETE", "/apps/shop/kv/stock/a2", 404, "not_found")
    assert picloud("kv", "rm", "shop", "stock", "--prefix", "a").exit_code == 2
    assert picloud("kv", "rm", "shop", "stock", "--prefix", "a", "--yes").stderr == "removed 1 of 2\n"
    assert picloud("kv", "rm", "shop", "stock").exit_code == 2
    assert picloud("kv", "rm", "shop", "stock", "a1", "--prefix", "a", "--yes").exit_code == 2
