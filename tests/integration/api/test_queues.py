"""Queues of apps through the control API: what waits in them, and who consumes it."""

from __future__ import annotations

import datetime as dt
from typing import Any
from uuid import UUID

import pytest

from picloud.ids import new_id
from tests.integration.api.conftest import Api
from tests.seeding import Seeds

pytestmark = pytest.mark.integration


@pytest.fixture
def shop(seeds: Seeds) -> int:
    """An app with the scripts ``orders`` and ``mails``."""
    app = seeds.app()
    seeds.script(app)
    seeds.script(app, "mails")
    return app


def _send(seeds: Seeds, app: int, queue: str, *, attempts: int = 3) -> UUID:
    """A message, sent as runs and the API send one."""
    message_id = new_id()
    seeds.connection.execute(
        "select send_rows(array[row(null, %s, %s, 'queue', %s, null, %s, 1, 2, 0, null, %s, 'linear', 5, 6, 7)::sent],"
        " '{}'::bytea)",
        (message_id, app, queue, seeds.admin_id, attempts),
    )
    return message_id


def _consume(api: Api, queue: str = "jobs", *, name: str = "work", expect: int = 201, **more: Any) -> Any:
    body = {"kind": "queue", "queue": queue, "script": "orders", **more}
    return api.call("PUT", f"/apps/shop/triggers/{name}", body, expect=expect)


def _states(seeds: Seeds) -> list[tuple[Any, ...]]:
    """State, script, lane and attempts of every message, in the order they were sent."""
    return seeds.connection.execute(
        "select o.state, s.name, o.lane, o.max_attempts"
        " from outbox o left join scripts s on s.id = o.script_id order by o.seq"
    ).fetchall()


def test_a_queue_is_made_once_shown_and_removed(api: Api, shop: int, seeds: Seeds) -> None:
    made = api.post("/apps/shop/queues", {"name": "jobs"}, expect=201)
    assert {key: made[key] for key in ("name", "consumer", "is_consumed", "waiting", "held", "oldest_seconds")} == {
        "name": "jobs", "consumer": None, "is_consumed": False, "waiting": 0, "held": 0, "oldest_seconds": None,
    }  # fmt: skip
    assert api.post("/apps/shop/queues", {"name": "jobs"}, expect=409)["code"] == "conflict"
    assert api.call("PUT", "/apps/shop/queues/jobs") == made
    assert api.call("PUT", "/apps/shop/queues/a%2Fb", expect=201)["name"] == "a/b"
    assert api.get("/apps/shop/queues/a/b")["name"] == "a/b"
    page = api.get("/apps/shop/queues?limit=1")
    assert [each["name"] for each in page["items"]] == ["a/b"]
    assert [each["name"] for each in api.get(f"/apps/shop/queues?after={page['next']}")["items"]] == ["jobs"]
    assert api.call("DELETE", "/apps/shop/queues/jobs") == {"queue": "jobs", "cancelled": 0, "in_flight": 0}
    assert api.get("/apps/shop/queues/jobs", expect=404)["code"] == "not_found"
    assert api.post("/apps/shop/queues", {"name": "a*"}, expect=400)["code"] == "invalid_input"


def test_making_and_removing_a_queue_raises_the_revision(api: Api, shop: int) -> None:
    before = api.get("/apps/shop")["revision"]
    api.call("PUT", "/apps/shop/queues/jobs", expect=201)
    api.call("PUT", "/apps/shop/queues/jobs")
    api.call("DELETE", "/apps/shop/queues/jobs")
    assert api.get("/apps/shop")["revision"] == before + 2


