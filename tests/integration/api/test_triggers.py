"""Triggers, schedules and topics through the control API."""

from __future__ import annotations

import datetime as dt
from typing import Any
from uuid import UUID

import pytest

from tests.integration.api.conftest import Api
from tests.seeding import Seeds

pytestmark = pytest.mark.integration

_KINDS: dict[str, dict[str, Any]] = {
    "kv": {"collection": "orders:*", "ops": ["insert", "delete"]},
    "cron": {"schedule": "*/5 * * * *", "timezone": "Europe/Berlin", "missed": "all"},
    "pubsub": {"topic": "orders.*"},
    "queue": {"queue": "jobs/big", "concurrency": 2},
    "email": {"address": "orders@example.org"},
    "dead_letter": {"source": "http", "failed_script": "orders"},
}


@pytest.fixture
def shop(seeds: Seeds) -> int:
    """An app with the scripts ``orders`` and ``mails``."""
    app = seeds.app()
    seeds.script(app)
    seeds.script(app, "mails")
    return app


def _put(api: Api, name: str, *, expect: int = 201, **wanted: Any) -> Any:
    return api.call("PUT", f"/apps/shop/triggers/{name}", {"script": "orders", **wanted}, expect=expect)


def _fired(seeds: Seeds, app: int, trigger: dict[str, Any], *, state: str = "pending") -> UUID:
    """A row this trigger has written."""
    row = seeds.waiting(app, 1, source=trigger["kind"], state=state)
    seeds.connection.execute("update outbox set trigger_id = %s where id = %s", (trigger["id"], row))
    return row


@pytest.mark.parametrize("kind", list(_KINDS))
def test_every_kind_is_made_shown_changed_and_removed(api: Api, shop: int, seeds: Seeds, kind: str) -> None:
    detail = _KINDS[kind]
    made = _put(api, "it", kind=kind, retry={"base_ms": 7}, **detail)
    assert {key: made[key] for key in detail} == detail
    assert (made["name"], made["kind"], made["script"], made["enabled"]) == ("it", kind, "orders", True)
    assert (made["principal"], made["retry"], made["waiting"]) == ("local", {"base_ms": 7}, 0)
    attempts = 1 if kind == "dead_letter" else 3
    assert (made["policy"]["base_ms"], made["policy"]["max_attempts"]) == (7, attempts)
    assert api.get("/apps/shop/triggers/it") == made
    assert api.get("/apps/shop/triggers")["items"] == [made]
    changed = _put(api, "it", kind=kind, script="mails", expect=200, **detail)
    assert (changed["id"], changed["script"], changed["retry"]) == (made["id"], "mails", {})
    removed = api.call("DELETE", "/apps/shop/triggers/it")
    assert removed == {"trigger": "it", "kind": kind, "still_run": 0, "held": 0, "cancelled": 0}
    assert api.get("/apps/shop/triggers/it", expect=404)["code"] == "not_found"
    assert seeds.count(f"{kind}_triggers") == 0


def test_the_same_again_writes_nothing_and_everything_else_raises_the_revision(
    api: Api, shop: int, seeds: Seeds
) -> None:
    def revision() -> int:
        return int(api.get("/apps/shop")["revision"])

    _put(api, "it", kind="kv", collection="a")
    before = revision()
    _put(api, "it", kind="kv", collection="a", expect=200)
    assert revision() == before
    _put(api, "it", kind="kv", collection="b", expect=200)
    api.call("PATCH", "/apps/shop/triggers/it", {"enabled": False})
    api.call("PATCH", "/apps/shop/triggers/it", {"enabled": False})
    api.call("DELETE", "/apps/shop/triggers/it")
    assert revision() == before + 3


def test_a_trigger_without_a_name_gets_one_and_a_second_of_it_is_refused(api: Api, shop: int) -> None:
    new = {"kind": "kv", "script": "orders", "collection": "orders:*"}
    made = api.post("/apps/shop/triggers", new, expect=201)
    assert made["name"] == "kv-orders:*-orders"
    assert api.get(f"/apps/shop/triggers/{made['name']}") == made
    assert api.post("/apps/shop/triggers", new, expect=409)["code"] == "conflict"
    assert api.post("/apps/shop/triggers", new | {"name": "other"}, expect=201)["name"] == "other"


