"""``picloud top``: the figures, the frame, the keys, and what happens when a server is away."""

from __future__ import annotations

import json
import os
import pty
import termios
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import click
import httpx2
import pytest

from picloud.cli.commands import top as command
from picloud.cli.top.figures import Figures, Reader
from picloud.cli.top.frame import View, frame, keys, pressed, sparkline
from picloud.cli.top.keyboard import keys_of
from tests.unit.cli.conftest import CommandLine, FakeServer

Page = Callable[..., dict[str, Any]]

NOW = "2030-01-31T12:00:00Z"
THROUGHPUT = {
    "seconds": 2.0, "accepted": 25, "completed": 24, "failed": 1, "dead": 2, "cancelled": 9, "depth_exceeded": 0,
}  # fmt: skip


def queue(app: str, **changed: Any) -> dict[str, Any]:
    counts = {"pending": 0, "due": 0, "published": 0, "running": 0, "retrying": 0, "oldest_due_seconds": 0.0}
    return {"app": app, "source": "http", **counts, **changed}


def worker(host: str, **changed: Any) -> dict[str, Any]:
    about = {"pid": 81, "status": "busy", "running": 1, "threads": 4, "run_ms": 2.5, "beat_at": NOW}
    return {"host": host, **about, **changed}


def group(script: str, died_at: str) -> dict[str, Any]:
    error = {"code": "script_error", "message": "no such thing", "line": 2, "column": 4}
    return {"app": "shop", "script": script, "count": 7, "last_died_at": died_at, "last_error": error}


@pytest.fixture
def busy(server: FakeServer, page: Page) -> FakeServer:
    """A server with something of everything."""
    queues = [queue("blog", pending=2), queue("shop", pending=12, due=3, running=1, oldest_due_seconds=4.2)]
    broker = {"is_up": True, "sync": 0, "async": 7}
    server.on("GET", "/system/throughput", THROUGHPUT)
    server.on("GET", "/queues", {"apps": queues, "broker": broker, "workers": [worker("pi4"), worker("pi5")]})
    server.on("GET", "/system/stats", {"last_hour": {"failed": 1, "completed": 9}, "unresolved_dead_letters": 3})
    server.on("GET", "/dead-letters/groups", page(group("old", "2030-01-30T00:00:00Z"), group("new", NOW)))
    return server


def drawn(figures: Figures, view: View | None = None, **given: Any) -> str:
    about: dict[str, Any] = {"url": "http://server.test", "interval": 2.0, "size": (None, None)}
    history = {name: [1.0] for name in ("accepted", "completed", "failed")}
    given = {"history": history, **about, **given}
    return click.unstyle(frame(figures, view or View(), **given))


def figures(**changed: Any) -> Figures:
    document: dict[str, Any] = {
        "at": datetime(2030, 1, 31, tzinfo=UTC),
        "per_second": {"accepted": 0.0, "completed": 0.0, "failed": 0.0},
        "queues": (),
        "broker": {"is_up": True, "sync": 0, "async": 0},
        "workers": (),
        "last_hour": {},
        "unresolved": 0,
        "failures": (),
    }
    return Figures(**{**document, **changed})


def test_a_frame_has_throughput_queues_workers_and_failures(picloud: CommandLine, busy: FakeServer) -> None:
    result = picloud("top", "--once")
    assert result.exit_code == 0, result.output
    assert "accepted      12.5 /s" in result.stdout
    assert "failed         1.5 /s" in result.stdout  # those that died are among them
    assert "14 pending, 1 running, 7 in Redis" in result.stdout
    assert "2 of 8 threads run" in result.stdout
    assert "pi4:81  busy" in result.stdout
    assert "last hour: 9 completed, 1 failed; 3 unresolved" in result.stdout
    newest, oldest = (result.stdout.index(f"shop/{name}") for name in ("new", "old"))
    assert newest < oldest
    assert "new:2:4: no such thing" in result.stdout


def test_once_as_json_is_one_document(picloud: CommandLine, busy: FakeServer) -> None:
    document = json.loads(picloud("top", "--once", "--json").stdout)
    assert document["per_second"] == {"accepted": 12.5, "completed": 12.0, "failed": 1.5}
    assert [each["app"] for each in document["queues"]] == ["blog", "shop"]
    assert document["failures"][0]["script"] == "new"


def test_json_without_an_end_is_a_document_a_line_and_outlives_the_server(
    picloud: CommandLine, busy: FakeServer
) -> None:
    refused = httpx2.ConnectError("[Errno 111] Connection refused")
    busy.on("GET", "/system/throughput", THROUGHPUT, refused, refused, THROUGHPUT, KeyboardInterrupt())
    result = picloud("top", "--json", "--interval", "5")
    assert result.exit_code == 130
    assert [json.loads(line)["per_second"]["accepted"] for line in result.stdout.splitlines()] == [12.5, 12.5]
    assert result.stderr.count("http://server.test does not answer") == 1
    assert picloud.pauses == [5.0] * 4


def test_the_seconds_since_the_last_look_are_counted_and_the_costly_figures_asked_for_rarely(
    picloud: CommandLine, busy: FakeServer
) -> None:
    busy.on("GET", "/system/throughput", *[THROUGHPUT] * 4, KeyboardInterrupt())
    picloud("top", "--interval", "4")
    paths = [request.url.path.removeprefix("/api/v1") for request in busy.requests]
    seconds = [r.url.params["seconds"] for r in busy.requests if r.url.path.endswith("/throughput")]
    assert seconds == ["4.0"] * 5
    assert paths.count("/queues") == 4
    assert paths.count("/system/stats") == paths.count("/dead-letters/groups") == 2  # at 0 s and at 12 s


