"""Every kind of trigger on a running platform, and the chain from a changed key to the handler of a dead letter."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable, Iterator
from email.message import Message
from typing import Any

import pytest

from tests.acceptance.running import Platform, running_platform

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(180)]

MANIFEST = """
[app]
name = "shop"

[[route]]
method = "POST"
path = "/orders/:id"
script = "scripts/take_order.rhai"

[[route]]
method = "POST"
path = "/loop"
script = "scripts/loop.rhai"
dispatch_mode = "async"

[[trigger]]
kind = "kv"
collection = "orders:*"
ops = ["insert"]
script = "scripts/on_order.rhai"

[[trigger]]
kind = "kv"
name = "circle"
collection = "circle"
script = "scripts/loop.rhai"

[[trigger]]
kind = "queue"
queue = "pack"
concurrency = 2
script = "scripts/pack.rhai"
retry = { max_attempts = 2, backoff = "constant", base_ms = 10, max_ms = 10, jitter_pct = 0 }

[[trigger]]
kind = "pubsub"
topic = "news:*"
script = "scripts/on_news.rhai"

[[trigger]]
kind = "cron"
name = "tick"
schedule = "* * * * * *"
timezone = "Europe/Berlin"
script = "scripts/tick.rhai"

[[trigger]]
kind = "dead_letter"
name = "undertaker"
source = "queue"
script = "scripts/on_dead.rhai"
"""

SCRIPTS = {
    "take_order": """
        kv::collection("orders:web").set(ctx.request.params.id, #{ items: ctx.request.body.items });
        #{ taken: ctx.request.params.id }
    """,
    "on_order": """
        queue::send("pack", #{ order: ctx.event.key, items: ctx.event.value.items });
        pubsub::publish("news:orders", #{ order: ctx.event.key, op: ctx.event.op, old: ctx.event.old_value });
    """,
    "pack": """
        kv::collection("packed").set(ctx.event.message.order, true);
        if ctx.event.message.items == 0 { throw "nothing to pack"; }
        ctx.event.queue
    """,
    "on_news": """
        let message = ctx.event.message;
        let seen = #{ topic: ctx.event.topic, op: message.op, depth: ctx.trigger_depth };
        kv::collection("news").set(message.order, seen);
    """,
    "on_dead": """
        kv::collection("graves").set(ctx.event.original.message.order, #{
            attempts: ctx.event.attempts, why: ctx.event.last_error.message, source: ctx.event.original.source,
            trigger: ctx.trigger,
        });
    """,
    "tick": """
        kv::collection("ticks").set(ctx.event.scheduled_at, ctx.event.timezone);
    """,
    "loop": """
        kv::collection("circle").increment("turns");
    """,
}


@pytest.fixture(scope="module")
def platform() -> Iterator[Platform]:
    with running_platform(PICLOUD_MAX_TRIGGER_DEPTH="4") as platform:
        folder = platform.folder / "shop"
        (folder / "scripts").mkdir(parents=True)
        for name, source in SCRIPTS.items():
            (folder / "scripts" / f"{name}.rhai").write_text(source, "utf-8")
        (folder / "picloud.toml").write_text(MANIFEST, "utf-8")
        platform.picloud("check", "shop")
        platform.picloud("deploy", "shop")
        yield platform


def until(look: Callable[[], Any], within_seconds: float = 20) -> Any:
    """What ``look`` finds once it finds something."""
    give_up_at = time.monotonic() + within_seconds
    while not (found := look()):
        assert time.monotonic() < give_up_at, f"not within {within_seconds} s"
        time.sleep(0.1)
    return found


def read(platform: Platform, *arguments: str) -> Any:
    return json.loads(platform.picloud(*arguments, "--json"))


def key(platform: Platform, collection: str, name: str) -> Any:
    """The value of a key, or None."""
    rows = read(platform, "kv", "ls", "shop", collection)
    if name not in {row["key"] for row in rows}:
        return None
    return json.loads(platform.picloud("kv", "get", "shop", collection, name))


def post(platform: Platform, path: str, body: object) -> tuple[int, Message, Any]:
    request = urllib.request.Request(
        f"{platform.url}/@shop{path}", json.dumps(body).encode(), {"content-type": "application/json"}, method="POST"
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        return response.status, response.headers, json.loads(response.read() or b"null")


def test_a_changed_key_runs_a_whole_chain_to_the_handler_of_a_dead_letter(platform: Platform) -> None:
    # When an order comes that nobody can pack
    status, headers, answer = post(platform, "/orders/empty", {"items": 0})
    assert (status, answer) == (200, {"taken": "empty"})
    root = headers["X-Execution-Id"]
    # Then its letter is handled, and tells the event that died
    grave = until(lambda: key(platform, "graves", "empty"))
    assert grave == {"attempts": 2, "why": "nothing to pack", "source": "queue", "trigger": "undertaker"}
    letters = until(lambda: read(platform, "dead-letters", "ls", "--app", "shop", "--resolution", "handled_by_script"))
    assert [letter["source"] for letter in letters] == ["queue"]
    # And what failed left nothing behind
    assert key(platform, "packed", "empty") is None
    # And the tree shows what caused what
    tree = {each["id"]: each for each in read(platform, "executions", "tree", root)}
    scripts = {each["script"] for each in tree.values()}
    assert scripts == {"take_order", "on_order", "pack", "on_news", "on_dead"}
    parents = {
        each["script"]: tree[each["parent_execution_id"]]["script"] for each in tree.values() if each["id"] != root
    }
    assert parents == {"on_order": "take_order", "pack": "on_order", "on_news": "on_order", "on_dead": "pack"}
    assert {each["script"]: each["trigger_depth"] for each in tree.values()} == {
        "take_order": 0,
        "on_order": 1,
        "pack": 2,
        "on_news": 2,
        "on_dead": 3,
    }
    assert "on_dead" in platform.picloud("executions", "tree", root)


def test_a_published_message_reaches_who_subscribes(platform: Platform) -> None:
    post(platform, "/orders/fine", {"items": 3})
    assert until(lambda: key(platform, "news", "fine")) == {"topic": "news:orders", "op": "insert", "depth": 2}
    assert until(lambda: key(platform, "packed", "fine")) is True


def test_a_key_set_by_hand_fires_like_a_scripts(platform: Platform) -> None:
    platform.picloud("kv", "set", "shop", "orders:phone", "p1", '{"items": 1}')
    assert until(lambda: key(platform, "packed", "p1")) is True


def test_each_source_is_fired_by_hand(platform: Platform) -> None:
    platform.picloud("emit", "queue", "shop", '{"queue": "pack", "message": {"order": "q1", "items": 2}}')
    platform.picloud("emit", "pubsub", "shop", '{"topic": "news:x", "message": {"order": "n1", "op": "none"}}')
    assert until(lambda: key(platform, "packed", "q1")) is True
    assert until(lambda: key(platform, "news", "n1"))["topic"] == "news:x"


def test_a_clock_ticks_each_second_once(platform: Platform) -> None:
    ticks = until(lambda: [row["key"] for row in read(platform, "kv", "ls", "shop", "ticks")][4:])
    assert ticks
    runs = read(platform, "executions", "ls", "--app", "shop", "--source", "cron", "--limit", "200")
    keys = [row["key"] for row in read(platform, "kv", "ls", "shop", "ticks", "--limit", "200")]
    assert len({run["id"] for run in runs if run["status"] == "completed"}) <= len(keys)
    assert len(read(platform, "schedules", "ls", "shop")[0]["next_times"]) == 5


def test_a_loop_ends_at_the_depth_limit_and_shows(platform: Platform) -> None:
    post(platform, "/loop", None)
    exceeded = until(lambda: read(platform, "executions", "ls", "--app", "shop", "--status", "depth_exceeded"))
    assert exceeded[0]["trigger_depth"] == 5
    assert key(platform, "circle", "turns") == 5


def test_the_books_balance_after_all_of_it(platform: Platform) -> None:
    platform.picloud("triggers", "disable", "shop", "tick")
    until(lambda: not read(platform, "outbox", "ls", "--app", "shop"))
    proof = read(platform, "doctor", "--prove")
    assert proof["balanced"] is True
