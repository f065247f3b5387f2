"""Runs: what a script sees, what its answer becomes, why it failed."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest

from picloud.engine import Run, RunResult, ScriptLimits, ScriptRunner, check_script
from picloud.engine.runner import new_cancel_token
from picloud.errors import ScriptError
from picloud.settings import SandboxCeilings

EXECUTION = uuid.UUID("01a1fbd8-4d29-7476-8577-3a44002f20e9")
ROOT = uuid.UUID("01a1fbd8-4d29-7476-8577-3a44002f20e8")
KEY = (1, 1)


@pytest.fixture(scope="module")
def runner() -> ScriptRunner:
    return ScriptRunner(SandboxCeilings(max_timeout_seconds=5.0, max_memory_bytes=8 * 1024 * 1024))


def run(runner: ScriptRunner, script: str, limits: ScriptLimits | None = None, **changes: Any) -> RunResult:
    runner.prepare(KEY, "main", script)
    fields: dict[str, Any] = {
        "execution_id": EXECUTION,
        "root_execution_id": ROOT,
        "app": "shop",
        "script": "main",
        "version": 3,
        "source": "http",
        "trigger": "12",
        "principal": "ada",
        "trigger_depth": 1,
        "attempt": 2,
        "is_sync": True,
        "event": json.dumps(
            {"method": "POST", "path": "/x", "params": {"id": "7"}, "query": {}, "headers": {}}
        ).encode(),
    }
    return runner.run(KEY, Run(**(fields | changes)), limits or ScriptLimits())


def value(result: RunResult) -> Any:
    assert result.failure is None, result.failure
    assert result.kind == "json"
    assert result.data is not None
    return json.loads(result.data)


def test_ctx_says_who_runs_what_and_why(runner: ScriptRunner) -> None:
    source = "[ctx.app, ctx.script, ctx.version, ctx.execution_id, ctx.root_execution_id]"
    assert value(run(runner, source)) == ["shop", "main", 3, str(EXECUTION), str(ROOT)]
    assert value(run(runner, "[ctx.trigger_depth, ctx.attempt, ctx.trigger]")) == [1, 2, "12"]


def test_a_trigger_runs_as_who_registered_it_and_a_route_is_told_who_calls(runner: ScriptRunner) -> None:
    assert value(run(runner, "[ctx.principal]", source="cron", event=b"{}")) == ["ada"]
    assert value(run(runner, "[ctx.principal]")) == [None]
    event = b'{"method": "GET", "path": "/", "params": {}, "query": {}, "headers": {}, "caller": "anna"}'
    assert value(run(runner, "[ctx.principal, ctx.request.caller]", event=event)) == ["anna", None]


def test_ctx_is_visible_inside_functions_and_closures(runner: ScriptRunner) -> None:
    source = "fn id() { ctx.request.params.id } [1].map(|x| id() + ctx.app)"
    assert value(run(runner, source)) == ["7shop"]


def test_ctx_cannot_be_changed(runner: ScriptRunner) -> None:
    failure = run(runner, 'ctx.app = "other"; 1').failure
    assert failure is not None
    assert failure.code == "script_failed"


def test_an_async_request_is_an_event_too(runner: ScriptRunner) -> None:
    source = "[ctx.event.source, ctx.event.path, ctx.request.path]"
    assert value(run(runner, source, is_sync=False)) == ["http", "/x", "/x"]


def test_other_sources_have_an_event_and_no_request(runner: ScriptRunner) -> None:
    source = "[ctx.event.source, ctx.event.args.n, type_of(ctx.request)]"
    assert value(run(runner, source, source="invoke", event=b'{"args":{"n":5}}')) == ["invoke", 5, "()"]


def test_an_event_without_members_is_still_an_event(runner: ScriptRunner) -> None:
    assert value(run(runner, "[ctx.event.source]", source="invoke", event=b"{ }")) == ["invoke"]


def with_body(content_type: str, body: bytes) -> dict[str, Any]:
    event = {"method": "POST", "path": "/", "params": {}, "query": {}, "headers": {}, "content_type": content_type}
    return {"event": json.dumps(event).encode(), "body": body}


@pytest.mark.parametrize(
    ("content_type", "body", "expected"),
    [
        ("application/json", b'{"a":[1,2]}', ["map", "string"]),
        ("application/vnd.api+json; charset=utf-8", b"[1]", ["array", "string"]),
        ("application/x-www-form-urlencoded", b"a=1&b=2&b=3", ["map", "string"]),
        ("text/plain", "grüß".encode(), ["string", "string"]),
        ("application/octet-stream", b"\xff\xfe\x00", ["blob", "blob"]),
        ("application/json", b"", ["()", "string"]),
    ],
)
def test_a_body_arrives_as_what_it_is(
    runner: ScriptRunner, content_type: str, body: bytes, expected: list[str]
) -> None:
    source = "[type_of(ctx.request.body), type_of(ctx.request.raw_body)]"
    assert value(run(runner, source, **with_body(content_type, body))) == expected


def test_a_repeated_form_field_is_an_array(runner: ScriptRunner) -> None:
    result = run(
        runner,
        "[ctx.request.body.a, ctx.request.body.b]",
        **with_body("application/x-www-form-urlencoded", b"a=1&b=2&b=3"),
    )
    assert value(result) == ["1", ["2", "3"]]


def test_a_body_that_the_engine_cannot_take_is_no_fault_of_the_script(runner: ScriptRunner) -> None:
    failure = run(runner, "1", **with_body("application/json", b'{"n":99999999999999999999}')).failure
    assert failure is not None
    assert (failure.code, failure.retryable) == ("request_not_usable", False)


@pytest.mark.parametrize(
    ("source", "kind", "data"),
    [
        ("()", "unit", b""),
        ("let x = 1;", "unit", b""),
        ("42", "json", b"42"),
        ("#{ a: [1, 2.5, true, ()] }", "json", b'{"a":[1,2.5,true,null]}'),
        ('"plain"', "text", b"plain"),
        ("blob(3, 65)", "blob", b"AAA"),
    ],
)
def test_the_last_value_is_the_result(runner: ScriptRunner, source: str, kind: str, data: bytes) -> None:
    result = run(runner, source)
    assert (result.failure, result.kind, result.data) == (None, kind, data)


@pytest.mark.parametrize(
    ("source", "status", "headers", "data"),
    [
        ("response::json(201, #{a: 1})", 201, {"content-type": "application/json"}, b'{"a":1}'),
        ('response::text(404, "no")', 404, {"content-type": "text/plain; charset=utf-8"}, b"no"),
        ('response::html(200, "<p>")', 200, {"content-type": "text/html; charset=utf-8"}, b"<p>"),
        ('response::bytes(200, blob(2, 66), "image/x")', 200, {"content-type": "image/x"}, b"BB"),
        ('response::redirect("/there")', 302, {"location": "/there"}, b""),
        ("response::empty(204)", 204, {}, b""),
        ('response::empty(200).with_header("X-A", "1").with_header("X-B", "2")', 200, {"x-a": "1", "x-b": "2"}, b""),
        ('response::text(200, "a").with_header("Content-Type", "text/css")', 200, {"content-type": "text/css"}, b"a"),
    ],
)  # fmt: skip
def test_a_response_has_full_control(
    runner: ScriptRunner, source: str, status: int, headers: dict[str, str], data: bytes
) -> None:
    result = run(runner, source)
    assert result.failure is None
    assert (result.kind, result.http_status, dict(result.headers), result.data) == ("response", status, headers, data)


def test_a_status_nobody_understands_fails_the_run(runner: ScriptRunner) -> None:
    failure = run(runner, "response::empty(99)").failure
    assert failure is not None
    assert "200 to 599" in failure.message


def test_the_log_keeps_levels_fields_print_and_debug(runner: ScriptRunner) -> None:
    result = run(runner, 'log::warn("low", #{ left: 2 }); print("said"); debug("seen"); log::error("bad"); 1')
    assert result.logs is not None
    lines = json.loads(result.logs)
    assert [line["level"] for line in lines] == ["warn", "info", "debug", "error"]
    assert lines[0]["fields"] == {"left": 2}
    assert lines[1]["message"] == "said"
    assert lines[2]["message"].startswith("1:")
    assert all(line["at_us"] >= 0 for line in lines)


def test_a_quiet_script_writes_no_log(runner: ScriptRunner) -> None:
    assert run(runner, "1").logs is None


def test_a_flood_of_log_lines_is_cut_and_says_so(runner: ScriptRunner) -> None:
    result = run(runner, 'for i in 0..5000 { log::info("0123456789012345678901234567890123456789"); } 1')
    assert result.failure is None
    assert result.logs is not None
    assert len(result.logs) < 200_000
    assert "log cut" in json.loads(result.logs)[-1]["message"]


def test_fields_that_json_does_not_know_fail_no_run(runner: ScriptRunner) -> None:
    result = run(
        runner, 'log::info("odd", #{ b: blob(2, 65), f: |x| x, n: 0.0 / 0.0, r: 1..2, h: response::empty(204) }); 1'
    )
    assert result.failure is None
    assert result.logs is not None
    fields = json.loads(result.logs)[0]["fields"]
    assert (fields["b"], fields["n"]) == ("QUE=", None)
    assert set(fields) == {"b", "f", "n", "r", "h"}


def test_a_failed_run_keeps_its_log(runner: ScriptRunner) -> None:
    result = run(runner, 'log::info("before"); throw "after"')
    assert result.failure is not None
    assert result.logs is not None


@pytest.mark.parametrize(
    ("source", "code", "retryable"),
    [
        ("let x = ;", "script_does_not_compile", False),
        ('throw "no"', "script_failed", True),
        ("1 / 0", "script_failed", True),
        ("nothing_here()", "script_failed", True),
        ("loop { }", "sandbox_limit_exceeded", True),
        ("fn f(n) { f(n + 1) } f(0)", "sandbox_limit_exceeded", True),
        ('let s = "x"; loop { s += s; }', "sandbox_limit_exceeded", True),
        ("let a = []; loop { a.push(a.len()); }", "sandbox_limit_exceeded", True),
    ],
)
def test_a_failure_has_a_code_that_says_what_kind_it_is(
    runner: ScriptRunner, source: str, code: str, retryable: bool
) -> None:
    failure = run(runner, source, ScriptLimits(max_operations=200_000)).failure
    assert failure is not None
    assert (failure.code, failure.retryable) == (code, retryable)


def test_a_script_past_its_time_is_stopped_as_timed_out(runner: ScriptRunner) -> None:
    # Short enough that no machine spends the operations first: ten million take it about 100 ms.
    failure = run(runner, "loop { }", ScriptLimits(timeout_seconds=0.02)).failure
    assert failure is not None
    assert failure.code == "script_timeout"


def test_a_failure_says_where(runner: ScriptRunner) -> None:
    failure = run(runner, 'fn check(x) {\n  throw "bad";\n}\ncheck(1)').failure
    assert failure is not None
    assert (failure.line, failure.function) == (2, "check")


def test_throw_may_forbid_a_retry_or_set_its_delay(runner: ScriptRunner) -> None:
    failure = run(runner, 'throw #{ message: "gone", retry: false, code: 410 }').failure
    assert failure is not None
    assert (failure.message, failure.retryable) == ("gone", False)
    assert failure.value == {"message": "gone", "retry": False, "code": 410}
    failure = run(runner, 'throw #{ message: "busy", retry_after_seconds: 30 }').failure
    assert failure is not None
    assert (failure.retryable, failure.retry_after_ms) == (True, 30_000)


@pytest.mark.parametrize("delay", ["-1", '"soon"', "true", "1e300"])
def test_a_delay_nobody_can_keep_is_ignored(runner: ScriptRunner, delay: str) -> None:
    failure = run(runner, f'throw #{{ message: "busy", retry_after_seconds: {delay} }}').failure
    assert failure is not None
    assert failure.retry_after_ms is None


def test_a_thrown_value_can_always_be_stored(runner: ScriptRunner) -> None:
    failure = run(runner, 'throw #{ message: "a\\u0000b", f: |x| x, bytes: blob(2, 255) }').failure
    assert failure is not None
    document = json.loads(failure.to_json())
    assert document["message"] == "a\0b"


def test_a_run_can_be_stopped_from_outside(runner: ScriptRunner) -> None:
    runner.prepare(KEY, "main", "loop { }")
    cancel = new_cancel_token()
    cancel.cancel()
    event = b'{"method":"GET","path":"/","params":{},"query":{},"headers":{}}'
    stopped = Run(EXECUTION, ROOT, "shop", "main", 1, "http", None, "ada", 0, 1, True, event)
    result = runner.run(KEY, stopped, ScriptLimits(), cancel)
    assert result.failure is not None
    assert (result.failure.code, result.failure.retryable) == ("cancelled", False)


def test_a_script_cannot_raise_its_own_ceiling(runner: ScriptRunner) -> None:
    failure = run(
        runner,
        'let a = []; loop { a.push("0123456789"); }',
        ScriptLimits(max_memory_bytes=2**40, max_array_length=10**9),
    ).failure
    assert failure is not None
    assert failure.code == "sandbox_limit_exceeded"


def test_check_names_line_and_column() -> None:
    check_script("good", "ctx.request.path")
    with pytest.raises(ScriptError) as caught:
        check_script("bad", "let a = 1;\nlet b = (2;\n")
    assert (caught.value.name, caught.value.line) == ("bad", 2)
    assert caught.value.column > 0


def test_runs_report_what_they_cost(runner: ScriptRunner) -> None:
    result = run(runner, "let t = 0; for i in 0..100 { t += i; } t")
    assert result.operations >= 100
    assert result.run_us > 0
