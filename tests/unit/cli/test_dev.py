"""picloud dev: where it may deploy to, and that nothing but Ctrl-C ends it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from picloud.cli import watching
from picloud.cli.client import Client
from picloud.cli.commands import dev as dev_command
from picloud.cli.tail import Tail
from picloud.profiles import Profile, save_profile
from tests.unit.cli.conftest import CommandLine, FakeServer

PLAN = {
    "app": "demo",
    "dry_run": False,
    "unchanged": False,
    "revision": 2,
    "changes": [{"action": "update", "kind": "script", "name": "hello"}],
}
DEPLOY = ("POST", "/apps/demo/deploy")
REFUSED_CONNECTION = httpx2.ConnectError("[Errno 111] Connection refused")

Saves = Callable[..., None]


@pytest.fixture
def hello(picloud: CommandLine, server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A script of an app folder beside a platform on this machine that has the app; nobody reads its logs."""
    monkeypatch.chdir(tmp_path)
    picloud.environ["PICLOUD_URL"] = "http://127.0.0.1:8000"
    assert picloud("init", "demo").exit_code == 0
    server.on(*DEPLOY, PLAN)
    server.on("GET", "/apps/demo/logs", {"items": [], "next": "now"})
    server.on("GET", "/apps/demo/executions", {"items": [], "next": None})

    def follow_nothing(_: Callable[[], None]) -> None: ...

    monkeypatch.setattr(dev_command, "_follow_in_a_thread", follow_nothing)
    return tmp_path / "demo" / "scripts" / "hello.rhai"


@pytest.fixture
def saves(monkeypatch: pytest.MonkeyPatch) -> Saves:
    """Tell what is saved, one after the other, before Ctrl-C."""

    def tell(*steps: Callable[[], object]) -> None:
        def changes(_: Path) -> Iterator[bool]:
            for step in steps:
                step()
                yield True
            raise KeyboardInterrupt

        monkeypatch.setattr(watching, "changes", changes)

    return tell


def deploys(server: FakeServer) -> int:
    return sum(request.method == "POST" for request in server.requests)


def test_a_save_is_deployed_and_the_same_again_is_not(
    picloud: CommandLine, server: FakeServer, hello: Path, saves: Saves
) -> None:
    saves(lambda: hello.write_text("1"), lambda: hello.write_text("1"), lambda: hello.write_text("2"))
    result = picloud("dev", "demo")
    assert result.exit_code == 130
    assert deploys(server) == 3
    assert "GET  http://127.0.0.1:8000/@demo/hello/:name\n" in result.stdout
    assert result.stdout.count("~ script hello\n") == 3
    assert "in a browser: http://demo.localhost:8000/\n" in result.stderr
    assert result.stderr.endswith("what was deployed stays\n\n")


@pytest.mark.parametrize(
    ("mistake", "told"),
    [
        ("script", "demo/scripts/hello.rhai:1:4: "),
        ("manifest", "demo/picloud.toml:1:6: this string has no closing quote\n"),
        ("no manifest", "error: demo/picloud.toml: no such file\n"),
        ("no script", "route[1].script: scripts/hello.rhai does not exist\n"),
    ],
)
def test_a_mistake_is_told_and_the_next_save_deployed(
    picloud: CommandLine, server: FakeServer, hello: Path, saves: Saves, mistake: str, told: str
) -> None:
    manifest = hello.parents[1] / "picloud.toml"
    text, script = manifest.read_text(), hello.read_text()
    make: dict[str, Callable[[], object]] = {
        "script": lambda: hello.write_text("let"),
        "manifest": lambda: manifest.write_text('a = "\n'),
        "no manifest": manifest.unlink,
        "no script": hello.unlink,
    }
    saves(make[mistake], lambda: (manifest.write_text(text), hello.write_text(script)))
    result = picloud("dev", "demo")
    assert result.exit_code == 130
    assert told in result.stderr
    assert deploys(server) == 2


def test_what_the_server_refuses_is_shown_and_ends_nothing(
    picloud: CommandLine, server: FakeServer, hello: Path, saves: Saves
) -> None:
    problem = {"code": "script_does_not_compile", "detail": "scripts/hello.rhai:1:1: told so"}
    server.on(*DEPLOY, httpx2.Response(422, json=problem), PLAN)
    saves(lambda: hello.write_text("1"))
    result = picloud("dev", "demo")
    assert "demo/scripts/hello.rhai:1:1: told so\n    1 | " in result.stderr
    assert deploys(server) == 2


def test_a_server_that_is_away_is_waited_for_and_told_once(
    picloud: CommandLine, server: FakeServer, hello: Path, saves: Saves
) -> None:
    server.on(*DEPLOY, PLAN, REFUSED_CONNECTION, REFUSED_CONNECTION, PLAN)
    saves(lambda: hello.write_text("1"))
    result = picloud("dev", "demo")
    assert deploys(server) == 4
    assert picloud.pauses == [1.0, 1.0]
    away = "does not answer: Connection refused; start it with `picloud up` in another terminal; waiting for it\n"
    assert result.stderr.count(away) == 1
    assert result.stderr.count("http://127.0.0.1:8000 answers\n") == 1


