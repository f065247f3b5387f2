"""What follows from what in a test's world: effects, triggers, retries, dead letters, time."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from picloud.apptests import TestResult

Passes = Callable[..., TestResult]
Fails = Callable[..., str]

KV = """
[[trigger]]
name = "heard"
kind = "kv"
collection = "orders:*"
ops = ["update", "delete"]
script = "scripts/heard.rhai"
"""

QUEUE = """
[[trigger]]
name = "work"
kind = "queue"
queue = "jobs"
script = "scripts/work.rhai"
retry = { max_attempts = 3, backoff = "constant", base_ms = 60000, max_ms = 60000, jitter_pct = 0 }

[[queue]]
name = "idle"
"""

DEAD = """
[[trigger]]
kind = "dead_letter"
trigger = "work"
script = "scripts/bury.rhai"
"""


def test_keys_fire_the_triggers_whose_glob_and_ops_fit(passes: Passes) -> None:
    write = """
        let c = kv::collection(ctx.event.args);
        c.set("k", 1); c.set("gone", 1); c.delete("gone");
    """
    passes(
        """
        test::invoke("write", "orders:eu"); assert_eq(test::waiting(), []);
        test::invoke("write", "others"); test::invoke("write", "others"); assert_eq(test::waiting(), []);
        test::invoke("write", "orders:eu");
        let event = test::waiting()[0].event;
        assert_eq([event.op, event.key, event.value, event.old_value], ["update", "k", 1, 1]);
        assert_eq(test::drain(), 1);
        assert_eq(test::logs()[0].message, "update orders:eu/k");
        """,
        KV,
        {"write": write, "heard": "log::info(`${ctx.event.op} ${ctx.event.collection}/${ctx.event.key}`);"},
    )


def test_what_a_test_writes_itself_fires_nothing_and_is_there_at_once(passes: Passes) -> None:
    passes(
        """
        let c = kv::collection("orders:eu");
        c.set("k", 1); c.set("k", 2);
        assert_eq(c.increment("k", 3), 5);
        test::invoke("heard", ());
        assert_eq(c.get("k"), 6, "the handle sees what a script wrote");
        assert_eq(test::waiting().len, 1, "the script's write fires");
        """,
        KV,
        {"heard": 'kv::collection("orders:eu").increment("k");'},
    )


def test_nothing_of_a_failed_run_has_happened(passes: Passes) -> None:
    script = """
        kv::collection("c").set("k", 1);
        queue::send("jobs", 1); pubsub::publish("t", 1); email::send(#{ to: "a@example.org", subject: "s", text: "t" });
        functions::invoke("work", 1);
        throw "no";
    """
    passes(
        """
        let run = test::invoke("fail", ());
        assert_eq([run.status, run.error.message], ["failed", "no"]);
        assert_eq(kv::collection("c").keys(), []);
        assert_eq([test::waiting(), test::published(), test::mails()], [[], [], []]);
        """,
        QUEUE,
        {"fail": script, "work": "1"},
    )


def test_what_a_run_sends_waits_until_it_is_drained(passes: Passes) -> None:
    script = """
        queue::send("jobs", "later", #{ delay_seconds: 60 }); queue::send("jobs", "now", #{ key: "k" });
        email::send(#{ to: "a@example.org", subject: "s", text: "t" });
        functions::invoke("work", "invoked");
    """
    passes(
        """
        test::invoke("send", ());
        assert_eq(test::queued("jobs").map(|m| m.due_in_seconds), [60.0, 0.0]);
        assert_eq(test::queued("jobs")[1].key, "k");
        assert_eq(test::mails(), [#{ to: ["a@example.org"], subject: "s", text: "t", html: () }]);
        assert_eq(test::run_due(), 2);
        assert_eq(test::drain(), 1);
        assert_eq(time::now(), "2026-01-01T00:01:00.000Z", "the clock went on to the delayed message");
        assert_eq(test::logs().map(|line| line.message), ["queue", "invoke", "queue"]);
        """,
        QUEUE,
        {"send": script, "work": "log::info(ctx.event.source);"},
    )


def test_messages_of_one_key_wait_for_each_other(passes: Passes) -> None:
    work = 'log::info(`${ctx.event.message}`); if ctx.event.message == 1 && ctx.attempt < 2 { throw "not yet"; }'
    passes(
        """
        queue::send("jobs", 1, #{ key: "k" }); queue::send("jobs", 2, #{ key: "k" }); queue::send("jobs", 3);
        test::drain();
        assert_eq(test::logs().map(|line| line.message), ["1", "3", "1", "2"]);
        """,
        QUEUE,
        {"work": work},
    )


def test_a_message_that_nobody_consumes_waits(passes: Passes) -> None:
    passes(
        """
        assert_eq(test::fire("queue", #{ queue: "idle", message: 7 }), []);
        assert_eq(test::drain(), 0);
        assert_eq(test::queued("idle")[0].message, 7);
        """,
        QUEUE,
        {"work": "1"},
    )


def test_a_run_that_fails_is_tried_again_after_its_back_off_and_dies(passes: Passes) -> None:
    passes(
        """
        let run = test::fire("queue", #{ queue: "jobs", message: #{ n: 1 } })[0];
        assert_eq([run.status, run.attempt], ["retrying", 1]);
        assert_eq(test::run_due(), 0);
        test::advance(60);
        assert_eq(test::run_due(), 1);
        assert_eq(test::queued("jobs")[0].attempt, 3);
        assert_eq(test::drain(), 2, "the last attempt and the handler of its dead letter");
        let failed = test::failures();
        assert_eq(failed.len, 1);
        assert_eq([failed[0].reason, failed[0].attempts, failed[0].handled], ["retries_exhausted", 3, true]);
        assert_eq(kv::collection("graves").get("1"), #{ message: "attempt 3", source: "queue", attempts: 3 });
        """,
        QUEUE + DEAD,
        {
            "work": "throw `attempt ${ctx.attempt}`",
            "bury": """
                let e = ctx.event;
                kv::collection("graves").set(`${e.original.message.n}`,
                    #{ message: e.last_error.message, source: e.original.source, attempts: e.attempts });
            """,
        },
    )


@pytest.mark.parametrize(
    ("thrown", "status", "due"),
    [
        ("#{ message: `m`, retry: false }", "dead", "[]"),
        ("#{ message: `m`, retry_after_seconds: 5 }", "retrying", "[5.0]"),
    ],
)
def test_what_is_thrown_says_whether_and_when_to_try_again(passes: Passes, thrown: str, status: str, due: str) -> None:
    passes(
        f"""
        assert_eq(test::fire("queue", #{{ queue: "jobs", message: 1 }})[0].status, "{status}");
        assert_eq(test::queued("jobs").map(|m| m.due_in_seconds), {due});
        test::failures();
        """,
        QUEUE,
        {"work": f"throw {thrown}"},
    )


def test_a_run_that_died_unseen_fails_the_test(fails: Fails) -> None:
    message = fails(
        'queue::send("jobs", 1); test::drain();', QUEUE, {"work": "throw #{ message: `broken`, retry: false }"}
    )
    assert "work failed for good" in message
    assert "scripts/work.rhai:1:1: broken" in message


def test_a_chain_ends_at_the_depth_limit(passes: Passes) -> None:
    passes(
        """
        test::invoke("again", ());
        assert_eq(test::drain(), 9, "eight hops and the one that is too deep");
        assert_eq(test::failures()[0].reason, "depth_exceeded");
        """,
        scripts={"again": 'functions::invoke("again", ());'},
    )


def test_a_key_is_gone_when_its_time_has_passed(passes: Passes) -> None:
    passes(
        """
        let c = kv::collection("c");
        c.set("k", 1, #{ ttl_seconds: 60 });
        test::advance(59); assert(c.has("k"));
        test::advance(1); assert(!c.has("k"));
        assert_eq(c.keys(), []);
        """
    )


def test_scripts_follow_the_clock_of_the_test(passes: Passes) -> None:
    passes(
        """
        assert_eq(test::invoke("now", ()).result, "2026-01-01T00:00:00.000Z");
        test::set_time("2026-07-01T12:00:00Z"); test::advance(1.5);
        assert_eq(test::invoke("now", ()).result, "2026-07-01T12:00:01.500Z");
        assert_eq(time::unix(), 1782907201);
        assert_throws(|| test::advance(-1.0), "does not go back");
        """,
        scripts={"now": "time::now()"},
    )


def test_chance_is_the_same_in_every_world_and_follows_the_seed(run_app: Callable[..., list[TestResult]]) -> None:
    draw = "log::info(`${random::token(8)} ${random::int(0, 1000000)} ${uuid::v4()} ${uuid::v7()}`);"
    first, second, third = run_app(
        """
        fn test_a() { test::invoke("draw", ()); }
        fn test_b() { test::invoke("draw", ()); }
        fn test_c() { test::seed(7); test::invoke("draw", ()); }
        """,
        scripts={"draw": draw},
    )
    assert first.logs == second.logs
    assert first.logs != third.logs


def test_worlds_know_nothing_of_each_other(run_app: Callable[..., list[TestResult]]) -> None:
    results = run_app(
        """
        kv::collection("c").increment("before", 1);
        fn test_a() { assert_eq(kv::collection("c").increment("n", 1), 1); }
        fn test_b() {
            assert_eq(kv::collection("c").increment("n", 1), 1);
            assert_eq(kv::collection("c").get("before"), 1, "statements outside of functions run before each test");
        }
        """
    )
    assert [each.message for each in results] == [None, None]
