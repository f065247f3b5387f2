"""Scripts at work: what they call reaches the services, and what they did is what would commit."""

from __future__ import annotations

import json
from typing import Any

import pytest

from picloud.engine import RunResult
from picloud.services.desk import RunServices
from picloud.services.effects import KeyId, KvWrite, Sent
from picloud.services.kv import Stored
from picloud.services.outbound import OutboundResponse
from tests.unit.engine.sdk.scripts import IDENTITY, run
from tests.unit.services.memory import APP, MemoryStore, MemoryWorld


def world(**values: Any) -> tuple[MemoryWorld, RunServices]:
    made = MemoryWorld(**values)
    return made, made.desk().for_run(IDENTITY)


def answer(result: RunResult) -> Any:
    assert result.failure is None, result.failure
    return json.loads(result.data or b"null") if result.kind != "text" else (result.data or b"").decode()


def only(sent: tuple[Sent, ...]) -> Sent:
    (one,) = sent
    return one


def test_a_script_reads_back_what_it_wrote() -> None:
    _, services = world()
    result = run(
        """
        let things = kv::collection("things");
        things.set("a", #{ n: [1, 2.5, ()] });
        things.set("b", "text", #{ ttl_seconds: 1.5 });
        things.increment("count");
        things.increment("count", 41);
        [things.get("a"), things.get("absent"), things.get("absent", 7), things.has("b"), things.delete("b"),
         things.keys(), things.list(#{ prefix: "c" }), things.get("count")]
        """,
        services,
    )
    assert answer(result) == [
        {"n": [1, 2.5, None]},
        None,
        7,
        True,
        True,
        ["a", "count"],
        [{"key": "count", "value": 42}],
        42,
    ]
    effects = services.effects(completed=True)
    assert effects.writes == {
        KeyId(APP, "things", "a"): KvWrite(b'{"n":[1,2.5,null]}'),
        KeyId(APP, "things", "count"): KvWrite(b"42"),
        KeyId(APP, "things", "b"): KvWrite(None),
    }


def test_what_a_failed_script_did_is_nothing_but_what_it_read() -> None:
    _, services = world(store=MemoryStore({KeyId(APP, "things", "a"): Stored(b"1", 9)}))
    result = run('let c = kv::collection("things"); c.set("b", c.get("a")); throw "no"', services)
    assert result.failure is not None
    effects = services.effects(completed=False)
    assert (effects.reads, effects.writes, effects.sent) == ({KeyId(APP, "things", "a"): 9}, {}, ())


def test_a_message_names_its_queue_its_delay_and_its_key() -> None:
    _, services = world(queues=frozenset({"mails"}))
    identifier = answer(run('queue::send("mails", #{ n: 1 }, #{ delay_seconds: 1.5, key: "ada" })', services))
    sent = only(services.effects(completed=True).sent)
    assert (sent.kind, sent.name, sent.message, sent.delay_ms, sent.order_key) == (
        "queue",
        "mails",
        b'{"n":1}',
        1_500,
        "ada",
    )
    assert str(sent.id) == identifier


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ('queue::send("nowhere", 1)', "queue_not_found"),
        ('functions::invoke("nobody", 1)', "script_not_found"),
        ('secrets::get("NONE")', "secret_not_found"),
        ('kv::collection("a*").get("b")', "invalid_input"),
        ('pubsub::publish("", 1)', "invalid_input"),
    ],
)
def test_what_is_not_there_is_said_with_its_place_and_can_be_caught(script: str, code: str) -> None:
    failure = run(f"let x = 1;\n{script}").failure
    assert failure is not None
    assert (failure.code, failure.reason, failure.line) == ("script_failed", code, 2)
    assert answer(run(f'let said = ""; try {{ {script}; }} catch (e) {{ said = "caught"; }} said')) == "caught"


def test_an_invocation_hands_its_arguments_over() -> None:
    _, services = world(scripts={"other": "1"})
    run('functions::invoke("other", #{ order: 7 })', services)
    sent = only(services.effects(completed=True).sent)
    assert (sent.kind, sent.message) == ("invoke", b'{"args":{"order":7}}')
    assert sent.script_id == services.script("other")[0]


def test_a_mail_is_checked_where_it_is_written() -> None:
    _, services = world()
    assert run('email::send(#{ to: "nobody", subject: "x", text: "y" })').failure is not None
    run('email::send(#{ to: "ada@example.com", subject: "Hi", text: "there" })', services)
    assert only(services.effects(completed=True).sent).kind == "send_email"


def test_an_installation_without_a_mail_server_says_so() -> None:
    services = MemoryWorld().desk(sends_mail=False).for_run(IDENTITY)
    failure = run('email::send(#{ to: "ada@example.com", subject: "Hi", text: "x" })', services).failure
    assert failure is not None
    assert failure.reason == "mail_not_configured"


def test_calls_are_counted_and_answers_are_values() -> None:
    reply = OutboundResponse(
        200, (("content-type", "application/json"), ("x-a", "1"), ("x-a", "2")), b'{"ok":true}', "https://e.example/"
    )
    made, services = world(answer=reply)
    result = run(
        """
        let first = http::get("https://e.example/", #{ headers: #{ "x-key": "k" }, timeout_seconds: 2.0 });
        let second = http::post("https://e.example/", #{ n: 1 });
        http::request(#{ method: "delete", url: "https://e.example/7" });
        [first.status, first.body.ok, first.headers["x-a"], second.status]
        """,
        services,
    )
    assert answer(result) == [200, True, "1, 2", 200]
    assert [(ordinal, request.method) for ordinal, request in made.calls] == [(1, "GET"), (2, "POST"), (3, "DELETE")]
    assert made.calls[0][1].headers == (("x-key", "k"),)
    assert (made.calls[1][1].body, dict(made.calls[1][1].headers)["Content-Type"]) == (b'{"n":1}', "application/json")
    assert services.effects(completed=True).sent == ()


def test_a_body_that_only_says_it_is_json_stays_text() -> None:
    reply = OutboundResponse(200, (("content-type", "application/json"),), b"{oops", "https://e.example/")
    assert answer(run('http::get("https://e.example/").body', world(answer=reply)[1])) == "{oops"


def test_a_script_imports_another_one_of_its_app() -> None:
    _, services = world(scripts={"lib/sums": "fn twice(x) { x * 2 }\nexport const FACTOR = 3;"})
    assert answer(run('import "lib/sums" as sums; sums::twice(sums::FACTOR)', services)) == 6


def test_an_import_of_what_is_not_there_names_it() -> None:
    failure = run('import "lib/none" as none; 1').failure
    assert failure is not None
    assert "lib/none" in failure.message


def test_an_imported_script_that_does_not_compile_names_itself() -> None:
    _, services = world(scripts={"lib/broken": "fn ("})
    failure = run('import "lib/broken" as broken; 1', services).failure
    assert failure is not None
    assert failure.reason == "script_does_not_compile"
