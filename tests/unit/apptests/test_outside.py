"""What reaches an app from outside, and what it calls there: requests, fired sources, HTTP, secrets."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from picloud.apptests import TestResult
from picloud.apptests.requests import STATUS_BY_CODE
from picloud_web.problems import status_of_code

Passes = Callable[..., TestResult]
Fails = Callable[..., str]

ROUTES = """
[[route]]
method = "POST"
path = "/echo/:name"
script = "scripts/echo.rhai"

[[route]]
method = "POST"
path = "/later"
script = "scripts/echo.rhai"
dispatch_mode = "async"
"""
ECHO = """
    let r = ctx.request;
    let kind = r.headers["content-type"];
    #{ method: r.method, params: r.params, query: r.query, kind: kind, body: r.body, who: ctx.principal }
"""


def test_a_request_finds_its_route_and_brings_all_it_has(passes: Passes) -> None:
    passes(
        """
        let answer = test::request(#{
            method: "POST", path: "/echo/a%20b?x=1&x=2", query: #{ y: "3" }, body: #{ n: 1 }, principal: "ada" });
        assert_eq(answer.status, 200);
        assert_eq(answer.headers["content-type"], "application/json");
        assert_eq(answer.body, #{
            method: "POST", params: #{ name: "a b" }, query: #{ x: ["1", "2"], y: "3" },
            kind: "application/json", body: #{ n: 1 }, who: "ada" });
        """,
        ROUTES,
        {"echo": ECHO},
    )


def test_what_no_route_answers_is_refused_as_the_data_plane_does(passes: Passes) -> None:
    passes(
        """
        assert_eq(test::request(#{ path: "/nowhere" }).status, 404);
        let wrong = test::request(#{ path: "/later" });
        assert_eq([wrong.status, wrong.headers.allow], [405, "OPTIONS, POST"]);
        assert_eq(test::request(#{ method: "OPTIONS", path: "/later" }).status, 204);
        """,
        ROUTES,
        {"echo": ECHO},
    )


def test_an_async_route_accepts_and_runs_later(passes: Passes) -> None:
    passes(
        """
        let answer = test::request(#{ method: "POST", path: "/later", body: "text" });
        assert_eq(answer.status, 202);
        let waits = test::waiting()[0];
        assert_eq([waits.source, waits.script, waits.trigger], ["http", "echo", "POST /later"]);
        assert_eq(test::drain(), 1);
        """,
        ROUTES,
        {"echo": ECHO},
    )


@pytest.mark.parametrize(
    ("script", "status", "body"),
    [
        ("()", 204, "()"),
        ('"text"', 200, '"text"'),
        ('response::json(201, #{ id: 7 }).with_header("x-a", "b")', 201, "#{ id: 7 }"),
        ("response::empty(418)", 418, "()"),
    ],
)
def test_a_result_becomes_an_answer(passes: Passes, script: str, status: int, body: str) -> None:
    passes(
        f"""
        let answer = test::request(#{{ method: "POST", path: "/echo/x" }});
        assert_eq([answer.status, answer.body], [{status}, {body}]);
        """,
        ROUTES,
        {"echo": script},
    )


def test_a_script_that_fails_answers_502_and_says_where(passes: Passes) -> None:
    passes(
        """
        let answer = test::request(#{ method: "POST", path: "/echo/x" });
        assert_eq([answer.status, answer.body.code, answer.body.detail], [502, "script_failed", "broken"]);
        assert_eq([answer.error.line, answer.logs[0].message], [2, "before"]);
        """,
        ROUTES,
        {"echo": 'log::info("before");\nthrow "broken"'},
    )


@pytest.mark.parametrize("code", [*STATUS_BY_CODE, "script_failed", "cancelled"])
def test_a_failed_run_has_the_status_it_has_on_a_server(code: str) -> None:
    assert STATUS_BY_CODE.get(code, 502) == status_of_code(code)


SOURCES = """
[[trigger]]
kind = "pubsub"
topic = "news:*"
script = "scripts/heard.rhai"

[[trigger]]
name = "tick"
kind = "cron"
schedule = "0 6 * * *"
script = "scripts/heard.rhai"

[[trigger]]
kind = "email"
address = "orders"
script = "scripts/heard.rhai"
"""


@pytest.mark.parametrize(
    ("source", "event", "heard"),
    [
        ("pubsub", '#{ topic: "news:eu", message: 1 }', '"news:eu", 1'),
        ("cron", "#{}", '"0 6 * * *", "2026-01-01T00:00:00.000000Z"'),
        ("email", '#{ to: "Orders@example.org", from: "a@b", subject: "s" }', '["orders@example.org"], "s"'),
    ],
)
def test_a_source_runs_what_listens(passes: Passes, source: str, event: str, heard: str) -> None:
    script = """
        let e = ctx.event;
        switch e.source {
            "pubsub" => [e.topic, e.message], "cron" => [e.schedule, e.scheduled_at], "email" => [e.to, e.subject],
        }
    """
    passes(
        f'let runs = test::fire("{source}", {event}); assert_eq(runs.map(|r| r.result), [[{heard}]]);',
        SOURCES,
        {"heard": script},
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ('test::fire("http", #{})', "there is no source 'http'"),
        ('test::fire("kv", #{ collection: "c" })', "the option `key` is missing"),
        ('test::fire("kv", #{ collection: "c", key: "k", op: "set" })', "one of insert, update, delete"),
        ('test::fire("pubsub", #{ topik: "t" })', "there is no option `topik`"),
        ('test::fire("queue", #{ queue: "q" })', "the app has no queue 'q'"),
        ('test::fire("cron", #{ trigger: "tock" })', "no cron trigger 'tock'"),
        ('test::run("heart")', "did you mean 'heard'"),
        ('test::run("heard", #{ event: #{} })', "event.source"),
        ('test::request(#{ path: "x" })', "begins with /"),
    ],
)
def test_what_cannot_be_fired_says_why(fails: Fails, call: str, message: str) -> None:
    assert message in fails(f"{call};", SOURCES, {"heard": "1"})


def test_a_script_is_run_with_a_ctx_of_the_tests_choice(passes: Passes) -> None:
    passes(
        """
        let run = test::run("show", #{ event: #{ source: "queue", message: 7 }, attempt: 3, trigger: "t",
                                       principal: "ada", trigger_depth: 2 });
        assert_eq(run.result, [7, 3, "t", "ada", 2]);
        let run = test::run("ask", #{ request: #{ params: #{ id: "9" }, body: #{ a: 1 } } });
        assert_eq(run.result, ["9", 1, "GET"]);
        """,
        scripts={
            "show": "[ctx.event.message, ctx.attempt, ctx.trigger, ctx.principal, ctx.trigger_depth]",
            "ask": "[ctx.request.params.id, ctx.request.body.a, ctx.request.method]",
        },
    )


CALLER = 'let r = http::post("https://api.example.com/pay?x=1", #{ sum: 5 }); [r.status, r.body]'


def test_http_is_answered_by_the_latest_mock_that_fits(passes: Passes) -> None:
    passes(
        """
        test::mock_http(#{ url: "https://api.example.com/*", status: 500, body: "down" });
        test::mock_http(#{ url: "https://api.example.com/pay*", method: "POST", body: #{ ok: true }, times: 1 });
        test::mock_http(#{ url: "https://api.example.com/pay*", method: "GET" });
        assert_eq(test::invoke("call", ()).result, [200, #{ ok: true }]);
        assert_eq(test::invoke("call", ()).result, [500, "down"]);
        let made = test::http_calls()[0];
        assert_eq([made.method, made.url, made.body, made.status],
                  ["POST", "https://api.example.com/pay?x=1", #{ sum: 5 }, 200]);
        assert(made.headers["idempotency-key"].ends_with(":1"));
        """,
        scripts={"call": CALLER},
    )


def test_a_mock_can_be_a_connection_that_fails(passes: Passes) -> None:
    passes(
        """
        test::mock_http(#{ url: "*", error: "the line is dead" });
        let run = test::invoke("call", ());
        assert_eq([run.status, run.error.reason], ["failed", "connection_failed"]);
        assert_eq(run.error.message, "the line is dead");
        """,
        scripts={"call": CALLER},
    )


def test_a_call_without_a_mock_fails_the_test_though_the_script_catches_it(fails: Fails) -> None:
    message = fails('test::invoke("call", ());', scripts={"call": f"try {{ {CALLER} }} catch {{ 0 }}"})
    assert "POST https://api.example.com/pay?x=1 was called, and no mock answers it" in message


def test_secrets_are_given_by_the_test_and_struck_out_of_logs(passes: Passes) -> None:
    result = passes(
        """
        assert(test::invoke("use", ()).error.message.contains("test::secret(\\"KEY\\""));
        test::secret("KEY", "hunter22");
        assert_eq(test::invoke("use", ()).result, 8);
        """,
        scripts={"use": 'let key = secrets::get("KEY"); log::info(`key ${key}`); key.len()'},
    )
    assert [line["message"] for line in result.logs if line["level"] == "info"] == ["key [secret KEY]"]