@pytest.mark.parametrize(
    ("wanted", "status", "detail"),
    [
        ({"kind": "cron", "schedule": "* * * *"}, 400, "schedule: '* * * *' has 4 fields"),
        ({"kind": "cron", "schedule": "* * * * *", "timezone": "Berlin"}, 400, "timezone: 'Berlin' is not a time zone"),
        ({"kind": "kv"}, 400, "missing required field `collection`"),
        ({"kind": "kv", "collection": "a", "topic": "b"}, 400, "topic: no such key"),
        ({"kind": "kv", "collection": "a*b"}, 400, "collection: 'a*b' is not a glob"),
        ({"kind": "kv", "collection": "a", "ops": ["read"]}, 400, "ops[0]: invalid enum value 'read'"),
        ({"kind": "queue", "queue": "a", "concurrency": 0}, 400, "concurrency: expected a whole number from 1"),
        ({"kind": "email", "address": "no one"}, 400, "address: 'no one' is not an address"),
        ({"kind": "kv", "collection": "a", "retry": {"max_attempts": 0}}, 400, "retry.max_attempts: expected"),
        ({"kind": "kv", "collection": "a", "script": "none"}, 404, "shop has no script 'none'"),
        ({"kind": "dead_letter", "trigger": "none"}, 400, "no trigger whose runs can die is called 'none'"),
        ({"kind": "dead_letter", "failed_script": "none"}, 404, "shop has no script 'none'"),
        ({"kind": "sms"}, 400, "kind: invalid enum value 'sms'"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_place(
    api: Api, shop: int, seeds: Seeds, wanted: dict[str, Any], status: int, detail: str
) -> None:
    assert detail in _put(api, "it", expect=status, **wanted)["detail"]
    assert seeds.count("triggers") == 0


def test_a_queue_and_an_address_have_one_trigger(api: Api, shop: int, seeds: Seeds) -> None:
    seeds.script(seeds.app("blog"))
    _put(api, "one", kind="queue", queue="jobs")
    _put(api, "mail", kind="email", address="Orders")
    told = _put(api, "two", kind="queue", queue="jobs", expect=409)
    assert told["detail"].startswith("the queue 'jobs' has its one consumer already, 'one'")
    told = _put(api, "two", kind="email", address="orders", expect=409)
    assert told["detail"].startswith("the address 'orders' has its one trigger already, 'mail'")
    other = {"kind": "email", "script": "orders", "address": "orders"}
    told = api.post("/apps/blog/triggers", other, expect=409)
    assert told["detail"] == (
        "the address 'orders' belongs to a trigger of another app"
        " (choose another address, or remove that trigger first)"
    )
    assert seeds.count("triggers") == 2


def test_another_kind_under_the_same_name_is_another_trigger(api: Api, shop: int, seeds: Seeds) -> None:
    before = _put(api, "it", kind="queue", queue="jobs")
    after = _put(api, "it", kind="kv", collection="a", expect=200)
    assert after["id"] != before["id"]
    assert (seeds.count("queue_triggers"), seeds.count("kv_triggers"), seeds.count("queues")) == (0, 1, 1)


def test_a_schedule_keeps_its_next_time_until_it_is_another_or_was_off(api: Api, shop: int, seeds: Seeds) -> None:
    def next_at(moved_to: str = "2020-01-01T00:00:00Z") -> str:
        """The next time as it is; it is moved afterwards, as if the relay had."""
        found = api.get("/apps/shop/triggers/it").get("next_at")
        seeds.connection.execute("update cron_triggers set next_at = %s", (moved_to,))
        return str(found)

    def is_coming(instant: str) -> bool:
        return dt.timedelta() < dt.datetime.fromisoformat(instant) - dt.datetime.now(dt.UTC) < dt.timedelta(hours=1)

    _put(api, "it", kind="cron", schedule="0 * * * *")
    assert is_coming(next_at())
    _put(api, "it", kind="cron", schedule="0 * * * *", script="mails", missed="all", expect=200)
    assert next_at() == "2020-01-01T00:00:00Z"
    _put(api, "it", kind="cron", schedule="0,30 * * * *", expect=200)
    assert is_coming(next_at())
    _put(api, "it", kind="cron", schedule="0,30 * * * *", timezone="Asia/Tokyo", expect=200)
    assert is_coming(next_at())
    assert not api.call("PATCH", "/apps/shop/triggers/it", {"enabled": False})["enabled"]
    assert seeds.count("cron_triggers", "is_on") == 0
    assert "next_at" not in api.get("/apps/shop/triggers/it")
    api.call("PATCH", "/apps/shop/triggers/it", {"enabled": True})
    assert seeds.count("cron_triggers", "is_on") == 1
    assert is_coming(next_at())


def test_schedules_show_their_next_five_times_in_their_zone_and_in_utc(api: Api, shop: int) -> None:
    _put(api, "a", kind="cron", schedule="30 2 * * *", timezone="Asia/Kolkata")
    _put(api, "b", kind="cron", schedule="* * * * * *", enabled=False)
    _put(api, "c", kind="kv", collection="x")
    first = api.get("/apps/shop/schedules?limit=1")
    (kolkata,) = first["items"]
    assert [time[11:] for time in kolkata["next_times"]] == ["21:00:00Z"] * 5
    assert [time[11:] for time in kolkata["next_times_local"]] == ["02:30:00+05:30"] * 5
    assert kolkata["next_times"] == sorted(set(kolkata["next_times"]))
    (off,) = api.get(f"/apps/shop/schedules?after={first['next']}")["items"]
    assert (off["trigger"], off["enabled"], off["next_times"]) == ("b", False, [])


def test_topics_are_the_globs_somebody_listens_to(api: Api, shop: int) -> None:
    _put(api, "a", kind="pubsub", topic="orders.*")
    _put(api, "b", kind="pubsub", topic="orders.*", script="mails", enabled=False)
    _put(api, "c", kind="pubsub", topic="*")
    first = api.get("/apps/shop/topics?limit=1")
    assert first["items"] == [
        {"id": "*", "app": "shop", "topic": "*", "triggers": [{"trigger": "c", "script": "orders", "enabled": True}]}
    ]
    (second,) = api.get(f"/apps/shop/topics?after={first['next']}")["items"]
    assert [(each["trigger"], each["script"], each["enabled"]) for each in second["triggers"]] == [
        ("a", "orders", True),
        ("b", "mails", False),
    ]


def test_triggers_come_in_pages_and_by_kind(api: Api, shop: int) -> None:
    for name in "cab":
        _put(api, name, kind="kv", collection=name)
    _put(api, "d", kind="pubsub", topic="x")
    page = api.get("/apps/shop/triggers?limit=2")
    assert [each["name"] for each in page["items"]] == ["a", "b"]
    assert [each["name"] for each in api.get("/apps/shop/triggers?after=b")["items"]] == ["c", "d"]
    assert [each["name"] for each in api.get("/apps/shop/triggers?kind=pubsub")["items"]] == ["d"]
    assert api.get("/apps/none/triggers", expect=404)["code"] == "not_found"


def test_what_a_removed_trigger_has_accepted_still_runs(api: Api, shop: int, seeds: Seeds) -> None:
    trigger = _put(api, "it", kind="kv", collection="a")
    _fired(seeds, shop, trigger)
    _fired(seeds, shop, trigger, state="published")
    _fired(seeds, shop, trigger, state="running")
    assert api.get("/apps/shop/triggers/it")["waiting"] == 2
    assert api.call("DELETE", "/apps/shop/triggers/it")["still_run"] == 2
    assert seeds.count("outbox") == 3


def test_what_waits_for_a_trigger_is_cancelled_with_it_when_asked_for(api: Api, shop: int, seeds: Seeds) -> None:
    trigger = _put(api, "it", kind="kv", collection="a")
    rows = [_fired(seeds, shop, trigger), _fired(seeds, shop, trigger, state="published")]
    running = _fired(seeds, shop, trigger, state="running")
    assert seeds.route(shop, 1) == trigger["id"], "the same number: only the source tells them apart"
    other = seeds.waiting(shop, 1, source="http")
    seeds.connection.execute("update outbox set trigger_id = %s where id = %s", (trigger["id"], other))
    removed = api.call("DELETE", "/apps/shop/triggers/it?cancel_waiting=true")
    assert (removed["still_run"], removed["cancelled"]) == (0, 2)
    shown = api.get(f"/executions/{rows[0]}")
    assert (shown["status"], shown["error"]["message"]) == ("cancelled", "cancelled by local")
    assert {str(row[0]) for row in seeds.connection.execute("select id from outbox").fetchall()} == {
        str(running),
        str(other),
    }
    assert api.get("/system/books")["balanced"]


def test_a_script_used_by_a_trigger_cannot_be_removed(api: Api, shop: int, seeds: Seeds) -> None:
    trigger = _put(api, "it", kind="kv", collection="a")
    told = api.call("DELETE", "/apps/shop/scripts/orders", expect=409)["detail"]
    assert told == "orders is used by trigger it (remove the routes and triggers first)"
    _fired(seeds, shop, trigger)
    _fired(seeds, shop, trigger, state="running")
    api.call("DELETE", "/apps/shop/triggers/it")
    assert api.get("/apps/shop/scripts/orders")["waiting"] == 2
    removed = api.call("DELETE", "/apps/shop/scripts/orders?cancel_waiting=true")
    assert removed == {"script": "orders", "still_run": 1, "cancelled": 1}
    assert seeds.count("outbox", "state = 2") == seeds.count("outbox") == 1


def test_lists_name_what_fired_and_are_narrowed_by_it(api: Api, shop: int, seeds: Seeds) -> None:
    route = seeds.route(shop, 1, "/orders")
    trigger = _put(api, "it", kind="kv", collection="a")
    assert route == trigger["id"], "the same number: only the source tells them apart"
    fired = _fired(seeds, shop, trigger)
    requested = seeds.waiting(shop, 1, source="http")
    seeds.connection.execute("update outbox set trigger_id = %s where id = %s", (route, requested))
    letter = seeds.dead(shop, 1, source="kv", event=b"{}", body=None)
    for table in ("executions", "dead_letters"):
        seeds.connection.execute(f"update {table} set trigger_id = 1, source = 'kv'".encode())
    labels = {each["id"]: each["trigger"] for each in api.get("/outbox")["items"]}
    assert labels == {str(fired): "it", str(requested): "POST /orders"}
    labels = {each["id"]: each["trigger"] for each in api.get("/executions")["items"]}
    assert labels == {str(fired): "it", str(requested): "POST /orders", str(letter): "it"}
    assert api.get(f"/dead-letters/{letter}")["trigger"] == "it"
    assert [each["id"] for each in api.get("/outbox?trigger=it")["items"]] == [str(fired)]
    assert [each["id"] for each in api.get("/executions?trigger=POST%20/orders")["items"]] == [str(requested)]
    assert [each["id"] for each in api.get("/dead-letters?trigger=it")["items"]] == [str(letter)]
