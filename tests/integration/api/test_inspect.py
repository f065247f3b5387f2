"""What ran, what waits, who runs it: through the control API."""

from __future__ import annotations

import base64
import datetime as dt
import json
from typing import Any

import psycopg
import pytest
import redis

from picloud import broker
from picloud.ids import new_id
from tests.integration.api.conftest import Api
from tests.seeding import Seeds

pytestmark = pytest.mark.integration


def test_an_execution_has_one_shape_whether_it_waits_runs_or_has_ended(api: Api, seeds: Seeds) -> None:
    app = seeds.app()
    script = seeds.script(app)
    ids = [
        seeds.waiting(app, script),
        seeds.waiting(app, script, state="published"),
        seeds.waiting(app, script, state="running"),
        seeds.ended(app, script),
    ]
    shown = [api.get(f"/executions/{each}") for each in ids]
    assert [each["status"] for each in shown] == ["pending", "pending", "running", "completed"]
    assert len({tuple(each) for each in shown}) == 1
    contract = (
        "id app script version status attempts result error logs root_execution_id trigger_depth created_at finished_at"
    )
    assert set(contract.split()) <= set(shown[0])
    assert shown[3]["created_at"].endswith("Z")
    assert shown[3]["finished_at"].endswith("Z")
    assert (shown[3]["run_ms"], shown[3]["operations"]) == (1.5, 7)


def test_instants_are_utc_whatever_time_zone_the_database_has(api: Api, seeds: Seeds) -> None:
    name = seeds.connection.info.dbname
    seeds.connection.execute(f'alter database "{name}" set timezone to "Asia/Tokyo"'.encode())
    app = seeds.app()
    execution = seeds.ended(app, seeds.script(app))
    shown = dt.datetime.fromisoformat(api.get(f"/executions/{execution}")["finished_at"])
    assert abs(shown - dt.datetime.now(dt.UTC)) < dt.timedelta(minutes=5)
    assert api.get("/apps/shop")["created_at"].endswith("Z")


@pytest.mark.parametrize(
    ("stored", "http", "shown"),
    [
        (("unit", None), None, None),
        (("json", b'{"b":1,"a":[1.0]}'), None, {"b": 1, "a": [1.0]}),
        (("text", "grüß".encode()), None, "grüß"),
        (("blob", b"\xff\x00"), None, {"base64": base64.b64encode(b"\xff\x00").decode()}),
        (
            ("response", b"<p>"),
            (201, b'[["content-type","text/html"]]'),
            {"status": 201, "headers": [["content-type", "text/html"]], "body": "<p>"},
        ),
    ],
)
def test_a_result_is_shown_by_its_kind(
    api: Api, seeds: Seeds, stored: tuple[str, bytes | None], http: tuple[int, bytes] | None, shown: object
) -> None:
    app = seeds.app()
    execution = seeds.ended(app, seeds.script(app), result=stored, http=http)
    found = api.get(f"/executions/{execution}")
    assert found["result"] == shown
    assert found["result_kind"] == stored[0]


def test_a_waiting_row_shows_the_error_of_its_last_attempt(api: Api, seeds: Seeds) -> None:
    app = seeds.app()
    row = seeds.waiting(app, seeds.script(app), attempt=2)
    for attempt, message in ((1, b"first"), (2, b"second")):
        seeds.connection.execute(
            "insert into attempts (execution_id, attempt, error) values (%s, %s, %s)",
            (row, attempt, b'{"code":"script_failed","message":"' + message + b'"}'),
        )
    assert api.get(f"/executions/{row}")["error"] == {"code": "script_failed", "message": "second"}


def test_lists_are_narrowed_by_every_filter(api: Api, seeds: Seeds) -> None:
    shop, blog = seeds.app(), seeds.app("blog")
    orders, mails = seeds.script(shop), seeds.script(shop, "mails")
    first = seeds.ended(shop, orders)
    second = seeds.ended(shop, mails, "failed", error=b'{"code":"script_failed","message":"no"}')
    third = seeds.waiting(blog, seeds.script(blog), source="http")
    seeds.route(blog, seeds.script(blog, "other"), "/p")
    seeds.connection.execute("update outbox set trigger_id = (select id from routes)")
    since = "2100-01-01T00:00:00Z"

    def listed(query: str, path: str = "/executions") -> list[str]:
        return [each["id"] for each in api.get(f"{path}?{query}")["items"]]

    assert listed("") == [str(third), str(second), str(first)]
    assert listed("app=shop") == listed("", "/apps/shop/executions") == [str(second), str(first)]
    assert listed("script=mails") == listed("status=failed") == [str(second)]
    assert listed("source=http") == listed("status=pending") == [str(third)]
    assert listed("trigger=POST%20/p") == [str(third)]
    assert listed(f"since={since}") == []
    assert api.get("/executions?app=nothing", expect=404)["code"] == "not_found"
    assert api.get("/apps/shop/executions?app=blog", expect=400)["detail"] == "app: 'blog' is not the app in the path"
    assert api.get("/executions?status=done", expect=400)["code"] == "invalid_input"
    assert api.get(f"/apps/blog/executions/{first}", expect=404)["code"] == "not_found"


