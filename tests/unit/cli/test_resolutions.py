"""dead-letters: replayed, ignored, edited and shown, one or all of them."""

from __future__ import annotations

import json
from typing import Any

import click
import httpx2
import pytest

from tests.unit.cli.conftest import CommandLine, FakeServer
from tests.unit.cli.test_run_commands import EXECUTION, ID, LINE, NOW, OTHER


def test_several_letters_are_replayed_one_by_one(picloud: CommandLine, server: FakeServer) -> None:
    server.on("POST", f"/dead-letters/{ID}/replay", {"id": ID, "execution_id": "e1"})
    server.on("POST", f"/dead-letters/{OTHER}/replay", {"id": OTHER, "execution_id": "e2"})
    done = picloud("dead-letters", "replay", ID, OTHER)
    assert done.stdout.splitlines() == [f"{ID} runs again as e1", f"{OTHER} runs again as e2"]


def test_what_was_replayed_is_told_though_another_failed(picloud: CommandLine, server: FakeServer) -> None:
    server.on("POST", f"/dead-letters/{ID}/replay", {"id": ID, "execution_id": "e1"})
    server.problem("POST", f"/dead-letters/{OTHER}/replay", 404, "not_found")
    done = picloud("dead-letters", "replay", OTHER, ID, "--json")
    assert done.exit_code == 5
    assert json.loads(done.stdout) == [{"id": ID, "execution_id": "e1"}]


def test_a_letter_that_fails_does_not_keep_the_others_from_their_turn(picloud: CommandLine, server: FakeServer) -> None:
    server.problem("POST", f"/dead-letters/{ID}/ignore", 409, "already_resolved", "replayed already")
    server.on("POST", f"/dead-letters/{OTHER}/ignore", {"id": OTHER})
    done = picloud("dead-letters", "ignore", ID, OTHER, "--reason", "test")
    assert done.exit_code == 6
    assert done.stderr.splitlines() == ["ignored 1 of 2", "error: replayed already"]
    assert server.bodies == [{"reason": "test"}, {"reason": "test"}]


def test_a_dry_run_counts_and_replays_nothing(picloud: CommandLine, server: FakeServer) -> None:
    server.on("POST", "/dead-letters/replay", {"dry_run": True, "matched": 3, "replayed": []})
    done = picloud("dead-letters", "replay", "--all", "--app", "shop", "--dry-run")
    assert done.stdout == "3 would be replayed\n"
    assert server.bodies == [{"app": "shop", "limit": 10_000, "dry_run": True}]


def replayed(matched: int, *executions: str) -> dict[str, Any]:
    done = [{"id": ID, "execution_id": execution} for execution in executions]
    return {"dry_run": False, "matched": matched, "replayed": done, "last_at": None}


def test_all_letters_that_fit_are_replayed_in_one_call(picloud: CommandLine, server: FakeServer) -> None:
    server.on("POST", "/dead-letters/replay", replayed(1, "e1"))
    done = picloud("dead-letters", "replay", "--all", "--script", "orders", "--since", NOW)
    assert (done.stdout, done.stderr) == (f"{ID} runs again as e1\n", "")
    assert server.bodies == [{"script": "orders", "since": NOW, "limit": 10_000, "dry_run": False}]


def test_more_letters_than_one_call_takes_are_replayed_in_several(picloud: CommandLine, server: FakeServer) -> None:
    # Another one has died when the second call is made: it is not this command's.
    server.on("POST", "/dead-letters/replay", replayed(3, "e1", "e2"), replayed(2, "e3"))
    done = picloud("dead-letters", "replay", "--all")
    assert [line.rpartition(" ")[2] for line in done.stdout.splitlines()] == ["e1", "e2", "e3"]
    assert done.stderr == "replayed 2 of 3\n"
    assert [body["limit"] for body in server.bodies] == [10_000, 1]


def test_a_replay_of_many_stops_where_the_server_fails(picloud: CommandLine, server: FakeServer) -> None:
    problem = {"code": "storage_unavailable", "detail": "PostgreSQL does not answer"}
    server.on("POST", "/dead-letters/replay", replayed(3, "e1", "e2"), httpx2.Response(503, json=problem))
    done = picloud("dead-letters", "replay", "--all", "--json")
    assert [each["execution_id"] for each in json.loads(done.stdout)] == ["e1", "e2"]
    assert (done.exit_code, len(server.bodies)) == (1, 2)
    assert "1 are left: the server failed" in done.stderr.splitlines()


def test_letters_whose_script_is_gone_end_a_replay_of_many(picloud: CommandLine, server: FakeServer) -> None:
    server.on("POST", "/dead-letters/replay", replayed(3, "e1", "e2"), replayed(1))
    done = picloud("dead-letters", "replay", "--all")
    assert done.exit_code == 0
    assert done.stderr.splitlines()[-1].startswith("1 are left: their script is gone")
    assert len(server.bodies) == 2


