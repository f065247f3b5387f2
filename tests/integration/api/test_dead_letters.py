"""Dead letters as a tool: found by their error, replayed where they belong and at a pace, by two people at once."""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
import json
from typing import Any
from uuid import UUID

import pytest

from picloud.broker import Reply
from picloud.ids import new_id
from tests.integration.api.conftest import Api
from tests.seeding import Seeds

pytestmark = pytest.mark.integration


def set_error(seeds: Seeds, letter: UUID, **error: object) -> None:
    seeds.connection.execute(
        "update dead_letters set last_error = %s where id = %s", (json.dumps(error).encode(), letter)
    )


def fingerprint_of(seeds: Seeds, error: bytes, script: int = 1) -> str:
    row = seeds.connection.execute("select error_fingerprint(%s, %s)", (script, error)).fetchone()
    assert row is not None
    return str(row[0])


def error(message: str, **more: object) -> bytes:
    return json.dumps({"code": "script_failed", "message": message, "line": 4, "column": 2} | more).encode()


# The same error


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("no stock for 17", "no stock for 4711"),
        ("took 1.5 s of 10", "took 12.25 s of 300"),
        ("order 019a1b2c-3d4e-7f50-8a6b-7c8d9e0f1a2b", "order 0198F000-0007-7000-8000-000000000001"),
        ("object 5f3a9c01be22", "object 00aa11bb22cc33dd"),
        ('no key "ada"', 'no key "bob and eve"'),
        ("no key 'ada', nor 'x'", "no key 'bob', nor 'y z'"),
        ("no `a`", "no `b`"),
        ("ord_17 is late", "ord_18 is late"),
    ],
)
def test_errors_that_differ_in_ids_numbers_and_quoted_values_are_the_same(seeds: Seeds, one: str, other: str) -> None:
    assert fingerprint_of(seeds, error(one)) == fingerprint_of(seeds, error(other))


@pytest.mark.parametrize(
    "other",
    [
        error("no customer"),
        error("no stock", line=5),
        error("no stock", column=3),
        error("no stock", code="script_timeout"),
        error("no stock", reason="queue_not_found"),
    ],
)
def test_errors_that_differ_otherwise_are_different(seeds: Seeds, other: bytes) -> None:
    assert fingerprint_of(seeds, other) != fingerprint_of(seeds, error("no stock"))
    assert fingerprint_of(seeds, error("no stock"), script=2) != fingerprint_of(seeds, error("no stock"))


def test_an_apostrophe_quotes_nothing(seeds: Seeds) -> None:
    assert fingerprint_of(seeds, error("can't buy, won't sell")) != fingerprint_of(seeds, error("can't see, won't say"))


@pytest.mark.parametrize(
    "error",
    [
        b"",
        b"\xff\xfe",
        b"not json",
        b"[1]",
        b'{"message": null}',
        b'{"message": {"a": 1}}',
        b'{"code":"x","message":"nul \\u0000 and \\ud83d alone"}',
        b'{"code":"x","message":"\\\\u0000"}',
        b'{"code":"x","message":"' + b"9a" * 500_000 + b'"}',
    ],
    ids=range(9),
)
def test_whatever_an_error_is_it_has_a_fingerprint(seeds: Seeds, error: bytes) -> None:
    assert len(fingerprint_of(seeds, error)) == 12


def test_letters_are_grouped_by_error_the_most_frequent_first(api: Api, seeds: Seeds) -> None:
    app = seeds.app()
    script = seeds.script(app)
    stock = [seeds.dead(app, script) for _ in range(3)]
    for number, letter in enumerate(stock):
        set_error(seeds, letter, code="script_failed", message=f"no stock of {number}", line=4)
    other = seeds.dead(app, script)
    set_error(seeds, other, code="script_timeout", message="too slow")
    ignored = seeds.dead(app, script, resolution="ignored")
    groups = api.get("/dead-letters/groups")["items"]
    assert [(each["count"], each["open"], each["last_error"]["message"]) for each in groups] == [
        (3, 3, "no stock of 2"),
        (1, 1, "too slow"),
    ]
    assert (groups[0]["example_id"], groups[0]["script"], groups[0]["app"]) == (str(stock[2]), "orders", "shop")
    assert groups[0]["first_died_at"] < groups[0]["last_died_at"]
    alike = api.get(f"/dead-letters?fingerprint={groups[0]['fingerprint']}")["items"]
    assert {each["id"] for each in alike} == {str(each) for each in stock}
    assert [each["example_id"] for each in api.get("/dead-letters/groups?resolution=ignored")["items"]] == [
        str(ignored)
    ]
    assert api.get("/apps/shop/dead-letters/groups?limit=1")["items"] == groups[:1]


