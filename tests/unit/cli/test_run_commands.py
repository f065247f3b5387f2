"""invoke, logs, executions and outbox."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.unit.cli.conftest import CommandLine, FakeServer

ID = "019a1b2c-3d4e-7f50-8a6b-7c8d9e0f1a2b"
OTHER = "019a1b2c-3d4e-7f50-8a6b-7c8d9e0f1a2c"
NOW = "2030-01-31T12:00:00Z"

Page = Callable[..., dict[str, Any]]

EXECUTION: dict[str, Any] = {
    "id": ID,
    "app": "shop",
    "script": "orders",
    "version": 3,
    "source": "http",
    "trigger": "POST /orders",
    "principal": "admin",
    "status": "dead",
    "attempts": 3,
    "is_sync": False,
    "root_execution_id": ID,
    "parent_execution_id": None,
    "trigger_depth": 0,
    "worker_id": None,
    "created_at": NOW,
    "started_at": NOW,
    "finished_at": NOW,
    "run_ms": 1.25,
    "operations": 12,
    "error": {"code": "script_failed", "message": "no \x1b[31mstock", "line": 4, "column": 2},
    "result": None,
    "logs": [],
}
LINE: dict[str, Any] = {
    "at": NOW,
    "level": "info",
    "message": "packed",
    "fields": {"n": 1},
    "execution_id": ID,
    "app": "shop",
    "script": "orders",
    "attempt": 2,
}


# invoke


def answer(**values: Any) -> dict[str, Any]:
    return {"execution_id": ID, "status": "completed", "result": None, "error": None, **values}


@pytest.mark.parametrize(
    ("result", "printed"),
    [({"a": [1]}, '{\n  "a": [\n    1\n  ]\n}\n'), ("plain\n", "plain\n\n"), (None, "null\n"), ("é", "é\n")],
)
def test_the_result_is_printed_and_nothing_else(
    picloud: CommandLine, server: FakeServer, result: Any, printed: str
) -> None:
    server.on("POST", "/apps/shop/scripts/lib%2Fsum/invoke", answer(result=result))
    done = picloud("invoke", "shop", "lib/sum")
    assert (done.exit_code, done.stdout, done.stderr) == (0, printed, "")
    assert server.bodies == [{"args": None, "mode": "sync"}]


def test_a_script_that_failed_ends_with_3_and_tells_where(picloud: CommandLine, server: FakeServer) -> None:
    error = {"code": "script_failed", "message": "no stock", "line": 4, "column": 2}
    server.on("POST", "/apps/shop/scripts/sum/invoke", answer(status="failed", error=error))
    done = picloud("invoke", "shop", "sum")
    assert (done.exit_code, done.stdout) == (3, "")
    assert done.stderr.splitlines() == [
        "error: shop/sum:4:2: no stock",
        f"hint: `picloud logs --execution {ID}` shows what it logged",
    ]


def test_what_the_error_advises_comes_before_our_own_advice(picloud: CommandLine, server: FakeServer) -> None:
    error = {"code": "script_failed", "message": "no queue", "reason": "queue_not_found", "hint": "declare it"}
    server.on("POST", "/apps/shop/scripts/sum/invoke", answer(status="failed", error=error))
    assert "hint: declare it; `picloud logs --execution" in picloud("invoke", "shop", "sum").stderr


def test_a_script_that_took_too_long_ends_with_7(picloud: CommandLine, server: FakeServer) -> None:
    error = {"code": "script_timeout", "message": "ran past 10 s"}
    server.on("POST", "/apps/shop/scripts/sum/invoke", answer(status="failed", error=error))
    assert picloud("invoke", "shop", "sum").exit_code == 7
    server.problem("POST", "/apps/shop/scripts/sum/invoke", 504, "no_answer")
    assert picloud("invoke", "shop", "sum").exit_code == 7


def test_json_tells_the_whole_answer_of_a_failure_too(picloud: CommandLine, server: FakeServer) -> None:
    told = answer(status="failed", error={"code": "script_failed", "message": "x"})
    server.on("POST", "/apps/shop/scripts/sum/invoke", told)
    done = picloud("invoke", "shop", "sum", "--json")
    assert done.exit_code == 3
    assert json.loads(done.stdout) == told


ACCEPTED = httpx2.Response(202, json={"execution_id": ID, "accepted_at": NOW})


def test_async_prints_the_id_and_does_not_wait(picloud: CommandLine, server: FakeServer) -> None:
    server.on(
        "POST", "/apps/shop/scripts/sum/invoke", httpx2.Response(202, json={"execution_id": ID, "accepted_at": NOW})
    )
    done = picloud("invoke", "shop", "sum", "--async")
    assert (done.exit_code, done.stdout) == (0, f"{ID}\n")
    assert server.bodies[0]["mode"] == "async"


def test_arguments_come_from_the_line_a_file_or_the_input(
    picloud: CommandLine, server: FakeServer, tmp_path: Path
) -> None:
    server.on("POST", "/apps/shop/scripts/sum/invoke", answer())
    file = tmp_path / "args.json"
    file.write_text('{"from": "file"}')
    picloud("invoke", "shop", "sum", "--data", '{"from": "line"}')
    picloud("invoke", "shop", "sum", "-d", f"@{file}")
    picloud("invoke", "shop", "sum", "-d", "@-", stdin='{"from": "input"}')
    assert [body["args"]["from"] for body in server.bodies] == ["line", "file", "input"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("{", "--data: the value is not JSON: line 1, column 2"),
        ("@nowhere.json", "--data @nowhere.json: No such file or directory"),
    ],
)
def test_arguments_that_are_no_json_are_a_usage_error(picloud: CommandLine, data: str, message: str) -> None:
    done = picloud("invoke", "shop", "sum", "--data", data)
    assert done.exit_code == 2
    assert message in done.stderr


# executions


def test_executions_are_listed_with_filters(picloud: CommandLine, server: FakeServer, page: Page) -> None:
    server.on("GET", "/executions", page(EXECUTION))
    done = picloud("executions", "ls", "--app", "shop", "--status", "dead", "--since", NOW, "--limit", "5")
    assert dict(server.requests[0].url.params) == {"app": "shop", "status": "dead", "since": NOW, "limit": "5"}
    header, row = done.stdout.splitlines()
    assert header.split() == ["ID", "APP", "SCRIPT", "STATUS", "FIRED", "BY", "RUNS", "TOOK", "AGE", "ERROR"]
    assert ID in row
    assert "orders v3" in row
    assert "orders:4:2: no \\x1b[31mstock" in row


def test_a_list_is_one_array_whatever_its_pages(picloud: CommandLine, server: FakeServer, page: Page) -> None:
    server.on("GET", "/executions", page(EXECUTION, next=ID), page(EXECUTION))
    rows = json.loads(picloud("executions", "ls", "--json").stdout)
    assert rows == [EXECUTION, EXECUTION]


def test_an_empty_list_is_said_to_people_and_is_an_array_to_programs(
    picloud: CommandLine, server: FakeServer, page: Page
) -> None:
    server.on("GET", "/executions", page())
    told = picloud("executions", "ls")
    assert (told.stdout, told.stderr) == ("", "no executions\n")
    assert picloud("executions", "ls", "--json").stdout == "[]\n"


@pytest.mark.parametrize("since", ["yesterday", "15", "3w", "2030-13-01"])
def test_a_moment_that_is_none_is_a_usage_error(picloud: CommandLine, since: str) -> None:
    done = picloud("executions", "ls", "--since", since)
    assert done.exit_code == 2
    assert "is neither a time ago (15m, 2h, 3d) nor RFC 3339" in done.stderr


def test_an_execution_is_shown_with_its_error_and_logs(picloud: CommandLine, server: FakeServer) -> None:
    server.on("GET", f"/executions/{ID}", {**EXECUTION, "logs": [LINE]})
    done = picloud("executions", "show", ID, "--wait", "2")
    assert server.requests[0].url.params["wait"] == "2.0"
    assert "error       orders:4:2: no \\x1b[31mstock\n" in done.stdout
    assert "attempt 2  packed" in done.stdout
    assert json.loads(picloud("executions", "show", ID, "--json").stdout)["logs"] == [LINE]
    assert "hint" not in done.stdout


def test_an_execution_is_shown_with_the_hint_of_its_error(picloud: CommandLine, server: FakeServer) -> None:
    error = {"code": "script_failed", "message": "no queue", "reason": "queue_not_found", "hint": "declare it"}
    server.on("GET", f"/executions/{ID}", {**EXECUTION, "error": error, "logs": []})
    assert "hint        declare it\n" in picloud("executions", "show", ID).stdout


def node(number: int, parent: int | None, **values: Any) -> dict[str, Any]:
    """An execution of a tree whose root is the first."""
    return {
        **EXECUTION,
        "id": f"e{number}",
        "root_execution_id": "e1",
        "parent_execution_id": None if parent is None else f"e{parent}",
        "status": "completed",
        "source": "kv",
        "trigger": f"t{number}",
        "error": None,
        **values,
    }


def test_a_tree_is_drawn_by_what_caused_what(picloud: CommandLine, server: FakeServer, page: Page) -> None:
    ago = (datetime.now(UTC) - timedelta(minutes=5)).isoformat()
    rows = [
        node(1, None, source="http", trigger="POST /orders"),
        node(2, 1),
        node(3, 1, status="running", run_ms=None, finished_at=None, started_at=ago),
        node(4, 2, status="pending", run_ms=None, finished_at=None, started_at=None, created_at=ago, trigger=None),
        node(
            5, 3, status="dead", error={"code": "script_failed", "message": "no \x1b[31mstock", "line": 4, "column": 2}
        ),
        node(6, 99, script=None, version=None),
    ]
    server.on("GET", f"/executions/{ID}/tree", page(*rows))
    done = picloud("executions", "tree", ID)
    assert done.stdout.splitlines() == [
        "e1  orders v3  completed  1.2 ms  http POST /orders",
        "├─ e2  orders v3  completed  1.2 ms  kv t2",
        "│  └─ e4  orders v3  pending  for 5 min  kv",
        "├─ e3  orders v3  running  for 5 min  kv t3",
        "│  └─ e5  orders v3  dead  1.2 ms  kv t5  orders:4:2: no \\x1b[31mstock",
        "└─ e6  (gone)  completed  1.2 ms  kv t6",
    ]
    assert json.loads(picloud("executions", "tree", ID, "--json").stdout) == rows


def test_a_tree_whose_beginning_is_gone_is_drawn_all_the_same(
    picloud: CommandLine, server: FakeServer, page: Page
) -> None:
    server.on("GET", f"/executions/{ID}/tree", page(node(2, 1), node(3, 2), node(4, 1)))
    lines = picloud("executions", "tree", ID).stdout.splitlines()
    assert [line.partition("  ")[0] for line in lines] == ["e2", "└─ e3", "e4"]


def test_a_long_chain_is_drawn_and_a_large_tree_is_cut_with_a_note(
    picloud: CommandLine, server: FakeServer, page: Page
) -> None:
    chain = [node(1, None), *(node(number, number - 1) for number in range(2, 1_500))]
    server.on("GET", f"/executions/{ID}/tree", page(*chain))
    assert len(picloud("executions", "tree", ID, "--limit", "3000").stdout.splitlines()) == 1_499
    cut = picloud("executions", "tree", ID, "--limit", "2")
    assert [line.split()[0] for line in cut.stdout.splitlines()] == ["e1", "└─"]
    assert cut.stderr == "there are more than 2: --limit N shows more of them\n"
    cut = picloud("executions", "tree", ID, "--limit", "2", "--json")
    assert ([each["id"] for each in json.loads(cut.stdout)], cut.stderr[:22]) == (
        ["e1", "e2"],
        "there are more than 2:",
    )


def test_what_is_not_an_id_is_a_usage_error_and_one_that_is_not_known_is_not_found(
    picloud: CommandLine, server: FakeServer
) -> None:
    assert picloud("executions", "show", "abc").exit_code == 2
    server.problem("GET", f"/executions/{ID}", 404, "not_found", "there is no execution")
    assert picloud("executions", "show", ID).exit_code == 5


# logs


def test_logs_are_printed_with_who_wrote_them(picloud: CommandLine, server: FakeServer, page: Page) -> None:
    server.on("GET", "/apps/shop/logs", page({**LINE, "message": "a\x1b]0;title\x07b"}, next="c1"))
    line = picloud("logs", "shop").stdout
    assert "INFO   shop/orders  attempt 2  a\\x1b]0;title\\x07b  " in line
    assert '{"n":1}' in line
    assert line.endswith(f"{ID}\n")


def test_logs_of_all_apps_are_one_array_for_programs(picloud: CommandLine, server: FakeServer, page: Page) -> None:
    server.on("GET", "/logs", page(LINE, next="c1"))
    assert json.loads(picloud("logs", "--json", "--limit", "7").stdout) == [LINE]
    assert dict(server.requests[0].url.params) == {"limit": "7"}


def test_following_asks_for_what_comes_after_until_ctrl_c(picloud: CommandLine, server: FakeServer, page: Page) -> None:
    more = {**LINE, "message": "more"}
    server.on(
        "GET", "/apps/shop/logs", page(LINE, next="c1"), page(next="c2"), page(more, next="c3"), KeyboardInterrupt()
    )
    done = picloud("logs", "-f", "shop", "--json")
    assert done.exit_code == 130
    assert [json.loads(line)["message"] for line in done.stdout.splitlines()] == ["packed", "more"]
    assert [request.url.params.get("after") for request in server.requests] == [None, "c1", "c2", "c3"]


def test_following_survives_a_restart_of_the_server(picloud: CommandLine, server: FakeServer, page: Page) -> None:
    gone = httpx2.ConnectError("[Errno 111] Connection refused")
    more = {**LINE, "message": "more"}
    server.on("GET", "/logs", page(LINE, next="c1"), gone, gone, page(more, next="c2"), KeyboardInterrupt())
    done = picloud("logs", "-f", "--json")
    assert [json.loads(line)["message"] for line in done.stdout.splitlines()] == ["packed", "more"]
    assert done.stderr.count("Connection refused; waiting for it") == 1
    assert [request.url.params.get("after") for request in server.requests] == [None, "c1", "c1", "c1", "c2"]
    assert picloud.pauses == [1.0, 1.0]


def test_a_server_that_is_not_there_cannot_be_followed(picloud: CommandLine, server: FakeServer) -> None:
    server.on("GET", "/logs", httpx2.ConnectError("[Errno 111] Connection refused"))
    assert picloud("logs", "-f").exit_code == 1


def test_following_an_execution_ends_with_it(picloud: CommandLine, server: FakeServer) -> None:
    running = {**EXECUTION, "status": "running", "finished_at": None, "logs": [LINE]}
    ended = {**EXECUTION, "logs": [LINE, {**LINE, "message": "last"}]}
    server.on("GET", f"/executions/{ID}", running, running, ended)
    done = picloud("logs", "-f", "--execution", ID)
    assert done.exit_code == 0
    assert [line.split("  ")[4] for line in done.stdout.splitlines()] == ["packed", "last"]


def test_an_execution_can_be_looked_for_in_one_app(picloud: CommandLine, server: FakeServer) -> None:
    server.on("GET", f"/apps/shop/executions/{ID}", {**EXECUTION, "logs": [LINE]})
    assert json.loads(picloud("logs", "shop", "--execution", ID, "--json").stdout) == [LINE]


# outbox


def test_a_row_is_cancelled_or_has_ended(picloud: CommandLine, server: FakeServer) -> None:
    server.on("POST", f"/outbox/{ID}/cancel", {"id": ID, "status": "cancelled"})
    assert json.loads(picloud("outbox", "cancel", ID, "--json").stdout) == {"id": ID, "status": "cancelled"}
    server.problem("POST", f"/outbox/{ID}/cancel", 409, "already_ended")
    assert picloud("outbox", "cancel", ID).exit_code == 6


def test_a_row_is_shown_with_what_caused_it(picloud: CommandLine, server: FakeServer) -> None:
    parent = "019a1b2c-3d4e-7f50-8a6b-7c8d9e0f1a2c"
    now = "2030-01-31T12:00:00Z"
    row: dict[str, Any] = {
        "id": ID, "app": "shop", "script": "pack", "version": None, "source": "kv", "trigger": "on-order",
        "principal": "ada", "state": "pending", "due": True, "attempts": 0, "max_attempts": 3, "is_sync": False,
        "order_key": None, "crashes": 0, "lost": 0, "worker_id": None, "available_at": now, "created_at": now,
        "started_at": None, "lease_until": None, "root_execution_id": parent, "parent_execution_id": parent,
        "trigger_depth": 1, "payload_bytes": 2, "event": {},
    }  # fmt: skip
    server.on("GET", f"/outbox/{ID}", row)
    shown = [line.split() for line in picloud("outbox", "show", ID).stdout.splitlines()]
    assert ["root", parent] in shown
    assert ["caused", "by", parent] in shown
    server.on("GET", f"/outbox/{ID}", {**row, "root_execution_id": ID, "parent_execution_id": None, "trigger_depth": 0})
    shown = [line.split() for line in picloud("outbox", "show", ID).stdout.splitlines()]
    assert {words[0] for words in shown if words} & {"root", "caused", "depth"} == set()