def test_a_key_that_was_never_valid_ends_it(picloud: CommandLine, server: FakeServer, hello: Path) -> None:
    server.problem(*DEPLOY, 401, "authentication_required")
    assert picloud("dev", "demo").exit_code == 4


def test_a_folder_that_is_no_app_is_refused(picloud: CommandLine, hello: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    result = picloud("dev", "empty")
    assert result.exit_code == 1
    assert "empty/picloud.toml: no such file" in result.stderr


# Where to


def test_another_machine_is_refused_until_somebody_means_it(
    picloud: CommandLine, server: FakeServer, hello: Path, saves: Saves
) -> None:
    picloud.environ["PICLOUD_URL"] = "https://picloud.example.org"
    saves()
    result = picloud("dev", "demo")
    assert result.exit_code == 1
    assert "https://picloud.example.org is not on this machine" in result.stderr
    assert server.requests == []
    assert picloud("dev", "demo", "--yes").exit_code == 130
    save_profile("production", Profile("https://picloud.example.org", "pic_x"), picloud.environ)
    del picloud.environ["PICLOUD_URL"], picloud.environ["PICLOUD_TOKEN"]
    assert picloud("dev", "demo").exit_code == 1
    assert deploys(server) == 1
    assert picloud("dev", "demo", "--context", "production").exit_code == 130
    assert deploys(server) == 2


def test_a_profile_chosen_meanwhile_is_not_deployed_to(
    picloud: CommandLine, server: FakeServer, hello: Path, saves: Saves
) -> None:
    del picloud.environ["PICLOUD_URL"], picloud.environ["PICLOUD_TOKEN"]
    save_profile("local", Profile("http://localhost:8000", "pic_x"), picloud.environ)

    def choose_production() -> None:
        save_profile("production", Profile("https://picloud.example.org", "pic_x"), picloud.environ)
        hello.write_text("1")

    saves(choose_production)
    assert picloud("dev", "demo").exit_code == 130
    assert {request.url.host for request in server.requests} == {"localhost"}
    assert deploys(server) == 2


# Waiting for saves


def test_the_burst_of_a_save_is_one_change(tmp_path: Path) -> None:
    found = watching.changes(tmp_path)
    assert next(found)  # the first looks at what was there before
    (tmp_path / ".hello.rhai.swp").write_text("1")
    for number in range(5):
        (tmp_path / "hello.rhai.new").write_text(str(number))
        (tmp_path / "hello.rhai.new").rename(tmp_path / "hello.rhai")
    assert next(each for each in found if each)
    assert not next(found)


# Logs and failures


def run(status: str, attempts: int, error: Any = None, id: str = "1") -> dict[str, Any]:  # noqa: A002 - the API's word
    return {"id": id, "script": "hello", "status": status, "attempts": attempts, "error": error}


def test_each_failed_attempt_is_told_once_and_the_past_not_at_all(server: FakeServer) -> None:
    error = {"code": "script_failed", "message": "sold out", "line": 2, "column": 1}
    past = run("dead", 3, error, id="0")
    server.on(
        "GET",
        "/apps/demo/logs",
        {"items": [{"message": "old"}], "next": "a"},
        {"items": [{"message": "new"}], "next": "b"},
    )
    turns = [[past], [run("pending", 1), past], [run("pending", 1), past], [run("dead", 2, error), past]]
    server.on("GET", "/apps/demo/executions", *({"items": items, "next": None} for items in turns))
    server.on("GET", "/apps/demo/executions/1", run("pending", 1, error))
    tail = Tail("demo")
    with Client(Profile("http://server.test", "pic_x"), transport=httpx2.MockTransport(server)) as client:
        tail.begin(client)
        found = [tail.turn(client) for _ in range(3)]
    assert [lines for lines, _ in found] == [[{"message": "new"}]] * 3
    assert [[(each.attempt, each.status) for each in failures] for _, failures in found] == [
        [(1, "pending")],
        [],
        [(2, "dead")],
    ]


def test_an_app_that_is_not_there_yet_has_no_past(server: FakeServer) -> None:
    server.problem("GET", "/apps/demo/logs", 404, "not_found")
    tail = Tail("demo")
    with Client(Profile("http://server.test", "pic_x"), transport=httpx2.MockTransport(server)) as client:
        tail.begin(client)
        server.on("GET", "/apps/demo/logs", {"items": [{"message": "first"}], "next": "a"})
        server.on("GET", "/apps/demo/executions", {"items": [], "next": None})
        assert tail.turn(client) == ([{"message": "first"}], [])
    assert "after" not in server.requests[-2].url.params
