"""Sources fired by hand: the rows that are made, and what is said when none is."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
import redis

from picloud import broker
from picloud.ids import new_id
from tests.integration.api.conftest import Api
from tests.seeded_triggers import create_kv_trigger, create_trigger
from tests.seeding import Seeds

pytestmark = pytest.mark.integration

CHANGE = {"op": "update", "collection": "orders:eu", "key": "7", "value": {"n": 2}, "old_value": {"n": 1}, "version": 5}


def emit(api: Api, source: str, event: Any = None, trigger: str | None = None, expect: int = 200) -> Any:
    body = {"source": source, "event": event or {}, "trigger": trigger}
    return api.post("/apps/shop/emit", body, expect=expect)


def events(api: Api, emitted: Any) -> list[Any]:
    return [api.get(f"/outbox/{each['id']}")["event"] for each in emitted["executions"]]


def detail(seeds: Seeds, table: str, **columns: object) -> None:
    names = ", ".join(columns)
    marks = ", ".join(f"%({name})s" for name in columns)
    seeds.connection.execute(f"insert into {table} ({names}) values ({marks})".encode(), columns)


def create_queue(seeds: Seeds, app: int, name: str = "mails") -> int:
    row = seeds.connection.execute(
        "insert into queues (app_id, name) values (%s, %s) returning id", (app, name)
    ).fetchone()
    assert row is not None
    return int(row[0])


def test_a_change_of_a_key_fires_what_listens_and_changes_nothing(api: Api, seeds: Seeds, redis_url: str) -> None:
    app, blog = seeds.app(), seeds.app("blog")
    script = seeds.script(app)
    create_kv_trigger(seeds, app, script, "orders:*", name="a")
    create_kv_trigger(seeds, app, script, "*", ["update"], name="b")
    create_kv_trigger(seeds, app, script, "*", ["insert"], name="inserts")
    create_kv_trigger(seeds, app, script, name="off", is_enabled=False)
    create_kv_trigger(seeds, blog, seeds.script(blog), name="a")
    emitted = emit(api, "kv", CHANGE)
    assert (emitted["source"], emitted["note"]) == ("kv", None)
    assert [(each["trigger"], each["script"]) for each in emitted["executions"]] == [("a", "orders"), ("b", "orders")]
    assert events(api, emitted) == [CHANGE, CHANGE]
    for each in emitted["executions"]:
        row = api.get(f"/executions/{each['id']}")
        assert (row["source"], row["status"], row["trigger_depth"]) == ("kv", "pending", 0)
        assert (row["root_execution_id"], row["parent_execution_id"]) == (each["id"], None)
    assert (seeds.count("kv_entries"), seeds.count("kv_usage"), seeds.count("outbox")) == (0, 0, 2)
    with redis.Redis.from_url(redis_url) as client:
        assert client.llen(broker.WAKE_LIST) == 1
    assert [each["trigger"] for each in emit(api, "kv", CHANGE, "b")["executions"]] == ["b"]


def test_when_nothing_listens_the_answer_says_so(api: Api, seeds: Seeds, redis_url: str) -> None:
    app = seeds.app()
    create_kv_trigger(seeds, app, seeds.script(app), "orders", name="a")
    told = {
        emit(api, source, event, trigger)["note"]
        for source, event, trigger in (
            ("kv", CHANGE, None),
            ("kv", CHANGE, "a"),
            ("pubsub", {"topic": "news", "message": 1}, None),
            ("email", {"to": "orders@example.org"}, None),
            ("cron", {}, None),
        )
    }
    assert told == {
        "no kv trigger is for update in orders:eu",
        "a does not listen to this",
        "no pubsub trigger subscribes to news",
        "no email trigger takes mail for orders@example.org",
        "shop has no cron trigger that is enabled",
    }
    assert seeds.count("outbox") == seeds.count("payloads") == 0
    with redis.Redis.from_url(redis_url) as client:
        assert client.llen(broker.WAKE_LIST) == 0


def test_a_named_trigger_must_be_one_that_can_fire(api: Api, seeds: Seeds) -> None:
    app, blog = seeds.app(), seeds.app("blog")
    create_kv_trigger(seeds, app, seeds.script(app), name="a")
    create_kv_trigger(seeds, app, seeds.script(app, "other"), name="off", is_enabled=False)
    create_kv_trigger(seeds, blog, seeds.script(blog), name="theirs")
    assert emit(api, "kv", CHANGE, "nothing", expect=404)["code"] == "not_found"
    assert emit(api, "kv", CHANGE, "theirs", expect=404)["code"] == "not_found"
    assert emit(api, "kv", CHANGE, "off", expect=409)["code"] == "trigger_disabled"
    assert (
        emit(api, "pubsub", {"topic": "t", "message": 1}, "a", 400)["detail"] == "trigger: a is of kind kv, not pubsub"
    )


@pytest.mark.parametrize(
    ("source", "event", "told"),
    [
        ("kv", {}, "event: object missing required field `op`"),
        ("kv", {**CHANGE, "op": "upsert"}, "event.op: invalid enum value 'upsert'"),
        ("kv", {**CHANGE, "x": 1}, "event: object contains unknown field `x`"),
        ("kv", {**CHANGE, "collection": "a*"}, "event.collection: 'a*' cannot be a collection's name"),
        ("kv", {**CHANGE, "key": ""}, "event.key: a key has 1 to 1024 bytes"),
        ("kv", {**CHANGE, "key": "\0"}, "event.key: a key has 1 to 1024 bytes"),
        ("kv", {**CHANGE, "op": "insert"}, "event.old_value: an insert has none"),
        ("kv", {**CHANGE, "op": "delete"}, "event.value: a delete has none"),
        ("pubsub", {"topic": "t"}, "event: object missing required field `message`"),
        ("pubsub", {"topic": "\n", "message": 1}, "event.topic: '\\n' cannot be a topic's name"),
        ("queue", {"queue": "mails", "message": 1, "delay_seconds": -1}, "event.delay_seconds: expected `float` >= 0"),
        ("queue", {"queue": "mails", "message": 1, "key": ""}, "event.key: expected 1 to 512 bytes"),
        ("email", {"to": "\0"}, "event.to: expected an address"),
        ("email", {"to": "a", "attachments": 1}, "event.attachments: expected `array`"),
        ("cron", {"at": "now"}, "event: object contains unknown field `at`"),
        ("dead_letter", {}, "dead_letter_id: name a dead letter of the app"),
        ("dead_letter", {"dead_letter_id": "7"}, "event.dead_letter_id: invalid UUID"),
    ],
)
def test_an_event_that_could_not_happen_is_refused(api: Api, seeds: Seeds, source: str, event: Any, told: str) -> None:
    seeds.app()
    assert emit(api, source, event, expect=400)["detail"].startswith(told)


def test_a_number_no_script_could_be_given_is_refused(api: Api, seeds: Seeds) -> None:
    seeds.app()
    assert emit(api, "pubsub", {"topic": "t", "message": 2**64}, expect=422)["code"] == "request_not_usable"


def test_a_schedule_fires_now_and_stays_where_it_was(api: Api, seeds: Seeds) -> None:
    app = seeds.app()
    script = seeds.script(app)
    for name in ("nightly", "weekly"):
        trigger = create_trigger(seeds, app, script, "cron", name)
        detail(
            seeds, "cron_triggers", trigger_id=trigger, schedule="0 3 * * *", timezone="Europe/Berlin", missed="once",
            is_on=True, next_at="2100-01-01T00:00:00Z",
        )  # fmt: skip
    refused = emit(api, "cron", {}, expect=400)
    assert refused["detail"] == "trigger: which of the app's cron triggers is meant? (there are nightly, weekly)"
    assert emit(api, "cron", {"trigger": "nightly"}, "weekly", expect=400)["code"] == "invalid_input"
    assert emit(api, "cron", {"trigger": "monthly"}, expect=404)["code"] == "not_found"
    for given in (emit(api, "cron", {"trigger": "nightly"}), emit(api, "cron", None, "nightly")):
        (event,) = events(api, given)
        assert event.pop("scheduled_at") == event.pop("fired_at")
        assert event == {"schedule": "0 3 * * *", "timezone": "Europe/Berlin"}
        assert given["executions"][0]["trigger"] == "nightly"
    assert seeds.count("cron_triggers", "next_at = '2100-01-01Z' and fired_at is null") == 2


def test_a_message_is_published_by_hand(api: Api, seeds: Seeds) -> None:
    app = seeds.app()
    script = seeds.script(app)
    for name, is_prefix, topic in (("all", True, ""), ("news", False, "news"), ("other", False, "other")):
        trigger = create_trigger(seeds, app, script, "pubsub", name)
        detail(seeds, "pubsub_triggers", trigger_id=trigger, app_id=app, is_prefix=is_prefix, topic=topic)
    emitted = emit(api, "pubsub", {"topic": "news", "message": None})
    assert [each["trigger"] for each in emitted["executions"]] == ["all", "news"]
    event = events(api, emitted)[0]
    assert (event["topic"], event["message"], event["published_at"][-1]) == ("news", None, "Z")
    assert [each["trigger"] for each in emit(api, "pubsub", {"topic": "news", "message": 1}, "news")["executions"]] == [
        "news"
    ]


def test_a_message_of_a_queue_goes_to_its_consumer_or_waits(api: Api, seeds: Seeds) -> None:
    app = seeds.app()
    queue = create_queue(seeds, app)
    message = {"queue": "mails", "message": {"to": "ada"}, "delay_seconds": 60, "key": "ada"}
    assert emit(api, "queue", {**message, "queue": "nothing"}, expect=404)["code"] == "queue_not_found"
    waiting = emit(api, "queue", message)
    assert waiting["note"] == "nobody consumes mails: the message waits in it"
    assert waiting["executions"][0]["trigger"] is None
    trigger = create_trigger(seeds, app, seeds.script(app), "queue", "consumer")
    detail(seeds, "queue_triggers", trigger_id=trigger, queue_id=queue, concurrency=2)
    taken = emit(api, "queue", message, "consumer")
    assert (taken["note"], taken["executions"][0]["trigger"], taken["executions"][0]["script"]) == (
        None,
        "consumer",
        "orders",
    )
    (event,) = events(api, taken)
    assert event == {
        "queue": "mails", "message_id": taken["executions"][0]["id"], "enqueued_at": event["enqueued_at"],
        "message": {"to": "ada"},
    }  # fmt: skip
    rows = seeds.connection.execute(
        "select state, lane > 0, order_key, max_attempts, available_at > now() + interval '50 s'"
        " from outbox order by seq"
    ).fetchall()
    assert rows == [(3, False, "ada", 3, True), (0, True, "ada", 4, True)]
    create_queue(seeds, app, "other")
    assert emit(api, "queue", {**message, "queue": "other"}, "consumer", expect=400)["code"] == "invalid_input"


def test_mail_goes_to_the_trigger_of_its_address(api: Api, seeds: Seeds) -> None:
    app = seeds.app()
    script = seeds.script(app)
    for name, address in (("any", "orders"), ("one", "orders@example.org")):
        detail(seeds, "email_triggers", trigger_id=create_trigger(seeds, app, script, "email", name), address=address)

    def taken_by(to: str, trigger: str | None = None) -> list[str]:
        return [each["trigger"] for each in emit(api, "email", {"to": to}, trigger)["executions"]]

    assert taken_by("Orders@Example.org") == ["one"]
    assert taken_by("orders@example.com") == taken_by("orders") == ["any"]
    assert taken_by("orders+eu@example.org") == []
    assert taken_by("orders@example.org", "any") == ["any"]
    seeds.connection.execute("update triggers set is_enabled = false where name = 'one'")
    assert taken_by("orders@example.org") == []
    (event,) = events(
        api, emit(api, "email", {"to": "orders@x.org", "from": "ada@x.org", "subject": "Hi", "text": "5"})
    )
    assert event == {
        "to": "orders@x.org", "from": "ada@x.org", "subject": "Hi", "text": "5", "html": None, "headers": {},
        "attachments": [],
    }  # fmt: skip


def test_a_dead_letter_goes_to_its_handlers_once_more(api: Api, seeds: Seeds) -> None:
    app, blog = seeds.app(), seeds.app("blog")
    script = seeds.script(app)
    letter, handled, theirs = seeds.dead(app, script), seeds.dead(app, script, resolution="ignored"), None
    theirs = seeds.dead(blog, seeds.script(blog))

    def give(letter_id: UUID, expect: int = 200) -> Any:
        return emit(api, "dead_letter", {"dead_letter_id": str(letter_id)}, expect=expect)

    assert give(letter)["note"] == "no dead_letter trigger of shop is for this one"
    for name, source in (("all", None), ("kv only", "kv")):
        trigger = create_trigger(seeds, app, seeds.script(app, name), "dead_letter", name)
        detail(seeds, "dead_letter_triggers", trigger_id=trigger, app_id=app, source=source)
    assert (give(handled, 409)["code"], give(theirs, 404)["code"], give(new_id(), 404)["code"]) == (
        "already_resolved", "not_found", "not_found",
    )  # fmt: skip
    seeds.connection.execute(
        "update dead_letters set resolution = 'handler_failed', resolved_at = now() where id = %s", (letter,)
    )
    emitted = give(letter)
    assert [(each["trigger"], each["script"]) for each in emitted["executions"]] == [("all", "all")]
    (event,) = events(api, emitted)
    assert (event["dead_letter_id"], event["original"]["path"]) == (str(letter), "/orders")
    assert api.get(f"/dead-letters/{letter}")["resolution"] == "unresolved"
    assert give(letter, 409)["code"] == "being_handled"
    body = {"source": "dead_letter", "event": {"dead_letter_id": str(letter)}, "trigger": "all"}
    assert api.post("/apps/shop/emit", body, expect=400)["detail"].startswith("event.trigger: ")


def test_what_is_fired_in_a_paused_app_waits(api: Api, seeds: Seeds) -> None:
    app = seeds.app()
    create_kv_trigger(seeds, app, seeds.script(app))
    seeds.connection.execute("update apps set paused_at = now()")
    emitted = emit(api, "kv", CHANGE)
    assert (len(emitted["executions"]), emitted["note"]) == (1, "shop is paused: this waits until it is resumed")


def test_sources_that_cannot_be_played_are_refused(api: Api, seeds: Seeds) -> None:
    seeds.app()
    for source in ("http", "invoke", ""):
        assert emit(api, source, expect=400)["detail"].startswith("source: invalid enum value")
    assert api.post("/apps/blog/emit", {"source": "kv", "event": CHANGE}, expect=404)["code"] == "not_found"