def test_pages_neither_repeat_nor_lose_an_item_while_rows_come_and_end(api: Api, seeds: Seeds) -> None:
    app = seeds.app()
    script = seeds.script(app)
    there = [str(seeds.waiting(app, script) if n % 2 else seeds.ended(app, script)) for n in range(7)]
    page = api.get("/executions?limit=3")
    seen = [each["id"] for each in page["items"]]
    while page["next"] is not None:
        seeds.ended(app, script)  # newer than everything: before the first page
        moving = next(each for each in reversed(there) if each not in seen)
        api.post(f"/outbox/{moving}/cancel", expect=200 if seeds.count("outbox", f"id = '{moving}'") else 409)
        page = api.get(f"/executions?limit=3&after={page['next']}")
        seen += [each["id"] for each in page["items"]]
    assert seen == sorted(there, reverse=True)


def test_a_tree_holds_everything_of_one_first_cause(api: Api, seeds: Seeds) -> None:
    app = seeds.app()
    script = seeds.script(app)
    root = seeds.ended(app, script)
    child = seeds.ended(app, script, root=root, parent=root, depth=1)
    waiting = seeds.waiting(app, script, root=root, parent=child, depth=2)
    running = seeds.waiting(app, script, state="running", root=root, parent=root, depth=1)
    seeds.ended(app, script)
    nodes = [(root, None, 0), (child, root, 1), (waiting, child, 2), (running, root, 1)]
    expected = [(str(each), None if parent is None else str(parent), depth) for each, parent, depth in nodes]
    for start in (root, child, waiting, running):
        items = api.get(f"/executions/{start}/tree")["items"]
        found = [(each["id"], each["parent_execution_id"], each["depth"]) for each in items]
        assert sorted(found) == sorted(expected)  # ids made in one millisecond are in no order
        assert sorted(each["status"] for each in items) == ["completed", "completed", "pending", "running"]
    page = api.get(f"/executions/{root}/tree?limit=3")
    rest = api.get(f"/executions/{root}/tree?after={page['next']}")["items"]
    assert [len(page["items"]), len(rest)] == [3, 1]
    assert {each["id"] for each in [*page["items"], *rest]} == {str(each) for each, _, _ in nodes}
    assert api.get(f"/executions/{new_id()}/tree", expect=404)["code"] == "not_found"
    assert api.get(f"/executions/{waiting}")["parent_execution_id"] == str(child)
    assert {each["parent_execution_id"] for each in api.get("/executions")["items"]} == {None, str(root), str(child)}


def test_waiting_for_an_end_answers_when_it_comes(api: Api, seeds: Seeds, database_url: str) -> None:
    app = seeds.app()
    script = seeds.script(app)
    row = seeds.waiting(app, script)
    assert api.get(f"/executions/{row}?wait=0.1")["status"] == "pending"

    async def end_while_waiting() -> Any:
        import asyncio

        waiting = asyncio.create_task(
            api.conductor.simulate_get(
                f"/api/v1/executions/{row}",
                query_string="wait=60",
                headers={"Authorization": f"Bearer {api.key}"},
            )
        )
        async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as other:
            # It has looked once and found nothing; whatever it does from now on it does while the row ends.
            while not waiting.done():
                asked = await other.execute(
                    "select count(*) from pg_stat_activity"
                    " where query like '-- Asked again%' and pid <> pg_backend_pid()"
                )
                if (await asked.fetchone() or (0,))[0]:
                    break
                await asyncio.sleep(0)
            await other.execute(
                "with gone as (delete from outbox where id = %s returning *) insert into executions"
                " (id, app_id, script_id, source, principal_id, status, token, attempts, is_sync, root_execution_id,"
                " trigger_depth, accepted_at)"
                " select id, app_id, script_id, source, principal_id, 'completed', token, 1, false, id, 0, accepted_at"
                " from gone",
                (row,),
            )
        return (await waiting).json

    assert api.run(end_while_waiting())["status"] == "completed"
    assert api.get("/executions/" + str(new_id()) + "?wait=60", expect=404)["code"] == "not_found"
    assert api.get(f"/executions/{row}?wait=61", expect=400)["detail"].startswith("wait: ")