# Filters


def test_letters_are_found_by_what_fired_them_and_when_they_died(api: Api, seeds: Seeds) -> None:
    app = seeds.app()
    script = seeds.script(app)
    old, new = seeds.dead(app, script), seeds.dead(app, script, source="kv", body=None)
    route = seeds.route(app, script)
    seeds.connection.execute(
        "update dead_letters set died_at = died_at - interval '3 days', trigger_id = %s where id = %s", (route, old)
    )
    moment = (dt.datetime.now(dt.UTC) - dt.timedelta(days=1)).isoformat().replace("+00:00", "Z")
    for query, found in (
        ("trigger=POST%20/orders", [old]),
        (f"trigger={route}", [old]),
        ("source=kv", [new]),
        (f"since={moment}", [new]),
        (f"until={moment}", [old]),
        ("script=orders", [new, old]),
        ("script=other", []),
        ("fingerprint=ffffffffffff", []),
    ):
        listed = api.get(f"/dead-letters?{query}")["items"]
        assert [each["id"] for each in listed] == [str(each) for each in found], query
    old_ones = {"until": moment, "trigger": "POST /orders"}
    assert api.post("/dead-letters/replay", {**old_ones, "dry_run": True})["matched"] == 1
    assert api.post("/dead-letters/replay", {"source": "kv", "dry_run": True})["matched"] == 1
    assert api.post("/dead-letters/ignore", {"since": moment, "trigger": "POST /orders"})["matched"] == 0


# Shown


def test_a_letter_tells_who_handled_it_and_how_its_replay_ended(api: Api, seeds: Seeds) -> None:
    app = seeds.app()
    script = seeds.script(app)
    letter = seeds.dead(app, script)
    waiting = seeds.waiting(app, script, source="dead_letter", root=letter, parent=letter)
    seeds.connection.execute(
        "update outbox set dead_letter_id = %s, is_dead_letter_handler = true where id = %s", (letter, waiting)
    )
    ended = seeds.ended(app, script, "failed", root=letter, parent=letter, error=b'{"code":"x","message":"no"}')
    seeds.connection.execute("update executions set source = 'dead_letter' where id = %s", (ended,))
    shown = api.get(f"/dead-letters/{letter}")
    assert [(each["execution_id"], each["status"]) for each in shown["handlers"]] == [
        (str(waiting), "pending"),
        (str(ended), "failed"),
    ]
    assert shown["handlers"][1]["error"]["message"] == "no"
    assert (shown["replay_status"], shown["parent_execution_id"], shown["order_key"]) == (None, None, "customer-1")
    api.post(f"/dead-letters/{letter}/replay")
    assert api.get(f"/dead-letters/{letter}")["replay_status"] == "pending"


# Replayed


def rows(seeds: Seeds, columns: str) -> list[tuple[Any, ...]]:
    return seeds.connection.execute(f"select {columns} from outbox order by seq".encode()).fetchall()


def test_a_rate_spreads_the_rows_over_time_in_the_database(api: Api, seeds: Seeds) -> None:
    app = seeds.app()
    script = seeds.script(app)
    letters = [seeds.dead(app, script) for _ in range(4)]
    done = api.post("/dead-letters/replay", {"app": "shop", "rate": 2})
    assert [each["id"] for each in done["replayed"]] == [str(each) for each in letters]
    due = [row[0] for row in rows(seeds, "available_at - accepted_at")]
    assert due == [dt.timedelta(milliseconds=500 * number) for number in range(4)]
    last = seeds.connection.execute("select max(available_at) from outbox").fetchone()
    assert last is not None
    assert dt.datetime.fromisoformat(done["last_at"]) == last[0]


