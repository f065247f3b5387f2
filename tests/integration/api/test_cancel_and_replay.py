"""Taking a row back, and what is done about dead letters: each exactly once, whoever else tries."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from uuid import UUID

import psycopg
import pytest
import redis

from picloud import broker
from picloud.ids import new_id
from picloud.outbox.run_rows import Settlement, settle
from tests.integration.api.conftest import Api
from tests.seeding import Seeds

pytestmark = pytest.mark.integration


def _complete(connection: psycopg.Connection[Any], row: UUID, token: int) -> str:
    """The verdict on a run that a worker completes under ``token``."""
    (settled,) = settle(connection, [Settlement(row, token, "completed", result_kind="unit")])
    return settled.verdict


def _token(seeds: Seeds, row: UUID) -> int:
    found = seeds.connection.execute("select token from outbox where id = %s", (row,)).fetchone()
    assert found is not None
    return int(found[0])


@pytest.mark.parametrize("state", ["pending", "published", "running"])
def test_a_row_is_cancelled_in_whatever_state_it_is(api: Api, seeds: Seeds, state: str) -> None:
    app = seeds.app()
    row = seeds.waiting(app, seeds.script(app), state=state)
    assert api.post(f"/outbox/{row}/cancel") == {"id": str(row), "status": "cancelled"}
    shown = api.get(f"/executions/{row}")
    assert (shown["status"], shown["error"]) == ("cancelled", {"code": "cancelled", "message": "cancelled by local"})
    assert api.call("DELETE", f"/outbox/{row}", expect=409)["code"] == "already_ended"
    assert api.get("/system/books")["balanced"]
    assert seeds.count("dead_letters") == 0


def test_a_row_nobody_knows_cannot_be_cancelled_nor_one_of_another_app(api: Api, seeds: Seeds) -> None:
    app = seeds.app()
    seeds.app("blog")
    row = seeds.waiting(app, seeds.script(app))
    assert api.post(f"/outbox/{new_id()}/cancel", expect=404)["code"] == "not_found"
    assert api.post(f"/apps/blog/outbox/{row}/cancel", expect=404)["code"] == "not_found"
    assert seeds.count("outbox") == 1


def test_a_completion_after_the_cancel_finds_its_lease_lost_and_not_already_committed(api: Api, seeds: Seeds) -> None:
    app = seeds.app()
    row = seeds.waiting(app, seeds.script(app), state="running")
    token = _token(seeds, row)
    api.post(f"/outbox/{row}/cancel")
    assert _complete(seeds.connection, row, token) == "lost"
    assert api.get(f"/executions/{row}")["status"] == "cancelled"


def test_a_completion_that_commits_first_wins_over_a_cancel_that_waits_for_it(
    api: Api, seeds: Seeds, database_url: str
) -> None:
    app = seeds.app()
    row = seeds.waiting(app, seeds.script(app), state="running")
    token = _token(seeds, row)

    async def race() -> Any:
        with psycopg.connect(database_url) as completing:
            assert _complete(completing, row, token) == "done"
            cancelling = asyncio.create_task(
                api.conductor.simulate_post(
                    f"/api/v1/outbox/{row}/cancel", headers={"Authorization": f"Bearer {api.key}"}
                )
            )
            while not seeds.count("pg_locks", "not granted"):
                await asyncio.sleep(0.005)
        return await cancelling

    refused = api.run(race())
    assert (refused.status_code, refused.json["code"]) == (409, "already_ended")
    assert api.get(f"/executions/{row}")["status"] == "completed"
    assert api.get("/system/books")["balanced"]


def test_who_waits_for_a_sync_run_is_told_of_its_cancel(api: Api, seeds: Seeds, redis_url: str) -> None:
    app = seeds.app()
    row = seeds.waiting(app, seeds.script(app), state="running", reply_to="web-1")
    with redis.Redis.from_url(redis_url) as client:
        client.set(broker.inbox_alive_key("web-1"), "1")
        # `max_attempts` of a sync row is 1: the seed's default.
        api.post(f"/outbox/{row}/cancel")
        replies = client.lrange(broker.inbox_key("web-1"), 0, -1)
        assert client.llen(broker.WAKE_LIST) == 1
    reply = broker.Reply.decode(replies[0])
    assert (reply.execution_id, reply.status, reply.error and reply.error["code"]) == (row, "cancelled", "cancelled")


# Dead letters


def test_a_dead_letter_shows_its_event_and_every_attempt(api: Api, seeds: Seeds) -> None:
    app = seeds.app()
    letter = seeds.dead(app, seeds.script(app))
    shown = api.get(f"/dead-letters/{letter}")
    contract = "id app source script trigger event attempts last_error resolution execution_id"
    assert set(contract.split()) <= set(shown)
    assert shown["event"] == {"method": "POST", "path": "/orders", "body": {"id": 7}}
    assert shown["last_error"] == {"code": "script_failed", "message": "no stock"}
    assert (shown["resolution"], shown["execution_id"], shown["id"]) == ("unresolved", str(letter), str(letter))
    assert [each["attempt"] for each in shown["attempts"]] == [1, 2]
    assert set(shown["attempts"][0]) == {"attempt", "error", "started_at", "finished_at", "logs"}
    assert shown["attempts"][0]["logs"][0]["message"] == "looking"
    listed = api.get("/dead-letters?resolution=unresolved")["items"]
    assert [each["id"] for each in listed] == [str(letter)]
    assert api.get("/dead-letters?resolution=ignored")["items"] == []


def test_a_replay_is_a_new_execution_of_the_same_event(api: Api, seeds: Seeds) -> None:
    app = seeds.app()
    letter = seeds.dead(app, seeds.script(app))
    replayed = api.post(f"/dead-letters/{letter}/replay")
    assert replayed["id"] == str(letter)
    row = api.get(f"/outbox/{replayed['execution_id']}")
    assert row["event"] == api.get(f"/dead-letters/{letter}")["event"]
    assert (row["root_execution_id"], row["trigger_depth"], row["order_key"]) == (str(letter), 3, "customer-1")
    assert (row["max_attempts"], row["attempts"], row["source"], row["state"]) == (5, 0, "http", "pending")
    backoff = "select backoff, backoff_base_ms, backoff_max_ms, backoff_jitter_pct from outbox"
    assert seeds.connection.execute(backoff).fetchone() == ("linear", 200, 9000, 10)
    shown = api.get(f"/dead-letters/{letter}")
    assert (shown["resolution"], shown["replayed_as"], shown["resolved_by"]) == (
        "replayed",
        replayed["execution_id"],
        "local",
    )
    assert api.post(f"/dead-letters/{letter}/replay", expect=409)["code"] == "already_resolved"
    assert api.get("/system/books")["balanced"]


def test_of_many_who_replay_one_letter_at_once_one_wins(api: Api, seeds: Seeds) -> None:
    app = seeds.app()
    letter = seeds.dead(app, seeds.script(app))

    async def storm() -> list[int]:
        headers = {"Authorization": f"Bearer {api.key}"}
        path = f"/api/v1/dead-letters/{letter}/replay"
        answers = await asyncio.gather(*(api.conductor.simulate_post(path, headers=headers) for _ in range(12)))
        return sorted(answer.status_code for answer in answers)

    assert api.run(storm()) == [200] + [409] * 11
    assert seeds.count("outbox") == 1


def test_a_replay_runs_the_script_that_is_deployed_under_that_name_now(api: Api, seeds: Seeds) -> None:
    app = seeds.app()
    old = seeds.script(app)
    letter = seeds.dead(app, old)
    seeds.connection.execute("update scripts set deleted_at = now()")
    problem = api.post(f"/dead-letters/{letter}/replay", expect=409)
    assert problem["detail"].startswith("shop has no script 'orders' any more")
    assert api.get(f"/dead-letters/{letter}")["resolution"] == "unresolved"
    new = seeds.script(app)
    api.post(f"/dead-letters/{letter}/replay")
    assert seeds.connection.execute("select script_id from outbox").fetchone() == (new,)


def test_many_are_counted_in_a_dry_run_and_replayed_in_the_order_they_died(api: Api, seeds: Seeds) -> None:
    app, other = seeds.app(), seeds.app("blog")
    script = seeds.script(app)
    letters = [seeds.dead(app, script) for _ in range(4)]
    seeds.dead(app, script, resolution="ignored")
    failed = seeds.dead(app, script, resolution="handler_failed")
    seeds.dead(other, seeds.script(other))
    counted = api.post("/apps/shop/dead-letters/replay", {"dry_run": True})
    assert counted == {"dry_run": True, "matched": 5, "replayed": [], "last_at": None}
    assert seeds.count("outbox") == 0
    first = api.post("/dead-letters/replay", {"app": "shop", "limit": 2})
    assert first["matched"] == 5
    assert [each["id"] for each in first["replayed"]] == [str(each) for each in letters[:2]]
    rest = api.post("/dead-letters/replay", {"app": "shop"})
    assert [each["id"] for each in rest["replayed"]] == [str(each) for each in [*letters[2:], failed]]
    rows = seeds.connection.execute("select id from outbox order by seq").fetchall()
    assert [str(row[0]) for row in rows] == [each["execution_id"] for each in first["replayed"] + rest["replayed"]]
    assert api.post("/dead-letters/replay", {"app": "blog", "source": "kv"})["matched"] == 0
    assert api.post("/dead-letters/replay", {"ids": [str(letters[0])]})["matched"] == 0


def test_an_edited_event_is_replayed_and_the_one_that_died_is_kept(api: Api, seeds: Seeds) -> None:
    app = seeds.app()
    letter = seeds.dead(app, seeds.script(app))
    path = f"/dead-letters/{letter}"
    died_with = api.get(path)["event"]
    edited = api.call("PATCH", path, {"event": died_with | {"body": {"id": 8}}})
    assert edited["event"]["body"] == {"id": 8}
    assert edited["edited_from"] == died_with
    again = api.call("PATCH", path, {"event": died_with | {"path": "/other"}})
    assert (again["edited_from"], again["is_edited"]) == (died_with, True)
    replayed = api.post(f"{path}/replay")
    assert api.get(f"/outbox/{replayed['execution_id']}")["event"]["path"] == "/other"
    assert api.call("PATCH", path, {"event": {}}, expect=409)["code"] == "already_resolved"


def test_an_untouched_body_keeps_its_bytes_through_an_edit(api: Api, seeds: Seeds) -> None:
    app = seeds.app()
    script = seeds.script(app)
    for body in (b'{"id" :  7.0}', b"plain", b"\xff\xfe", b'"quoted"', None):
        letter = seeds.dead(app, script, body=body)
        event = api.get(f"/dead-letters/{letter}")["event"]
        api.call("PATCH", f"/dead-letters/{letter}", {"event": event | {"path": "/new"}})
        stored = seeds.connection.execute("select event, body from dead_letters where id = %s", (letter,)).fetchone()
        assert stored is not None
        assert stored[1] == body
        assert json.loads(stored[0]) == {"method": "POST", "path": "/new"}


def test_an_ignored_letter_keeps_the_reason_and_is_not_replayed(api: Api, seeds: Seeds) -> None:
    app = seeds.app()
    letter = seeds.dead(app, seeds.script(app))
    ignored = api.post(f"/dead-letters/{letter}/ignore", {"reason": "test data"})
    assert (ignored["resolution"], ignored["resolution_note"]) == ("ignored", "test data")
    assert api.post(f"/dead-letters/{letter}/ignore", {}, expect=409)["code"] == "already_resolved"
    assert api.post(f"/dead-letters/{letter}/replay", expect=409)["code"] == "already_resolved"
    assert api.post(f"/dead-letters/{new_id()}/ignore", {}, expect=404)["code"] == "not_found"