def test_logs_of_an_execution_say_when_each_line_was_written(api: Api, seeds: Seeds) -> None:
    app = seeds.app()
    lines = [
        {"at_us": 250_000, "level": "info", "message": "hi", "fields": {"n": 1}},
        {"at_us": 1, "level": "warn", "message": "a\0b"},
    ]
    execution = seeds.ended(app, seeds.script(app), logs=json.dumps(lines).encode())
    found = api.get(f"/executions/{execution}/logs")["items"]
    started = dt.datetime.fromisoformat(api.get(f"/executions/{execution}")["started_at"])
    assert dt.datetime.fromisoformat(found[0]["at"]) == started + dt.timedelta(milliseconds=250)
    assert (found[0]["level"], found[0]["message"], found[0]["fields"]) == ("info", "hi", {"n": 1})
    assert (found[1]["message"], found[1]["app"], found[1]["script"]) == ("a\0b", "shop", "orders")
    assert api.get(f"/executions/{execution}")["logs"] == found


def test_following_logs_misses_nothing_that_is_committed_late(api: Api, seeds: Seeds, database_url: str) -> None:
    app = seeds.app()
    script = seeds.script(app)

    def line(text: str) -> bytes:
        return json.dumps([{"at_us": 0, "level": "info", "message": text}]).encode()

    def write(connection: psycopg.Connection[object], text: str) -> None:
        connection.execute(
            "insert into execution_logs (execution_id, app_id, attempt, lines) values (%s, %s, 1, %s)",
            (seeds.ended(app, script), app, line(text)),
        )

    start = api.get("/apps/shop/logs")
    assert start["items"] == []
    with psycopg.connect(database_url) as slow:
        write(slow, "began first, committed last")
        write(seeds.connection, "began last, committed first")
        page = api.get(f"/apps/shop/logs?after={start['next']}")
        assert page["items"] == []
    seen: list[str] = []
    while len(seen) < 2:
        page = api.get(f"/apps/shop/logs?wait=5&after={page['next']}")
        seen += [each["message"] for each in page["items"]]
    assert seen == ["began first, committed last", "began last, committed first"]
    assert api.get(f"/logs?after={page['next']}")["items"] == []
    assert [each["message"] for each in api.get("/logs?limit=1")["items"]] == seen[1:]
    assert [each["message"] for each in api.get("/logs?limit=2")["items"]] == seen
    assert api.get("/logs?after=garbage", expect=400)["code"] == "invalid_input"


def test_the_outbox_shows_what_waits_with_its_event(api: Api, seeds: Seeds) -> None:
    app = seeds.app()
    script = seeds.script(app)
    due = seeds.waiting(app, script)
    later = seeds.waiting(app, script, due_in_seconds=60, attempt=1, source="http", event=b'{"path":"/"}', body=b"text")
    caused = seeds.waiting(app, script, source="kv", root=due, parent=due, depth=1)
    shown = api.get(f"/outbox/{caused}")
    assert (shown["root_execution_id"], shown["parent_execution_id"], shown["trigger_depth"]) == (str(due), str(due), 1)
    assert api.get(f"/outbox/{due}")["parent_execution_id"] is None
    items = api.get("/outbox")["items"]
    # As a set: ids made in one millisecond are in no order
    assert {(each["id"], each["state"], each["due"], each["attempts"]) for each in items} == {
        (str(due), "pending", True, 0),
        (str(later), "pending", False, 1),
        (str(caused), "pending", True, 0),
    }
    assert api.get(f"/outbox/{later}")["event"] == {"path": "/", "body": "text"}
    assert api.get(f"/apps/shop/outbox/{due}")["event"] == {"args": 1}
    assert api.get(f"/outbox/{new_id()}", expect=404)["code"] == "not_found"


def test_queues_count_per_app_and_source(api: Api, seeds: Seeds, redis_url: str) -> None:
    app = seeds.app()
    script = seeds.script(app)
    busy = seeds.worker()
    gone = seeds.worker(beat_ago=dt.timedelta(hours=1))
    seeds.waiting(app, script, due_in_seconds=-90)
    seeds.waiting(app, script, due_in_seconds=60, attempt=1)
    seeds.waiting(app, script, state="published")
    seeds.waiting(app, script, state="running", worker_id=busy)
    seeds.waiting(app, script, source="http")
    with redis.Redis.from_url(redis_url) as client:
        client.rpush(broker.ASYNC_LIST, "m1", "m2")
    found = api.get("/queues")
    by_source = {each["source"]: each for each in found["apps"]}
    oldest = by_source["invoke"].pop("oldest_due_seconds")
    assert 90 <= oldest < 120
    assert by_source["invoke"] == {
        "app": "shop", "source": "invoke", "pending": 2, "due": 1, "published": 1, "running": 1, "retrying": 1,
    }  # fmt: skip
    assert found["broker"] == {"is_up": True, "sync": 0, "async": 2}
    workers = {each["id"]: (each["status"], each["running"], each["threads"]) for each in found["workers"]}
    assert workers == {str(busy): ("busy", 1, 4), str(gone): ("lost", 0, 4)}
    with redis.Redis.from_url(redis_url) as client:
        client.set(broker.worker_alive_key(gone), "1")
    listed = {each["id"]: each["status"] for each in api.get("/system/workers")["items"]}
    assert listed[str(gone)] == "idle"
    assert api.get("/queues?app=shop")["apps"] == found["apps"] or oldest