def test_a_pace_goes_on_from_one_transaction_to_the_next(
    api: Api, seeds: Seeds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("picloud_web.api.dead_letters._BATCH", 2)
    app = seeds.app()
    script = seeds.script(app)
    for _ in range(5):
        seeds.dead(app, script)
    seeds.dead(app, script, resolution="ignored")
    done = api.post("/dead-letters/replay", {"app": "shop", "rate": 0.1})
    due = [dt.datetime.fromisoformat(each["available_at"]) for each in done["replayed"]]
    gaps = [round((after - before).total_seconds(), 2) for before, after in itertools.pairwise(due)]
    assert gaps == [10.0] * 4


def test_the_version_that_failed_is_replayed_though_its_script_be_gone(api: Api, seeds: Seeds) -> None:
    app = seeds.app()
    old = seeds.script(app)
    first, second = seeds.dead(app, old), seeds.dead(app, old)
    seeds.connection.execute("update scripts set deleted_at = now()")
    assert api.post(f"/dead-letters/{first}/replay", expect=409)["code"] == "conflict"
    api.post(f"/dead-letters/{first}/replay", {"version": "original"})
    assert rows(seeds, "script_id, script_version") == [(old, 1)]
    seeds.connection.execute("update dead_letters set script_version = null where id = %s", (second,))
    problem = api.post(f"/dead-letters/{second}/replay", {"version": "original"}, expect=409)
    assert problem["code"] == "version_not_found"
    assert api.post("/dead-letters/replay", {"version": "original"}) == {
        "dry_run": False, "matched": 1, "replayed": [], "last_at": None,
    }  # fmt: skip


def queued(seeds: Seeds, app: int, script: int, queue: int) -> UUID:
    letter = seeds.dead(app, script, source="queue", event=b'{"queue":"work","message":1}', body=None)
    seeds.connection.execute("update dead_letters set queue_id = %s where id = %s", (queue, letter))
    return letter


def consume(seeds: Seeds, app: int, script: int, queue: int, concurrency: int | None = None) -> int:
    trigger = seeds._number(
        "insert into triggers (app_id, name, kind, script_id, registered_by_principal, max_attempts, backoff,"
        " backoff_base_ms, backoff_max_ms, backoff_jitter_pct) values (%s, 'consumer', 'queue', %s, %s, 7, 'constant',"
        " 1, 2, 3) returning id",
        app,
        script,
        seeds.admin_id,
    )
    seeds.connection.execute("insert into queue_triggers values (%s, %s, %s)", (trigger, queue, concurrency))
    return trigger


def test_a_queued_message_goes_back_to_its_queue(api: Api, seeds: Seeds) -> None:
    app = seeds.app()
    script, other = seeds.script(app), seeds.script(app, "other")
    queue = seeds._number("insert into queues (app_id, name) values (%s, 'work') returning id", app)
    letters = [queued(seeds, app, script, queue) for _ in range(3)]
    assert api.get(f"/dead-letters/{letters[0]}")["queue"] == "work"

    api.post(f"/dead-letters/{letters[0]}/replay")
    columns = "queue_id, state, lane, order_key, trigger_id, max_attempts"
    assert rows(seeds, columns) == [(queue, 3, 0, "customer-1", None, 5)]

    trigger = consume(seeds, app, other, queue, concurrency=1)
    api.post(f"/dead-letters/{letters[1]}/replay")
    assert rows(seeds, columns + ", script_id")[1] == (queue, 0, queue, "customer-1", trigger, 7, other)

    api.post(f"/dead-letters/{letters[2]}/replay", {"version": "original"})
    assert rows(seeds, "script_id, script_version, queue_id")[2] == (script, 1, queue)
    assert api.get("/system/books")["balanced"]


def test_a_message_of_a_queue_that_is_gone_and_an_event_of_a_trigger_that_is_gone_still_run(
    api: Api, seeds: Seeds
) -> None:
    app = seeds.app()
    script = seeds.script(app)
    queued(seeds, app, script, queue=4711)
    fired = seeds.dead(app, script, source="kv", body=None)
    seeds.connection.execute("update dead_letters set trigger_id = 4711 where id = %s", (fired,))
    assert len(api.post("/dead-letters/replay")["replayed"]) == 2
    assert rows(seeds, "queue_id, state, script_id, source") == [(None, 0, script, "queue"), (None, 0, script, "kv")]


def test_what_two_people_do_to_many_at_once_happens_to_each_letter_once(api: Api, seeds: Seeds) -> None:
    app = seeds.app()
    script = seeds.script(app)
    letters = {str(seeds.dead(app, script)) for _ in range(60)}
    headers = {"Authorization": f"Bearer {api.key}"}

    async def storm() -> list[Any]:
        async def post(what: str, ids: list[str]) -> Any:
            path = f"/api/v1/dead-letters/{what}"
            return await api.conductor.simulate_post(path, headers=headers, json={"ids": ids})

        forwards, backwards = sorted(letters), sorted(letters, reverse=True)
        return await asyncio.gather(
            *(post(what, ids) for ids in (forwards, backwards) for what in ("replay", "ignore") for _ in range(3))
        )

    answers = api.run(storm())
    assert [answer.status_code for answer in answers] == [200] * 12
    resolved = [each["id"] for answer in answers for each in answer.json.get("replayed", answer.json.get("ignored"))]
    assert sorted(resolved) == sorted(letters)
    replayed = seeds.count("dead_letters", "resolution = 'replayed'")
    assert seeds.count("outbox") == replayed == len({row[0] for row in rows(seeds, "id")})
    assert api.get("/system/books")["balanced"]


def test_many_are_ignored_with_a_reason(api: Api, seeds: Seeds) -> None:
    app, other = seeds.app(), seeds.app("blog")
    letters = [seeds.dead(app, seeds.script(app, f"s{number}")) for number in range(2)]
    seeds.dead(other, seeds.script(other))
    counted = api.post("/apps/shop/dead-letters/ignore", {"dry_run": True})
    assert counted == {"dry_run": True, "matched": 2, "ignored": []}
    done = api.post("/apps/shop/dead-letters/ignore", {"reason": "test data"})
    assert {each["id"] for each in done["ignored"]} == {str(each) for each in letters}
    shown = api.get(f"/dead-letters/{letters[0]}")
    assert (shown["resolution"], shown["resolution_note"], shown["resolved_by"]) == ("ignored", "test data", "local")
    assert seeds.count("dead_letters", "resolution = 'unresolved'") == 1


# Tried


def test_a_trial_is_the_row_that_a_replay_would_be_and_no_letter_changes(api: Api, seeds: Seeds) -> None:
    app = seeds.app()
    script = seeds.script(app)
    letter = seeds.dead(app, script)
    seeds.connection.execute(
        "update dead_letters set trigger_id = %s where id = %s", (seeds.route(app, script), letter)
    )
    report = b'{"status":"completed","script":"orders","version":1,"result":{"a":1},"run_ms":1.5,"operations":3}'
    api.dispatcher.answer = lambda arrival: Reply(arrival.id, "completed", result_kind="json", data=report)
    before = seeds.connection.execute("select * from dead_letters").fetchall()
    tried = api.post(f"/dead-letters/{letter}/dry-run")
    (arrival,) = api.dispatcher.accepted
    assert (tried["execution_id"], tried["result"], tried["kv"]) == (str(arrival.id), {"a": 1}, [])
    assert (arrival.source, arrival.script_id, arrival.script_version, arrival.principal_id) == (
        "dry_run", script, None, seeds.admin_id,
    )  # fmt: skip
    assert (arrival.root_execution_id, arrival.trigger_depth, arrival.body) == (letter, 3, b'{"id":7}')
    assert json.loads(arrival.event) == {
        "source": "http",
        "trigger": "POST /orders",
        "event": {"method": "POST", "path": "/orders"},
        "with_calls": False,
    }
    assert seeds.connection.execute("select * from dead_letters").fetchall() == before
    assert seeds.count("outbox") == 0


def test_a_trial_may_have_another_event_and_the_version_that_failed(api: Api, seeds: Seeds) -> None:
    app = seeds.app()
    letter = seeds.dead(app, seeds.script(app), resolution="ignored")
    api.dispatcher.answer = lambda arrival: Reply(arrival.id, "failed", error={"code": "worker_crash", "message": "x"})
    event = {"method": "POST", "path": "/other", "body": {"id": 8}}
    body = {"event": event, "version": "original", "with_calls": True}
    tried = api.post(f"/apps/shop/dead-letters/{letter}/dry-run", body)
    assert (tried["status"], tried["error"]["code"], tried["script"]) == ("failed", "worker_crash", None)
    (arrival,) = api.dispatcher.accepted
    assert (arrival.script_version, arrival.body) == (1, b'{"id":8}')
    assert json.loads(arrival.event)["event"] == {"method": "POST", "path": "/other"}
    assert json.loads(arrival.event)["with_calls"] is True


def test_what_cannot_be_tried_is_told(api: Api, seeds: Seeds) -> None:
    app = seeds.app()
    letter = seeds.dead(app, seeds.script(app))
    seeds.app("blog")
    assert api.post(f"/dead-letters/{new_id()}/dry-run", expect=404)["code"] == "not_found"
    assert api.post(f"/apps/blog/dead-letters/{letter}/dry-run", expect=404)["code"] == "not_found"
    api.post("/apps/shop/pause")
    assert api.post(f"/dead-letters/{letter}/dry-run", expect=503)["code"] == "app_paused"
    seeds.connection.execute("update scripts set deleted_at = now()")
    assert api.post(f"/dead-letters/{letter}/dry-run", expect=409)["code"] == "conflict"
    assert api.dispatcher.accepted == []