@pytest.mark.parametrize("arguments", [("--limit", "2"), ("--rate", "10/s")], ids=lambda given: given[0])
def test_a_limit_or_a_rate_makes_it_one_call(
    picloud: CommandLine, server: FakeServer, arguments: tuple[str, ...]
) -> None:
    server.on("POST", "/dead-letters/replay", replayed(3, "e1", "e2"))
    done = picloud("dead-letters", "replay", "--all", *arguments)
    assert done.stderr.startswith("1 are left")
    assert len(server.bodies) == 1


def test_all_letters_that_fit_are_ignored_in_as_many_calls(picloud: CommandLine, server: FakeServer) -> None:
    first, second = ({"dry_run": False, "matched": matched, "ignored": [{"id": ID}]} for matched in (2, 1))
    server.on("POST", "/dead-letters/ignore", first, second)
    done = picloud("dead-letters", "ignore", "--all", "--reason", "test")
    assert done.stderr.splitlines() == ["ignored 1 of 2", "ignored 2"]
    assert [body["reason"] for body in server.bodies] == ["test", "test"]


@pytest.mark.parametrize("arguments", [(), (ID, "--all"), (ID, "--app", "shop")], ids=len)
def test_it_must_be_clear_which_letters_are_meant(picloud: CommandLine, arguments: tuple[str, ...]) -> None:
    assert picloud("dead-letters", "replay", *arguments).exit_code == 2


def test_an_event_is_edited_in_the_editor(
    picloud: CommandLine, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.on("GET", f"/dead-letters/{ID}", {"event": {"a": 1}})
    server.on("PATCH", f"/dead-letters/{ID}", {"id": ID})
    monkeypatch.setattr(click, "edit", lambda text, **_: text.replace("1", "2"))
    assert picloud("dead-letters", "edit", ID).exit_code == 0
    assert server.bodies == [{"event": {"a": 2}}]


@pytest.mark.parametrize("left", [None, '{\n  "a": 1\n}\n'], ids=["not saved", "not changed"])
def test_an_edit_that_changes_nothing_sends_nothing(
    picloud: CommandLine, server: FakeServer, monkeypatch: pytest.MonkeyPatch, left: str | None
) -> None:
    server.on("GET", f"/dead-letters/{ID}", {"event": {"a": 1}})
    monkeypatch.setattr(click, "edit", lambda *_, **__: left)
    done = picloud("dead-letters", "edit", ID)
    assert (done.exit_code, done.stderr) == (0, "nothing was changed\n")
    assert server.bodies == []


def test_an_edit_that_is_no_json_is_told_with_its_place(
    picloud: CommandLine, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.on("GET", f"/dead-letters/{ID}", {"event": {"a": 1}})
    monkeypatch.setattr(click, "edit", lambda *_, **__: '{"a": }')
    done = picloud("dead-letters", "edit", ID)
    assert done.exit_code == 2
    assert "line 1, column 7" in done.stderr
    assert server.bodies == []


def test_a_letter_is_shown_with_every_attempt(picloud: CommandLine, server: FakeServer) -> None:
    attempt = {"attempt": 1, "error": EXECUTION["error"], "started_at": NOW, "finished_at": NOW, "logs": [LINE]}
    letter = {
        **EXECUTION,
        "resolution": "unresolved",
        "resolved_by": None,
        "resolution_note": None,
        "replayed_as": None,
        "reason": "retries_exhausted",
        "accepted_at": NOW,
        "died_at": NOW,
        "last_error": EXECUTION["error"],
        "event": {"body": {"n": 2}},
        "edited_from": {"body": {"n": 1}},
        "is_edited": True,
        "resolved_at": None,
        "fingerprint": "5f0c2a9be41d",
        "queue": None,
        "order_key": None,
        "replay_status": None,
        "attempts": [attempt],
        "handlers": [
            {
                "execution_id": OTHER,
                "script": "on_dead",
                "trigger": "dead",
                "status": "failed",
                "error": {"code": "script_failed", "message": "also no", "line": 1},
                "finished_at": NOW,
            }
        ],
    }
    server.on("GET", f"/dead-letters/{ID}", letter)
    told = picloud("dead-letters", "show", ID).stdout
    assert told.index('"n": 2') < told.index("as it died") < told.index('"n": 1')
    assert "\nattempt 1  " in told
    assert f"\nhandler  on_dead dead  {OTHER}  failed  on_dead:1: also no\n" in told
    assert "  orders:4:2: no \\x1b[31mstock\n" in told
    assert json.loads(picloud("dead-letters", "show", ID, "--json").stdout) == letter
