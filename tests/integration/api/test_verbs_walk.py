"""Every verb of the command line needs what a table written by hand expects, and no more.

Each is run against the real control API, as an owner; what it called there says what a caller needs for it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import click
import httpx2
import pytest
from click.testing import CliRunner

from picloud.broker import Reply
from picloud.cli.main import cli
from picloud.cli.options import Surroundings
from picloud_web.api import PREFIX, all_endpoints
from tests.integration.api.conftest import Api
from tests.integration.api.expected_access import EXPECTED, LETTERS, ROLES
from tests.integration.api.expected_needs import LOCAL, TABLE
from tests.seeding import Seeds

pytestmark = pytest.mark.integration


@dataclass
class Recorder(httpx2.BaseTransport):
    """Carries requests into the application, and remembers which operations they were."""

    api: Api
    operations: list[str] = field(default_factory=list[str])

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        path, _, query = request.url.raw_path.decode().partition("?")
        self.operations.append(_operation(request.method, path))
        answer = self.api.run(
            self.api.conductor.simulate_request(
                request.method, path, query_string=query, body=request.read(), headers=dict(request.headers)
            )
        )
        return httpx2.Response(answer.status_code, headers=list(answer.headers.items()), content=answer.content)


def _operation(method: str, path: str) -> str:
    """Which endpoint a request is for; the longest path is the one that is meant."""
    found = [
        endpoint
        for endpoint in all_endpoints()
        if endpoint.method == method and re.fullmatch(PREFIX + re.sub(r"\{\w+(:\w+)?\}", "[^/]+", endpoint.path), path)
    ]
    assert found, f"the command line calls {method} {path}, which nobody serves"
    return max(found, key=lambda endpoint: len(re.sub(r"\{\w+(:\w+)?\}", "", endpoint.path))).operation_id


def _needs(operations: list[str]) -> tuple[str, str]:
    """The role that suffices for all of these, and the scopes each of which does."""
    role = max((EXPECTED[each].role for each in operations), key=ROLES.index)
    letters = [
        letter if all(scope in EXPECTED[each].scopes for each in operations) else "."
        for letter, scope in LETTERS.items()
    ]
    return role, "".join(letters)


@dataclass
class World:
    """What the verbs of the table find."""

    api: Api
    seeds: Seeds
    folder: Path
    names: dict[str, str] = field(default_factory=dict[str, str])

    def furnish(self) -> None:
        (self.folder / "scripts").mkdir()
        (self.folder / "scripts" / "orders.rhai").write_text("1")
        (self.folder / "picloud.toml").write_text('[app]\nname = "shop"\n')
        self.api.post(
            "/apps/shop/deploy", {"manifest": {"app": {"name": "shop"}}, "files": {"scripts/orders.rhai": "0"}}
        )
        app_id, script_id = self.api.get("/apps/shop")["id"], self._number("select id from scripts")
        self.names = {
            "folder": str(self.folder),
            "file": str(self.folder / "scripts" / "orders.rhai"),
            "event": '{"op":"insert","collection":"new","key":"k","value":1}',
            "edit": '{"method":"POST","path":"/"}',
            "run": str(self.seeds.ended(app_id, script_id)),
            "row": str(self.seeds.waiting(app_id, script_id, due_in_seconds=600)),
            "letter": str(self.seeds.dead(app_id, script_id)),
            "other_letter": str(self.seeds.dead(app_id, script_id)),
            "worker": str(self.seeds.worker()),
            "key": str(self.api.post("/keys", {"name": "old"}, expect=201)["id"]),
            "entry": str(self._number("select min(id) from audit_log")),
        }

    def words(self, arguments: str) -> list[str]:
        """``arguments`` with the names of what is there now."""
        route = self._number("select coalesce(max(id), 0) from routes")
        return [word.format(**self.names, route=route) for word in arguments.split()]

    def _number(self, query: str) -> int:
        row = self.seeds.connection.execute(query.encode()).fetchone()
        assert row is not None
        return int(row[0])


def _leaves(command: click.Command, path: str = "") -> list[str]:
    if not isinstance(command, click.Group):
        return [path]
    context = click.Context(command)
    children = ((name, command.get_command(context, name)) for name in command.list_commands(context))
    return [leaf for name, child in children if child for leaf in _leaves(child, f"{path} {name}".strip())]


def _lines() -> list[tuple[str, str, str]]:
    """Arguments, role and scopes."""
    found: list[tuple[str, str, str]] = []
    for line in filter(None, TABLE.splitlines()):
        arguments, role, letters = (each.strip() for each in line.split("|"))
        found.append((arguments, role, letters))
    return found


def test_every_verb_is_in_the_table_or_asks_no_server() -> None:
    shown = [arguments for arguments, _, _ in _lines()]
    missing = [
        leaf
        for leaf in _leaves(cli)
        if leaf not in LOCAL and leaf.split()[0] not in LOCAL
        and not any(f"{each} ".startswith(f"{leaf} ") for each in shown)
    ]  # fmt: skip
    assert not missing, f"say in expected_needs.py what these need: {missing}"


def test_every_verb_needs_what_is_expected_and_no_more(api: Api, seeds: Seeds, tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    folder.mkdir()
    world = World(api, seeds, folder)
    world.furnish()
    api.dispatcher.answer = lambda arrival: Reply(
        arrival.id, "completed", result_kind="json", data=b'{"status":"completed"}'
    )
    environ = {"PICLOUD_CONFIG": str(tmp_path / "config.toml"), "PICLOUD_URL": "http://server.test"}
    wrong: list[str] = []
    for arguments, role, letters in _lines():
        recorder = Recorder(api)
        around = Surroundings(environ | {"PICLOUD_TOKEN": api.key}, recorder)
        done = CliRunner().invoke(cli, world.words(arguments), input=f"{api.key}\n", obj=around, prog_name="picloud")
        if done.exit_code != 0:
            wrong.append(f"{arguments}: ended with {done.exit_code}: {done.output}")
        elif not recorder.operations or _needs(recorder.operations) != (role, letters):
            needs = _needs(recorder.operations) if recorder.operations else "nothing"
            wrong.append(f"{arguments}: needs {needs}, not {(role, letters)}: {recorder.operations}")
    assert not wrong, "\n".join(wrong)
