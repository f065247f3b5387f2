"""``picloud secrets``: where a value may come from, and that it goes nowhere but to the server."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.unit.cli.conftest import CommandLine, FakeServer

Page = Callable[..., dict[str, Any]]

VALUE = "sk_live_51Hxx-quite-secret"
SECRET = {
    "app": "shop",
    "name": "KEY",
    "version": 3,
    "created_by": "admin",
    "created_at": "2026-01-31T12:00:00Z",
}


@pytest.fixture
def shop(server: FakeServer) -> FakeServer:
    server.on("PUT", "/apps/shop/secrets/KEY", SECRET)
    return server


def test_they_are_listed_with_their_names_as_ids(picloud: CommandLine, server: FakeServer, page: Page) -> None:
    server.on("GET", "/apps/shop/secrets", page(SECRET))
    assert json.loads(picloud("secrets", "ls", "shop", "--json").stdout) == [{"id": "KEY", **SECRET}]
    table = picloud("secrets", "ls", "shop").stdout.splitlines()
    assert table[0].split() == ["NAME", "APP", "VERSION", "SET", "BY"]
    assert table[1].split()[:3] == ["KEY", "shop", "3"]


def test_without_an_app_those_of_all_apps_are_listed(picloud: CommandLine, server: FakeServer, page: Page) -> None:
    server.on("GET", "/apps", page({"name": "shop"}, {"name": "other"}))
    server.on("GET", "/apps/shop/secrets", page(SECRET))
    server.on("GET", "/apps/other/secrets", page())
    assert len(json.loads(picloud("secrets", "ls", "--json").stdout)) == 1


def test_one_is_shown_without_its_value(picloud: CommandLine, server: FakeServer) -> None:
    server.on("GET", "/apps/shop/secrets/KEY", SECRET)
    assert json.loads(picloud("secrets", "show", "shop", "KEY", "--json").stdout) == {"id": "KEY", **SECRET}
    assert "version  3" in picloud("secrets", "show", "shop", "KEY").stdout


def test_one_that_is_not_there_is_not_found(picloud: CommandLine, server: FakeServer) -> None:
    server.problem("GET", "/apps/shop/secrets/KEY", 404, "not_found", "shop has no secret 'KEY'")
    result = picloud("secrets", "show", "shop", "KEY")
    assert (result.exit_code, result.stderr) == (5, "error: shop has no secret 'KEY'\n")


@pytest.mark.parametrize("words", [(), ("--value", "@-")], ids=["nothing said", "@-"])
@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (VALUE, VALUE),
        (f"{VALUE}\n", VALUE),
        (f"{VALUE}\r\n", VALUE),
        ("one\ntwo\n\n", "one\ntwo\n"),
        (" spaces stay \n", " spaces stay "),
        ("ümlaut\n", "ümlaut"),
    ],
)
def test_the_value_comes_from_the_input_without_the_line_end_that_echo_adds(
    picloud: CommandLine, shop: FakeServer, words: tuple[str, ...], given: str, kept: str
) -> None:
    result = picloud("secrets", "set", "shop", "KEY", *words, stdin=given)
    assert result.exit_code == 0
    assert shop.bodies == [{"value": kept}]
    assert result.stdout == ""
    assert result.stderr == 'set KEY of shop (version 3)\nscripts read it with secrets::get("KEY")\n'


def test_a_value_too_short_to_be_struck_out_is_said_to_be(picloud: CommandLine, shop: FakeServer) -> None:
    assert "too short to be struck out" in picloud("secrets", "set", "shop", "KEY", stdin="abc\n").stderr
    assert "too short" not in picloud("secrets", "set", "shop", "KEY", stdin="abcd\n").stderr


def test_a_data_key_is_rotated(picloud: CommandLine, server: FakeServer) -> None:
    server.on("POST", "/apps/shop/rotate-data-key", {"app": "shop", "secrets": 3})
    assert picloud("secrets", "rotate", "shop").stderr == "3 secrets of shop are sealed with a new data key\n"
    assert json.loads(picloud("secrets", "rotate", "shop", "--json").stdout) == {"app": "shop", "secrets": 3}


def test_the_value_comes_from_a_file(picloud: CommandLine, shop: FakeServer, tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"-----BEGIN\r\nabc\r\n-----END\r\n")
    assert picloud("secrets", "set", "shop", "KEY", "--value", f"@{tmp_path}/key").exit_code == 0
    assert shop.bodies == [{"value": "-----BEGIN\r\nabc\r\n-----END"}]


def test_a_value_on_the_command_line_is_taken_with_a_warning(picloud: CommandLine, shop: FakeServer) -> None:
    result = picloud("secrets", "set", "shop", "KEY", "--value", VALUE, "--json")
    assert shop.bodies == [{"value": VALUE}]
    assert "in your shell's history" in result.stderr
    assert json.loads(result.stdout) == {"id": "KEY", **SECRET}
    assert VALUE not in result.output


def test_at_a_terminal_the_value_is_asked_for_and_not_shown(
    picloud: CommandLine, shop: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []

    def prompt(text: str, **options: Any) -> str:
        asked.append({"text": text, **options})
        return VALUE

    monkeypatch.setattr("picloud.cli.commands.secrets.sys", _AtATerminal())
    monkeypatch.setattr("click.prompt", prompt)
    result = picloud("secrets", "set", "shop", "KEY")
    assert asked == [{"text": "Value", "hide_input": True, "err": True}]
    assert shop.bodies == [{"value": VALUE}]
    assert VALUE not in result.output


class _AtATerminal:
    stdin = property(lambda self: self)

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("given", ["", "\n"])
def test_an_empty_input_is_a_usage_error(picloud: CommandLine, server: FakeServer, given: str) -> None:
    result = picloud("secrets", "set", "shop", "KEY", stdin=given)
    assert (result.exit_code, server.requests) == (2, [])
    assert "standard input is empty" in result.stderr


def test_what_is_no_text_is_a_usage_error_that_does_not_repeat_it(
    picloud: CommandLine, server: FakeServer, tmp_path: Path
) -> None:
    (tmp_path / "key").write_bytes(VALUE.encode() + b"\xff")
    result = picloud("secrets", "set", "shop", "KEY", "--value", f"@{tmp_path}/key")
    assert (result.exit_code, server.requests) == (2, [])
    assert "is not UTF-8 text" in result.stderr
    assert VALUE not in result.output


def test_a_file_that_is_not_there_is_a_usage_error(picloud: CommandLine, tmp_path: Path) -> None:
    result = picloud("secrets", "set", "shop", "KEY", "--value", f"@{tmp_path}/none")
    assert result.exit_code == 2
    assert "No such file" in result.stderr


def test_a_server_without_its_master_key_says_so(picloud: CommandLine, server: FakeServer) -> None:
    server.problem("PUT", "/apps/shop/secrets/KEY", 503, "master_key_missing", "secrets need the master key")
    result = picloud("secrets", "set", "shop", "KEY", stdin=VALUE)
    assert (result.exit_code, result.stderr) == (1, "error: secrets need the master key\n")


def test_one_is_removed_after_a_yes(picloud: CommandLine, server: FakeServer) -> None:
    server.on("DELETE", "/apps/shop/secrets/KEY", httpx2.Response(204))
    assert picloud("secrets", "rm", "shop", "KEY").exit_code == 2
    assert server.requests == []
    assert picloud("secrets", "rm", "shop", "KEY", "--yes").stderr == "removed KEY of shop\n"
    assert [request.method for request in server.requests] == ["DELETE"]
