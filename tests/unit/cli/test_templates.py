"""The scripts ``picloud init`` writes work."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

import pytest

from picloud.engine import Run, RunResult, ScriptLimits, ScriptRunner
from picloud.ids import new_id
from picloud.settings import SandboxCeilings

TEMPLATES = resources.files("picloud.cli") / "templates"


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