def test_a_worker_is_told_to_drain(api: Api, seeds: Seeds) -> None:
    worker = seeds.worker()
    drained = api.post(f"/system/workers/{worker}/drain")
    assert (drained["status"], drained["draining_at"][-1]) == ("draining", "Z")
    assert api.post(f"/system/workers/{worker}/drain")["draining_at"] == drained["draining_at"]
    assert api.post(f"/system/workers/{new_id()}/drain", expect=404)["code"] == "not_found"


def test_throughput_counts_the_last_seconds_only(api: Api, seeds: Seeds) -> None:
    app = seeds.app()
    script = seeds.script(app)
    for status in ("completed", "completed", "failed", "abandoned", "dead", "cancelled", "depth_exceeded"):
        seeds.ended(app, script, status)
    # Accepted before, ended within them; and both before.
    seeds.connection.execute("update executions set accepted_at = now() - interval '2 min' where status = 'dead'")
    earlier = seeds.ended(app, script)
    seeds.connection.execute(
        "update executions set accepted_at = now() - interval '3 min', finished_at = now() - interval '2 min'"
        " where id = %s",
        (earlier,),
    )
    seeds.waiting(app, script)
    old = seeds.waiting(app, script)
    seeds.connection.execute("update outbox set accepted_at = now() - interval '1 h' where id = %s", (old,))
    assert api.get("/system/throughput?seconds=60") == {
        "seconds": 60.0, "accepted": 7, "completed": 2, "failed": 2, "dead": 1, "cancelled": 1, "depth_exceeded": 1,
    }  # fmt: skip
    assert api.get("/system/throughput?seconds=150")["completed"] == 3
    assert api.get("/system/throughput?seconds=0", expect=400)["code"] == "invalid_input"


def test_the_books_balance_over_every_kind_of_end_and_dropped_days(api: Api, seeds: Seeds) -> None:
    app = seeds.app()
    script = seeds.script(app)
    for status in ("completed", "completed", "failed", "cancelled", "depth_exceeded", "abandoned"):
        seeds.ended(app, script, status)
    seeds.dead(app, script)
    seeds.waiting(app, script)
    seeds.waiting(app, script, state="published")
    seeds.waiting(app, script, state="running")
    seeds.connection.execute(
        "update book_totals"
        " set total = case entry when 'accepted' then 10 when 'completed' then 9 when 'dead' then 1 else 0 end"
    )
    assert api.get("/system/books") == {
        "accepted": 20, "completed": 11, "failed": 2, "dead": 2, "cancelled": 1, "depth_exceeded": 1,
        "pending": 2, "running": 1, "balanced": True,
    }  # fmt: skip
    # A payload that was carried over from a dropped day was accepted once.
    copied = new_id()
    seeds.payload(copied, app)
    seeds.connection.execute("update payloads set is_copy = true where id = %s", (copied,))
    assert api.get("/system/books")["balanced"]
    # And a loss is seen.
    seeds.connection.execute("delete from outbox where state = 0")
    assert api.get("/system/books") | {"pending": 2} != api.get("/system/books")
    assert not api.get("/system/books")["balanced"]


def test_stats_and_abandoned_executions(api: Api, seeds: Seeds) -> None:
    app = seeds.app()
    script = seeds.script(app)
    left = seeds.ended(app, script, "abandoned")
    seeds.connection.execute(
        "insert into abandoned_executions (execution_id, app_id, script_id, reason) values (%s, %s, %s, 'client_gone')",
        (left, app, script),
    )
    seeds.dead(app, script)
    stats = api.get("/system/stats")
    assert (stats["apps"], stats["scripts"], stats["unresolved_dead_letters"]) == (1, 1, 1)
    assert stats["last_hour"] == {"abandoned": 1, "dead": 1}
    items = api.get("/apps/shop/abandoned-executions")["items"]
    assert [(each["id"], each["reason"], each["script"]) for each in items] == [(str(left), "client_gone", "orders")]


def test_lists_answer_when_redis_does_not(api: Api, seeds: Seeds, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: object, **__: object) -> None:
        raise redis.exceptions.ConnectionError("connection refused")

    monkeypatch.setattr(api.services.redis, "execute_command", away)
    seeds.worker()
    found = api.get("/queues")
    assert found["broker"] == {"is_up": False, "sync": 0, "async": 0}
    assert found["workers"][0]["status"] == "idle"
