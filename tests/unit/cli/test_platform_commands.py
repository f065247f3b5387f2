"""The processes, doctor, queues, and what is managed."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from picloud.cli.commands import processes
from picloud.profiles import load_profiles
from picloud.settings import Settings
from tests.unit.cli.conftest import TOKEN, URL, CommandLine, FakeServer

Page = Callable[..., dict[str, Any]]

NOW = "2030-01-31T12:00:00Z"
BOOKS = {
    "accepted": 1_234,
    "completed": 1_200,
    "failed": 10,
    "dead": 9,
    "cancelled": 8,
    "depth_exceeded": 0,
    "pending": 5,
    "running": 2,
    "balanced": True,
}
QUEUES: dict[str, Any] = {
    "apps": [
        {
            "app": "shop",
            "source": "http",
            "pending": 12,
            "due": 3,
            "published": 0,
            "running": 1,
            "retrying": 2,
            "oldest_due_seconds": 4.2,
        }
    ],
    "broker": {"is_up": True, "sync": 0, "async": 7},
    "workers": [
        {"host": "pi4", "pid": 81, "status": "busy", "running": 1, "threads": 4, "takes_sync": False, "run_ms": 2.5}
    ],
}
STATS = {"last_hour": {"failed": 1, "completed": 9}, "unresolved_dead_letters": 3}


# processes


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Settings, dict[str, Any]]]:
    """What the processes were started with; each ends with 5."""
    calls: list[tuple[Settings, dict[str, Any]]] = []

    def run(settings: Settings, **options: Any) -> int:
        calls.append((settings, options))
        return 5

    class Found(EntryPoint):
        def load(self) -> Any:
            return run

    def find(*, group: str, name: str) -> list[EntryPoint]:
        assert group == "picloud.processes"
        return [Found(name, "x:y", group)]

    monkeypatch.setattr(processes, "entry_points", find)
    return calls


@pytest.mark.parametrize("name", ["web", "relay", "mail"])
def test_a_process_is_found_by_its_name_and_its_exit_code_is_passed_on(
    picloud: CommandLine, started: list[tuple[Settings, dict[str, Any]]], name: str
) -> None:
    picloud.environ["PICLOUD_BIND"] = "0.0.0.0:9"
    assert picloud(name).exit_code == 5
    ((settings, options),) = started
    assert (settings.bind, options) == ("0.0.0.0:9", {})


def test_a_worker_takes_its_size_from_the_line(
    picloud: CommandLine, started: list[tuple[Settings, dict[str, Any]]]
) -> None:
    picloud.environ["PICLOUD_WORKER_THREADS"] = "9"
    picloud("worker", "--processes", "0", "--no-sync")
    picloud("worker", "--threads", "2")
    sizes = [(each.worker_processes, each.worker_threads, options) for each, options in started]
    assert sizes == [(0, 9, {"takes_sync": False}), (1, 2, {"takes_sync": True})]


def test_an_installation_without_the_process_says_so(picloud: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "entry_points", lambda **_: [])
    result = picloud("web")
    assert result.exit_code == 1
    assert "this installation has no web process" in result.stderr


def test_up_hands_its_options_to_the_platform(picloud: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    from picloud.local import up

    seen: list[Settings] = []

    def run_up(settings: Settings, **_: Any) -> int:
        seen.append(settings)
        return 0

    monkeypatch.setattr(up, "run_up", run_up)
    assert picloud("up", "--data", "/d", "--bind", "127.0.0.1:9", "--workers", "2").exit_code == 0
    assert (str(seen[0].data_dir), seen[0].bind, seen[0].worker_processes) == ("/d", "127.0.0.1:9", 2)


def test_up_checks_its_options_by_the_rules_of_the_settings(picloud: CommandLine) -> None:
    result = picloud("up", "--bind", "nowhere")
    assert result.exit_code == 1
    assert "expected HOST:PORT" in result.stderr


def test_migrate_needs_a_database(picloud: CommandLine, tmp_path: Path) -> None:
    result = picloud("migrate", "--data", str(tmp_path / "none"))
    assert result.exit_code == 1
    assert "PICLOUD_DATABASE_URL is not set" in result.stderr


# doctor


def test_the_proof_is_shown_as_a_sum(picloud: CommandLine, server: FakeServer) -> None:
    server.on("GET", "/system/books", BOOKS)
    result = picloud("doctor", "--prove")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "  1,234  accepted",
        "= 1,200  completed",
        "+    10  failed",
        "+     9  dead",
        "+     8  cancelled",
        "+     0  depth_exceeded",
        "+     5  pending",
        "+     2  running",
    ]
    assert json.loads(picloud("doctor", "--prove", "--json").stdout) == BOOKS


def test_a_sum_that_does_not_come_out_fails(picloud: CommandLine, server: FakeServer) -> None:
    server.on("GET", "/system/books", {**BOOKS, "accepted": 1_235, "balanced": False})
    result = picloud("doctor", "--prove")
    assert result.exit_code == 1
    assert result.stderr == "the sum does not come out: it is 1,234, 1 off\n"


def test_doctor_looks_at_this_machine_and_at_the_server(
    picloud: CommandLine, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from picloud import doctor as checks

    found = [checks.Check("disk", "warn", "nearly full", "free some space")]
    monkeypatch.setattr(checks, "run_checks", lambda _settings: list(found))
    server.on("GET", "/me", {"name": "admin"})
    result = picloud("doctor")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "warn  disk    nearly full",
        "              free some space",
        f"ok    server  {URL} answers, as admin",
    ]
    server.problem("GET", "/me", 503, "storage_unavailable")
    failed = picloud("doctor", "--json")
    assert failed.exit_code == 1
    assert [check["status"] for check in json.loads(failed.stdout)] == ["warn", "fail"]


# queues


def test_queues_tell_what_waits_where_it_runs_and_what_fails(picloud: CommandLine, server: FakeServer) -> None:
    server.on("GET", "/queues", QUEUES)
    server.on("GET", "/system/stats", STATS)
    lines = picloud("queues").stdout.splitlines()
    assert lines[0].split() == ["APP", "SOURCE", "PENDING", "DUE", "PUBLISHED", "RUNNING", "RETRYING", "OLDEST", "DUE"]
    assert lines[1].split() == ["shop", "http", "12", "3", "·", "1", "2", "4.2", "s"]
    assert lines[3:] == [
        "worker   pi4 (pid 81): busy, 1 of 4 threads run, async only, 2.5 ms a run",
        "broker   0 sync and 7 async messages",
        "hour     9 completed, 1 failed",
        "dead     3 unresolved: `picloud dead-letters ls --resolution unresolved`",
    ]


def test_queues_for_members_tell_what_waits_and_nothing_of_workers(picloud: CommandLine, server: FakeServer) -> None:
    server.on("GET", "/queues", QUEUES | {"workers": []})
    server.problem("GET", "/system/stats", 403, "permission_denied")
    result = picloud("queues")
    assert result.exit_code == 0
    assert [line.split()[0] for line in result.stdout.splitlines() if line] == ["APP", "shop", "broker"]


def test_queues_for_programs_are_what_the_server_says(picloud: CommandLine, server: FakeServer) -> None:
    server.on("GET", "/queues", QUEUES)
    assert json.loads(picloud("queues", "shop", "--json").stdout) == QUEUES
    assert server.requests[-1].url.query == b"app=shop"


def test_an_outage_of_the_broker_and_a_missing_worker_are_seen(picloud: CommandLine, server: FakeServer) -> None:
    server.on("GET", "/queues", {"apps": [], "workers": [], "broker": {"is_up": False, "sync": 0, "async": 0}})
    server.on("GET", "/system/stats", {"last_hour": {}, "unresolved_dead_letters": 0})
    told = picloud("queues").stdout
    assert "nothing waits and nothing runs" in told
    assert "none: nothing will run" in told
    assert "does not answer: what is accepted waits in PostgreSQL" in told


def test_watching_looks_again_every_second(picloud: CommandLine, server: FakeServer) -> None:
    server.on("GET", "/queues", QUEUES, QUEUES, KeyboardInterrupt())
    server.on("GET", "/system/stats", STATS)
    result = picloud("queues", "--watch")
    assert result.exit_code == 130
    assert result.stdout.count("OLDEST DUE") == 2
    assert picloud.pauses == [1.0, 1.0]


def test_watching_and_one_document_exclude_each_other(picloud: CommandLine) -> None:
    assert picloud("queues", "--watch", "--json").exit_code == 2


# managing


def test_what_is_removed_is_asked_for_first(picloud: CommandLine, server: FakeServer) -> None:
    result = picloud("apps", "rm", "shop")
    assert result.exit_code == 2
    assert "this needs --yes when nobody can be asked" in result.stderr
    assert server.requests == []
    server.on("DELETE", "/apps/shop", {"app": "shop", "cancelled": 2})
    assert json.loads(picloud("apps", "rm", "shop", "--yes", "--json").stdout) == {"app": "shop", "cancelled": 2}


def test_scripts_of_all_apps_are_listed_together_and_the_limit_holds_for_all(
    picloud: CommandLine, server: FakeServer, page: Page
) -> None:
    server.on("GET", "/apps", page({"name": "a"}, {"name": "b"}))
    server.on("GET", "/apps/a/scripts", page({"name": "x"}, {"name": "y"}))
    server.on("GET", "/apps/b/scripts", page({"name": "z"}))
    names = [row["name"] for row in json.loads(picloud("scripts", "ls", "--json").stdout)]
    assert names == ["x", "y", "z"]
    names = [row["name"] for row in json.loads(picloud("scripts", "ls", "--json", "--limit", "1").stdout)]
    assert names == ["x"]


@pytest.mark.parametrize("words", [("a",), ("--app", "a"), ("a", "--app", "a")], ids=" ".join)
def test_an_app_is_named_as_a_word_or_as_a_filter(
    picloud: CommandLine, server: FakeServer, page: Page, words: tuple[str, ...]
) -> None:
    server.on("GET", "/apps/a/routes", page())
    assert picloud("routes", "ls", *words, "--json").stdout == "[]\n"


def test_two_different_apps_at_once_are_a_usage_error(picloud: CommandLine) -> None:
    assert picloud("routes", "ls", "a", "--app", "b").exit_code == 2


def test_a_rollback_goes_to_the_version_before_or_to_the_one_named(picloud: CommandLine, server: FakeServer) -> None:
    server.on("POST", "/apps/a/scripts/x/rollback", {"version": 2})
    assert picloud("scripts", "rollback", "a", "x").stderr == "a/x runs version 2\n"
    picloud("scripts", "rollback", "a", "x", "1")
    assert server.bodies == [{}, {"version": 1}]


def test_the_source_of_a_script_goes_into_a_file_unchanged(picloud: CommandLine, server: FakeServer) -> None:
    server.on("GET", "/apps/a/scripts/x", {"source": "print(1)\n\n"})
    assert picloud("scripts", "show", "a", "x", "--source").stdout == "print(1)\n\n"


def test_a_new_key_is_printed_alone_so_that_it_can_be_kept(picloud: CommandLine, server: FakeServer) -> None:
    server.on("POST", "/keys", {"id": 2, "name": "ci", "key": "pic_new", "details": {}})
    result = picloud("keys", "create", "ci", "--expires", NOW)
    assert result.stdout == "pic_new\n"
    assert server.bodies == [{"name": "ci", "expires_at": NOW}]


def test_a_key_from_the_database_asks_no_server_and_needs_the_database(picloud: CommandLine, tmp_path: Path) -> None:
    picloud.environ["PICLOUD_DATA_DIR"] = str(tmp_path / "none")
    result = picloud("keys", "create", "first", "--from-database")
    assert result.exit_code == 1
    assert "PICLOUD_DATABASE_URL is not set" in result.stderr
    picloud.environ["PICLOUD_DATABASE_URL"] = "postgresql://nobody@127.0.0.1:1/none"
    result = picloud("keys", "create", "first", "--from-database")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: PostgreSQL does not answer: ")
    assert picloud("keys", "create", "first", "--from-database", "--expires", "1d").exit_code == 2


# connecting


def test_login_checks_the_key_before_it_keeps_it(picloud: CommandLine, server: FakeServer) -> None:
    environ = {"PICLOUD_CONFIG": picloud.environ["PICLOUD_CONFIG"]}
    picloud.environ = environ
    server.problem("GET", "/me", 401, "invalid_key", "not valid")
    assert picloud("login", "http://server.test/", stdin="pic_wrong\n").exit_code == 4
    assert load_profiles(environ).by_name == {}
    server.on("GET", "/me", {"name": "admin"})
    result = picloud("login", "http://server.test/", stdin=f"{TOKEN}\n")
    assert result.exit_code == 0
    assert TOKEN not in result.output
    assert server.requests[-1].headers["authorization"] == f"Bearer {TOKEN}"
    assert json.loads(picloud("context", "ls", "--json").stdout) == [
        {"id": "server.test", "name": "server.test", "url": URL, "current": True}
    ]


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("picloud.example.org", "https://picloud.example.org"),
        ("localhost:8000", "http://localhost:8000"),
        ("127.0.0.1:8000/", "http://127.0.0.1:8000"),
        ("https://example.org/picloud/", "https://example.org/picloud"),
    ],
)
def test_what_a_person_types_becomes_a_url(picloud: CommandLine, server: FakeServer, given: str, url: str) -> None:
    environ = {"PICLOUD_CONFIG": picloud.environ["PICLOUD_CONFIG"]}
    picloud.environ = environ
    path = url.split("/", 3)[3:]
    server.answers["GET", "/" + "/".join([*path, "api/v1/me"])] = [{"name": "admin"}]
    assert picloud("login", given, "--name", "it", stdin="pic_x\n").exit_code == 0
    assert load_profiles(environ).by_name["it"].url == url


@pytest.mark.parametrize("given", ["ftp://x", "http://", "http://me:pw@x", "http://x?a=1", "http://[::1"])
def test_what_is_no_server_is_a_usage_error(picloud: CommandLine, given: str) -> None:
    assert picloud("login", given, stdin="pic_x\n").exit_code == 2


def test_an_empty_key_is_refused(picloud: CommandLine) -> None:
    assert picloud("login", "http://server.test", stdin="\n").exit_code == 1


def test_a_command_can_be_sent_to_another_known_server(picloud: CommandLine, server: FakeServer) -> None:
    server.on("GET", "/me", {"name": "admin"})
    server.on("GET", "/apps", {"items": [], "next": None})
    picloud("login", "http://other.test", "--name", "other", stdin="pic_other\n")
    picloud("apps", "ls", "--context", "other")
    assert server.requests[-1].url.host == "other.test"
    assert server.requests[-1].headers["authorization"] == "Bearer pic_other"
    assert picloud("apps", "ls", "--context", "nobody").exit_code == 5


def test_the_current_server_is_changed_by_name(picloud: CommandLine, server: FakeServer) -> None:
    server.on("GET", "/me", {"name": "admin"})
    for name in ("one", "two"):
        picloud("login", f"http://{name}.test", "--name", name, stdin="pic_x\n")
    told = picloud("context", "use", "one").stderr.splitlines()
    assert told == ["now talking to http://one.test", "PICLOUD_URL is set, and wins over this until it is unset"]
    assert picloud("context", "use", "three").exit_code == 5
    assert load_profiles(picloud.environ).current == "one"
