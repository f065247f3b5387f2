"""apps network: the private addresses an app may call."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.cli.conftest import CommandLine, FakeServer

PATH = "/apps/shop/http-allowed"


def test_the_list_is_shown(picloud: CommandLine, server: FakeServer) -> None:
    server.on("GET", PATH, {"allowed": ["192.168.1.0/24", "*.lan"]})
    assert picloud("apps", "network", "shop").stdout.split() == ["MAY", "CALL", "192.168.1.0/24", "*.lan"]
    assert json.loads(picloud("apps", "network", "shop", "--json").stdout) == {"allowed": ["192.168.1.0/24", "*.lan"]}


def test_an_empty_list_says_what_that_means(picloud: CommandLine, server: FakeServer) -> None:
    server.on("GET", PATH, {"allowed": []})
    shown = picloud("apps", "network", "shop")
    assert (shown.stdout, shown.stderr) == ("", "shop may call no private address\n")


@pytest.mark.parametrize(
    ("arguments", "sent"),
    [
        (["--allow", "nas.lan", "--allow", "*.lan"], {"allow": ["nas.lan", "*.lan"], "forbid": []}),
        (["--forbid", "nas.lan"], {"allow": [], "forbid": ["nas.lan"]}),
    ],
)
def test_a_change_is_sent_and_the_list_shown(
    picloud: CommandLine, server: FakeServer, arguments: list[str], sent: Any
) -> None:
    server.on("PATCH", PATH, {"allowed": ["10.0.0.1"]})
    assert picloud("apps", "network", "shop", *arguments).stdout.split() == ["MAY", "CALL", "10.0.0.1"]
    assert server.bodies == [sent]


def test_what_is_not_on_the_list_ends_with_5_and_what_cannot_be_with_1(
    picloud: CommandLine, server: FakeServer
) -> None:
    server.problem("PATCH", PATH, 404, "not_found")
    assert picloud("apps", "network", "shop", "--forbid", "nas.lan").exit_code == 5
    server.problem("PATCH", PATH, 403, "permission_denied")
    assert picloud("apps", "network", "shop", "--allow", "nas.lan").exit_code == 1


def test_an_app_shows_what_it_may_call(picloud: CommandLine, server: FakeServer) -> None:
    now = "2030-01-31T12:00:00Z"
    app = {"id": 1, "name": "shop", "revision": 2, "paused": False, "paused_at": None, "created_at": now}
    counts: dict[str, Any] = {"scripts": 0, "routes": 0, "triggers": 0, "domains": []}
    server.on("GET", "/apps/shop", app | counts | {"http_allowed": ["nas.lan", "10.0.0.1"]})
    shown = picloud("apps", "show", "shop").stdout
    assert "may call" in shown
    assert "nas.lan" in shown