def test_messages_are_held_until_somebody_consumes_their_queue_and_again_when_nobody_does(
    api: Api, shop: int, seeds: Seeds
) -> None:
    api.post("/apps/shop/queues", {"name": "jobs"}, expect=201)
    row = _send(seeds, shop, "jobs")
    seeds.connection.execute("update outbox set accepted_at = now() - interval '90 s'")
    queue = api.get("/apps/shop/queues/jobs")
    assert (queue["held"], queue["waiting"], round(queue["oldest_seconds"] / 10)) == (1, 0, 9)
    (shown,) = api.get("/outbox?status=held")["items"]
    assert (shown["id"], shown["state"], shown["due"], shown["trigger"]) == (str(row), "held", False, None)
    assert api.get(f"/executions/{row}")["status"] == "pending"
    (overview,) = api.get("/queues?app=shop")["apps"]
    assert (overview["source"], overview["pending"], overview["due"], overview["oldest_due_seconds"]) == (
        "queue", 1, 0, 0,
    )  # fmt: skip

    _consume(api, concurrency=2, retry={"max_attempts": 9})
    lane = api.get("/apps/shop/queues/jobs")["id"]
    assert _states(seeds) == [(0, "orders", lane, 9)]
    assert api.get(f"/outbox/{row}")["trigger"] == "work"
    _consume(api, script="mails", expect=200)
    assert _states(seeds) == [(0, "mails", 0, 3)]
    queue = api.get("/apps/shop/queues/jobs")
    assert (queue["held"], queue["waiting"], queue["consumer"], queue["script"]) == (0, 1, "work", "mails")

    api.call("PATCH", "/apps/shop/triggers/work", {"enabled": False})
    queue = api.get("/apps/shop/queues/jobs")
    assert (queue["held"], queue["consumer"], queue["is_consumed"]) == (1, "work", False)
    api.call("PATCH", "/apps/shop/triggers/work", {"enabled": True})
    assert [state for state, *_ in _states(seeds)] == [0]
    assert api.call("DELETE", "/apps/shop/triggers/work?cancel_waiting=true")["held"] == 1
    assert [state for state, *_ in _states(seeds)] == [3]


def test_a_consumer_that_moves_to_another_queue_leaves_messages_behind(api: Api, shop: int, seeds: Seeds) -> None:
    _consume(api, "old")
    api.post("/apps/shop/queues", {"name": "new"}, expect=201)
    _send(seeds, shop, "old")
    _send(seeds, shop, "new")
    assert [state for state, *_ in _states(seeds)] == [0, 3]
    _consume(api, "new", expect=200)
    assert [state for state, *_ in _states(seeds)] == [3, 0]


def test_what_is_in_flight_ends_as_it_began(api: Api, shop: int, seeds: Seeds) -> None:
    _consume(api)
    _send(seeds, shop, "jobs")
    seeds.connection.execute("update outbox set state = 1, lease_until = now() + interval '1 min'")
    _consume(api, script="mails", expect=200)
    api.call("DELETE", "/apps/shop/triggers/work")
    assert _states(seeds) == [(1, "orders", 0, 3)]
    queue = api.get("/apps/shop/queues/jobs")
    assert (queue["in_flight"], queue["oldest_seconds"]) == (1, None)


def test_a_queue_with_a_consumer_or_with_messages_is_not_removed(api: Api, shop: int, seeds: Seeds) -> None:
    _consume(api)
    told = api.call("DELETE", "/apps/shop/queues/jobs", expect=409)
    assert (told["code"], "'work' consumes jobs" in told["detail"]) == ("queue_is_consumed", True)
    api.call("DELETE", "/apps/shop/triggers/work")
    row = _send(seeds, shop, "jobs")
    told = api.call("DELETE", "/apps/shop/queues/jobs", expect=409)
    assert (told["code"], told["detail"].partition(" (")[0]) == ("queue_not_empty", "jobs holds 1 message")
    removed = api.call("DELETE", "/apps/shop/queues/jobs?cancel_waiting=true")
    assert removed == {"queue": "jobs", "cancelled": 1, "in_flight": 0}
    assert api.get(f"/executions/{row}")["status"] == "cancelled"
    assert api.get("/system/books")["balanced"]


def test_a_message_to_a_queue_that_was_removed_meanwhile_makes_it_again(api: Api, shop: int, seeds: Seeds) -> None:
    api.post("/apps/shop/queues", {"name": "jobs"}, expect=201)
    api.call("DELETE", "/apps/shop/queues/jobs")
    _send(seeds, shop, "jobs")
    assert api.get("/apps/shop/queues/jobs")["held"] == 1


def test_the_oldest_message_is_one_that_has_not_begun(api: Api, shop: int, seeds: Seeds) -> None:
    _consume(api)
    _send(seeds, shop, "jobs")
    _send(seeds, shop, "jobs")
    seeds.connection.execute(
        "update outbox set accepted_at = %s, state = 1, lease_until = now() where seq = (select min(seq) from outbox)",
        (dt.datetime(2020, 1, 1, tzinfo=dt.UTC),),
    )
    queue = api.get("/apps/shop/queues/jobs")
    assert (queue["waiting"], queue["in_flight"]) == (1, 1)
    assert queue["oldest_seconds"] < 60
