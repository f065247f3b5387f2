"""The command line against a running platform: the shapes and exit codes of the contract, section 1."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.running import PICLOUD, Platform, running_platform

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(180)]

RFC_3339_UTC = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")

MANIFEST = """
[app]
name = "shop"

[[script]]
file = "scripts/slow.rhai"
timeout_seconds = 0.05

[[route]]
method = "POST"
path = "/orders/:id"
script = "scripts/fails.rhai"
dispatch_mode = "async"
"""
SCRIPTS = {
    "fails": 'log::warn("no luck", #{ n: 1 }); throw "out of stock";',
    "works": "#{ got: ctx.event.args, id: ctx.execution_id }",
    "slow": "loop { }",
    "lib/text": '"plain"',
}


def fields(names: str) -> set[str]:
    return set(names.split())


EXECUTION_FIELDS = fields(
    "id app script version status attempts result error logs root_execution_id trigger_depth created_at finished_at"
)


@pytest.fixture(scope="module")
def platform() -> Iterator[Platform]:
    """A platform with the app ``shop``, where a failing run dies at once."""
    with running_platform(PICLOUD_TRIGGER_RETRY_MAX_ATTEMPTS="2", PICLOUD_TRIGGER_RETRY_BASE_MS="10") as platform:
        folder = platform.folder / "shop"
        for name, source in SCRIPTS.items():
            path = folder / "scripts" / f"{name}.rhai"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(source)
        (folder / "picloud.toml").write_text(MANIFEST)
        platform.picloud("deploy", "shop")
        yield platform


def read(platform: Platform, *arguments: str, expect_code: int = 0) -> Any:
    return json.loads(platform.picloud(*arguments, "--json", expect_code=expect_code))


@pytest.fixture(scope="module")
def dead(platform: Platform) -> str:
    """The id of an execution that ended as a dead letter; tests leave it as it is."""
    return die(platform)


def die(platform: Platform) -> str:
    """Run what fails, until it is a dead letter."""
    execution_id = platform.picloud("invoke", "shop", "fails", "--async", "--data", '{"n": 1}').strip()
    assert read(platform, "executions", "show", execution_id, "--wait", "60")["status"] == "dead"
    return execution_id


def test_a_second_deploy_changes_nothing(platform: Platform) -> None:
    assert read(platform, "deploy", "shop")["unchanged"] is True
    assert "nothing to change" in platform.picloud("deploy", "shop", "--dry-run")


def test_an_execution_is_shown_in_the_shape_of_the_contract(platform: Platform, dead: str) -> None:
    shown = read(platform, "executions", "show", dead)
    assert set(shown) >= EXECUTION_FIELDS
    assert (shown["app"], shown["script"], shown["version"], shown["attempts"]) == ("shop", "fails", 1, 2)
    assert shown["error"]["message"] == "out of stock"
    assert [line["message"] for line in shown["logs"]] == ["no luck", "no luck"]
    assert RFC_3339_UTC.fullmatch(shown["created_at"])
    assert RFC_3339_UTC.fullmatch(shown["finished_at"])


def test_a_dead_letter_is_shown_in_the_shape_of_the_contract(platform: Platform, dead: str) -> None:
    shown = read(platform, "dead-letters", "show", dead)
    assert fields("id app source script trigger event attempts last_error resolution execution_id") <= set(shown)
    assert shown["event"] == {"args": {"n": 1}}
    assert shown["last_error"]["message"] == "out of stock"
    for number, attempt in enumerate(shown["attempts"], start=1):
        assert fields("attempt error started_at finished_at logs") <= set(attempt)
        assert attempt["attempt"] == number
    assert len(shown["attempts"]) == 2


@pytest.mark.parametrize(
    "words",
    [
        "apps ls",
        "scripts ls",
        "scripts ls shop",
        "scripts versions shop works",
        "routes ls",
        "domains ls shop",
        "keys ls",
        "executions ls",
        "executions ls --app shop --script fails --source invoke --status dead --since 1h --limit 1",
        "outbox ls",
        "outbox ls --app shop --status running",
        "dead-letters ls",
        "dead-letters ls --app shop --resolution unresolved --since 1h",
        "workers ls",
        "context ls",
    ],
)
def test_every_list_is_an_array_of_objects_with_ids(platform: Platform, dead: str, words: str) -> None:
    rows = read(platform, *words.split())
    assert isinstance(rows, list)
    assert all("id" in row for row in rows)
    if not words.startswith(("outbox", "domains")):
        assert rows
    platform.picloud(*words.split())


def test_queues_have_the_shape_of_the_contract(platform: Platform, dead: str) -> None:
    shown = read(platform, "queues")
    assert fields("apps broker workers") <= set(shown)
    (worker, *_) = shown["workers"]
    assert worker["threads"] > 0
    text = platform.picloud("queues")
    assert worker["host"] in text
    assert "unresolved" in text


def test_what_waits_is_counted_and_can_be_taken_back(platform: Platform) -> None:
    letter = die(platform)
    platform.picloud("pause", "shop")
    try:
        (replayed,) = (each["execution_id"] for each in read(platform, "dead-letters", "replay", letter))
        (waiting,) = read(platform, "queues", "shop")["apps"]
        assert fields("app source pending due published running retrying oldest_due_seconds") <= set(waiting)
        assert (waiting["app"], waiting["source"], waiting["pending"]) == ("shop", "invoke", 1)
        assert [row["id"] for row in read(platform, "outbox", "ls")] == [replayed]
        assert read(platform, "outbox", "show", replayed)["event"] == {"args": {"n": 1}}
        platform.picloud("outbox", "cancel", replayed)
        platform.picloud("outbox", "cancel", replayed, expect_code=6)
        assert read(platform, "executions", "show", replayed)["status"] == "cancelled"
    finally:
        platform.picloud("resume", "shop")


def test_the_books_balance_and_are_shown_as_a_sum(platform: Platform, dead: str) -> None:
    books = read(platform, "doctor", "--prove")
    entries = ["completed", "failed", "dead", "cancelled", "depth_exceeded", "pending", "running"]
    assert set(books) == {"accepted", "balanced", *entries}
    assert books["accepted"] == sum(books[entry] for entry in entries) > 0
    assert books["balanced"] is True
    assert re.search(r"^= +\d+  completed$", platform.picloud("doctor", "--prove"), re.MULTILINE)


def test_the_result_of_a_script_is_all_there_is_on_standard_output(platform: Platform) -> None:
    assert platform.picloud("invoke", "shop", "lib/text") == "plain\n"
    assert json.loads(platform.picloud("invoke", "shop", "works", "--data", "[1]"))["got"] == [1]


def test_how_a_command_ended_is_told_by_its_exit_code(platform: Platform, dead: str) -> None:
    unknown = "019a1b2c-3d4e-7f50-8a6b-7c8d9e0f1a2b"
    platform.picloud("invoke", "shop", "fails", expect_code=3)
    platform.picloud("invoke", "shop", "slow", expect_code=7)
    platform.picloud("invoke", "shop", "nothing", expect_code=5)
    platform.picloud("executions", "show", unknown, expect_code=5)
    platform.picloud("apps", "create", "shop", expect_code=6)
    platform.picloud("apps", "create", "Not A Host", expect_code=1)
    platform.picloud("invoke", expect_code=2)


def test_logs_are_printed_and_followed(platform: Platform, dead: str) -> None:
    lines = read(platform, "logs", "--execution", dead)
    assert [(line["level"], line["message"], line["attempt"]) for line in lines] == [
        ("warn", "no luck", 1),
        ("warn", "no luck", 2),
    ]
    command = [str(PICLOUD), "logs", "-f", "shop", "--json"]
    with subprocess.Popen(command, env=platform.environment, stdout=subprocess.PIPE, text=True) as followed:
        try:
            assert followed.stdout is not None
            assert json.loads(followed.stdout.readline())["app"] == "shop"
            platform.picloud("invoke", "shop", "fails", expect_code=3)
            ran = read(platform, "executions", "ls", "--app", "shop", "--limit", "1")[0]["id"]
            assert any(json.loads(line)["execution_id"] == ran for line in followed.stdout)
        finally:
            followed.terminate()


def test_a_key_made_from_the_database_opens_the_door(platform: Platform, tmp_path: Path) -> None:
    home = platform.environment["HOME"]
    beside = {**platform.environment, "PICLOUD_DATA_DIR": f"{home}/data", "PICLOUD_CONFIG": str(tmp_path / "c.toml")}

    def picloud(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [PICLOUD, *arguments], env=beside, input=stdin, capture_output=True, text=True, check=False, timeout=60
        )

    assert picloud("apps", "ls").returncode == 4
    key = picloud("keys", "create", "first", "--from-database").stdout
    assert picloud("login", platform.url, stdin=key).returncode == 0
    assert "shop" in picloud("apps", "ls").stdout
    (made,) = [each for each in read(platform, "keys", "ls") if each["name"] == "first"]
    platform.picloud("keys", "rm", str(made["id"]), "--yes")
    assert picloud("apps", "ls").returncode == 4


def test_a_person_signs_in_by_password_and_may_what_their_roles_allow(platform: Platform, tmp_path: Path) -> None:
    home, password = platform.environment["HOME"], "correct horse battery"
    beside = {**platform.environment, "PICLOUD_DATA_DIR": f"{home}/data", "PICLOUD_CONFIG": str(tmp_path / "c.toml")}

    def anna(*arguments: str, code: int = 0, stdin: str = "") -> str:
        done = subprocess.run(
            [PICLOUD, *arguments], env=beside, input=stdin, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    assert anna("users", "setup-link").startswith(f"{platform.url}/setup#")
    anna("users", "create", "olga", "--role", "owner", "--from-database", stdin=f"{password}\n")
    anna("users", "setup-link", code=6)
    platform.picloud("users", "create", "anna", given=f"{password}\n")
    anna("login", platform.url, "--user", "anna", stdin="not the password\n", code=4)
    anna("login", platform.url, "--user", "anna", stdin=f"{password}\n")
    assert read(platform, "users", "show", "anna")["apps"] == {}
    assert json.loads(anna("whoami", "--json"))["name"] == "anna"
    assert json.loads(anna("apps", "ls", "--json")) == []
    platform.picloud("members", "add", "shop", "anna")
    assert [each["name"] for each in json.loads(anna("apps", "ls", "--json"))] == ["shop"]
    anna("pause", "shop", code=1)
    anna("users", "password", stdin=f"{password}\nan other horse\n")
    platform.picloud("users", "disable", "anna", "--yes")
    anna("whoami", code=4)
    platform.picloud("users", "enable", "anna")
    anna("logout")
    anna("whoami", code=4)
    anna("users", "password", "olga", "--from-database", stdin="an other horse\n")
    anna("login", platform.url, "--user", "olga", stdin=f"{password}\n", code=4)
    anna("login", platform.url, "--user", "olga", stdin="an other horse\n")
    assert "olga" in anna("users", "ls")
    actions = [each["action"] for each in read(platform, "audit", "ls", "--object", "anna")]
    assert {"create_user", "sign_in", "sign_in_failed", "put_member", "change_password", "change_user"} <= set(actions)
    by_hand = [each for each in read(platform, "audit", "ls", "--object", "olga") if each["principal"] == "local"]
    assert [(each["action"], each["credential"]) for each in by_hand] == [
        ("reset_password", "this machine"),
        ("create_user", "this machine"),
    ]


def test_on_a_terminal_queues_are_watched_until_ctrl_c(platform: Platform) -> None:
    child, terminal = pty.fork()
    if child == 0:
        os.execve(PICLOUD, [str(PICLOUD), "queues", "--watch"], {**platform.environment, "TERM": "xterm"})
    seen = b""
    while b"broker" not in seen:
        seen += os.read(terminal, 65_536)
    os.write(terminal, b"\x03")
    _, status = os.waitpid(child, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 130