def test_a_key_that_may_not_see_the_installation_sees_its_queues(picloud: CommandLine, busy: FakeServer) -> None:
    for path in ("/system/throughput", "/system/stats"):
        busy.problem("GET", path, 403, "forbidden")
    busy.answers["GET", "/api/v1/queues"][0]["workers"] = []
    result = picloud("top", "--once")
    assert result.exit_code == 0
    assert result.stdout.count("for instance admins only") == 2
    assert "blog" in result.stdout


def test_a_server_that_never_answered_is_an_error_like_any_other(picloud: CommandLine, server: FakeServer) -> None:
    server.on("GET", "/system/throughput", httpx2.ConnectError("[Errno 111] Connection refused"))
    assert picloud("top").exit_code == 1


def test_a_look_without_an_answer_keeps_the_figures_and_says_since_when(
    picloud: CommandLine, server: FakeServer
) -> None:
    before, refused = figures(), httpx2.ConnectError("[Errno 111] Connection refused")
    server.on("GET", "/system/throughput", refused)
    with click.Context(command.top):
        reader = Reader(client_of(picloud), 2.0, lambda: 0.0)
        shown, since = command.look(reader, before, None)
        again, still = command.look(reader, shown, since)
    assert shown is again is before
    assert since is not None
    assert still == since
    assert f"no answer since {since.astimezone():%H:%M:%S}" in drawn(before, silent_since=since)


def client_of(picloud: CommandLine) -> Any:
    from picloud.cli.client import Client
    from picloud.profiles import load_profile

    return Client(load_profile(picloud.environ), transport=httpx2.MockTransport(picloud.server))


@pytest.mark.parametrize("width", [60, 80, 200])
def test_lines_fit_a_terminal_that_has_room_for_the_columns(width: int) -> None:
    many = figures(
        queues=(queue("a-very-long-name-of-an-app" * 2, pending=1_234_567),),
        workers=(worker("raspberrypi-in-the-cellar-behind-the-stairs"),),
        failures=(group("on_order" * 9, NOW),),
        last_hour={"completed": 123_456_789},
        unresolved=4,
    )
    assert max(len(line) for line in drawn(many, size=(width, 24)).splitlines()) <= width


def test_what_has_no_room_is_counted() -> None:
    many = figures(
        queues=tuple(queue(f"app{n}") for n in range(50)),
        workers=tuple(worker(f"pi{n}") for n in range(50)),
        failures=tuple(group(f"script{n}", NOW) for n in range(9)),
    )
    for height in (24, 30, 50):
        lines = drawn(many, size=(80, height)).splitlines()
        assert len(lines) <= height - 2  # a gap and the keys
        assert sum("more" in line for line in lines) == 2
    assert len(drawn(many).splitlines()) > 100


def test_no_worker_and_no_redis_stand_out() -> None:
    shown = drawn(figures(broker={"is_up": False, "sync": 0, "async": 0}))
    assert "Redis does not answer: what is accepted waits in PostgreSQL" in shown
    assert "none: nothing will run" in shown


def test_text_of_others_cannot_take_over_the_terminal() -> None:
    error = {"code": "script_error", "message": "\x1b]0;title\x07"}
    shown = drawn(figures(failures=(group("x", NOW) | {"last_error": error},), queues=(queue("\x1b[2J"),)))
    assert "\x1b" not in shown
    assert "\\x1b]0;title\\x07" in shown


@pytest.mark.parametrize(("sort", "first"), [("busiest", "shop"), ("oldest", "late"), ("app", "blog")])
def test_queues_are_sorted_as_chosen(sort: str, first: str) -> None:
    queues = (queue("late", due=1, oldest_due_seconds=99.0), queue("shop", running=5), queue("blog"))
    lines = drawn(figures(queues=queues), View(sort=sort)).splitlines()
    assert lines[lines.index(next(line for line in lines if line.startswith("APP"))) + 1].startswith(first)


def test_keys_change_the_view_and_others_do_not() -> None:
    view = View()
    assert [pressed(view, key).is_left for key in ("q", "\x1b", "x", "", "\x1b[A")] == [True, True, False, False, False]
    assert pressed(pressed(view, "p"), "p") == view
    assert [pressed(view, key).sort for key in ("1", "2", "3")] == ["busiest", "oldest", "app"]
    assert pressed(pressed(pressed(view, "s"), "s"), "s") == view
    assert "go on" in click.unstyle(keys(pressed(view, "p")))


def test_a_sparkline_has_one_scale() -> None:
    assert sparkline([0, 1, 4, 8], 4, 8.0) == "·▂▅█"
    assert sparkline([5, 0], 1, 8.0) == "·"


def test_the_keyboard_gives_keys_without_a_line_end_and_the_terminal_back() -> None:
    controller, terminal = pty.openpty()
    try:
        before = termios.tcgetattr(terminal)
        with keys_of(terminal) as key_within:
            assert key_within(0.0) == ""
            os.write(controller, b"p")
            assert key_within(5.0) == "p"
            os.write(controller, b"\x1b[A")
            assert key_within(5.0) == "\x1b[A"
        assert termios.tcgetattr(terminal) == before
    finally:
        os.close(controller)
        os.close(terminal)
