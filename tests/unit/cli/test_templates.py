"""What ``picloud init`` writes is true: its scripts run, and picloud.d.rhai tells what there is."""

from __future__ import annotations

import json
import re
from importlib import resources
from typing import Any

import pytest

from picloud.engine import Run, RunResult, ScriptLimits, ScriptRunner
from picloud.ids import new_id
from picloud.settings import SandboxCeilings

TEMPLATES = resources.files("picloud.cli") / "templates"
DEFINITIONS = (TEMPLATES / "picloud.d.rhai").read_text("utf-8")

#: A call of every function the definitions file describes, by ``module::name/arguments``.
CALLS = {
    "response::json/2": "response::json(200, #{a: 1})",
    "response::text/2": 'response::text(200, "a")',
    "response::html/2": 'response::html(200, "a")',
    "response::bytes/3": 'response::bytes(200, blob(), "image/png")',
    "response::redirect/1": 'response::redirect("/a")',
    "response::empty/1": "response::empty(204)",
    "with_header/3": 'with_header(response::empty(204), "a", "b")',
    **{f"log::{level}/1": f'log::{level}("a")' for level in ("trace", "info", "warn", "error")},
    **{f"log::{level}/2": f'log::{level}("a", #{{n: 1}})' for level in ("trace", "info", "warn", "error")},
    "print/1": "print([1])",
    "debug/1": "debug([1])",
    "json::parse/1": 'json::parse("[1]")',
    "json::stringify/1": "json::stringify([1])",
}


def run(source: str, *, event: dict[str, Any], body: bytes | None = None, attempt: int = 1) -> RunResult:
    runner = ScriptRunner(SandboxCeilings())
    runner.prepare((1, 1), "test", source)
    identifier = new_id()
    described = Run(
        execution_id=identifier,
        root_execution_id=identifier,
        app="demo",
        script="test",
        version=1,
        source="http",
        trigger=None,
        principal="admin",
        trigger_depth=0,
        attempt=attempt,
        is_sync=True,
        event=json.dumps(event).encode(),
        body=body,
    )
    return runner.run((1, 1), described, ScriptLimits())


def script(name: str) -> str:
    return (TEMPLATES / "scripts" / f"{name}.rhai").read_text("utf-8")


def request(**values: Any) -> dict[str, Any]:
    plain = {"method": "POST", "path": "/", "params": {}, "query": {}, "headers": {}}
    return {**plain, "content_type": "application/json", **values}


def value_of(result: RunResult) -> Any:
    assert result.failure is None, result.failure
    return json.loads(result.data or b"null")


def test_hello_greets_by_the_name_in_the_path() -> None:
    result = run(script("hello"), event=request(params={"name": "Ada"}))
    assert value_of(result)["message"] == "Hello, Ada!"


def test_the_example_event_is_an_order() -> None:
    body = (TEMPLATES / "events" / "order.json").read_bytes()
    assert value_of(run(script("orders"), event=request(), body=body)) == {"customer": "Ada", "total": 154.8}


@pytest.mark.parametrize("body", [None, b"[]", b'{"items": 3}'])
def test_an_order_that_is_none_is_not_tried_again(body: bytes | None) -> None:
    result = run(script("orders"), event=request(), body=body)
    assert result.failure is not None
    assert result.failure.retryable is False


@pytest.mark.parametrize(("attempt", "works"), [(1, False), (2, True)])
def test_flaky_works_at_the_attempt_it_is_told(attempt: int, works: bool) -> None:
    result = run(script("flaky"), event=request(), body=b'{"works_at_attempt": 2}', attempt=attempt)
    assert (result.failure is None) == works


@pytest.mark.parametrize("body", [None, b"{}", b'"text"'])
def test_flaky_fails_for_good_when_it_is_told_nothing(body: bytes | None) -> None:
    assert run(script("flaky"), event=request(), body=body, attempt=3).failure is not None


def described_functions() -> set[str]:
    found: set[str] = set()
    module = ""
    for line in DEFINITIONS.splitlines():
        if start := re.match(r"module (\w+) \{", line):
            module = f"{start[1]}::"
        elif line == "}":
            module = ""
        elif function := re.match(r"\s*fn (\w+)\((.*?)\)", line):
            found.add(f"{module}{function[1]}/{function[2].count(':')}")
    return found


def test_every_described_function_is_called_below() -> None:
    assert described_functions() == set(CALLS)


@pytest.mark.parametrize("call", CALLS.values())
def test_a_described_function_is_there(call: str) -> None:
    result = run(f"let value = {call}; ()", event=request())
    assert result.failure is None, result.failure


@pytest.mark.parametrize("member", sorted(set(re.findall(r"///   (?:ctx\.\w+(?:, )?)+", DEFINITIONS))))
def test_described_members_of_ctx_are_there(member: str) -> None:
    names = re.findall(r"ctx\.(\w+)", member)
    assert names
    known = value_of(run("ctx.keys()", event=request()))
    assert set(names) <= set(known)


def test_described_members_of_a_request_are_there() -> None:
    listed = DEFINITIONS.partition("In a route, ctx.request:")[2].partition("In an async route")[0]
    described = {name for line in re.findall(r"///   ([a-z_, ]+?)  ", listed) for name in line.split(", ")}
    assert described == set(value_of(run("ctx.request.keys()", event=request())))
