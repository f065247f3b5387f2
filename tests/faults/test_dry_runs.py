"""A dry run of a dead letter, with real processes: everything is told, and nothing is left behind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import psycopg
import pytest

from picloud.identity.keys import create_operator_key
from picloud.retries import RetryPolicy
from tests.faults.cluster import Cluster

ONCE = RetryPolicy(max_attempts=1, backoff="constant", base_ms=0, max_ms=0, jitter_pct=0)

#: Fails until the key is there that lets it go on; then it does everything there is.
EVERYTHING = """
    let things = kv::collection("things");
    if !things.has("open") { throw "closed for order " + ctx.event.args.order; }
    things.set("new", ctx.event.args);
    things.increment("count");
    things.delete("open");
    queue::send("work", #{ job: 1 });
    pubsub::publish("news", "hello");
    email::send(#{ to: "ada@example.com", subject: "s", text: "t" });
    functions::invoke(ctx.script, 1);
    log::info("did everything");
    let is_refused = false;
    try { http::post("https://example.com/", 1); } catch { is_refused = true; }
    #{ is_refused: is_refused, source: ctx.event.source, depth: ctx.trigger_depth, principal: ctx.principal }
"""

#: Everything a run may leave in the database, its own end excepted.
TRACES = (
    "select (select count(*) from kv_entries), (select sum(keys) from kv_usage), (select count(*) from outbox),"
    " (select count(*) from dead_letters), (select count(*) from attempts), (select count(*) from execution_logs),"
    " (select count(*) from executions where source <> 'dry_run'),"
    " (select count(*) from payloads where id not in (select id from executions where source = 'dry_run'))"
)


def trigger(cluster: Cluster, name: str, kind: str, script_id: int) -> int:
    found = cluster.value(
        "insert into triggers (app_id, name, kind, script_id, registered_by_principal, max_attempts, backoff,"
        " backoff_base_ms, backoff_max_ms, backoff_jitter_pct) values (%s, %s, %s, %s, %s, 1, 'constant', 0, 0, 0)"
        " returning id",
        cluster.app.id, name, kind, script_id, cluster.app.principal_id,
    )  # fmt: skip
    return int(found)


@pytest.fixture
def api(cluster: Cluster) -> Iterator[httpx2.Client]:
    with psycopg.connect(cluster.database_url) as connection:
        key = create_operator_key(connection, "test")
    cluster.relay()
    cluster.worker(PICLOUD_SMTP_URL="smtp://mail.example.com", PICLOUD_MAIL_FROM="shop@example.com")
    _, url = cluster.web()
    cluster.ready(4)
    headers = {"Authorization": f"Bearer {key}"}
    with httpx2.Client(base_url=f"{url}/api/v1", headers=headers, timeout=30) as client:
        yield client


def dead(cluster: Cluster, script_id: int, order: int = 7) -> str:
    (letter,) = cluster.accept(1, script_id, retry=ONCE, event=json.dumps({"args": {"order": order}}).encode())
    cluster.settle([letter], 20, as_status="dead")
    return str(letter)


def trial(api: httpx2.Client, letter: str, **body: Any) -> dict[str, Any]:
    answer = api.post(f"/dead-letters/{letter}/dry-run", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_a_dry_run_tells_everything_and_commits_nothing(cluster: Cluster, api: httpx2.Client) -> None:
    script = cluster.script(EVERYTHING)
    name = cluster.value("select name from scripts where id = %s", script)
    cluster.execute("insert into queues (app_id, name) values (%s, 'work')", cluster.app.id)
    on_kv = trigger(cluster, "on-things", "kv", script)
    cluster.execute(
        "insert into kv_triggers values (%s, %s, true, '', '{insert,update,delete}')", on_kv, cluster.app.id
    )
    on_news = trigger(cluster, "on-news", "pubsub", script)
    cluster.execute("insert into pubsub_triggers values (%s, %s, false, 'news')", on_news, cluster.app.id)
    handler = trigger(cluster, "on-dead", "dead_letter", cluster.script("1"))
    letter = dead(cluster, script)
    cluster.execute("insert into dead_letter_triggers values (%s, %s)", handler, cluster.app.id)
    cluster.execute("update apps set revision = revision + 1")

    traces = cluster.rows(TRACES)
    failed = trial(api, letter)
    assert (failed["status"], failed["error"]["message"]) == ("failed", "closed for order 7")
    assert cluster.rows(TRACES) == traces
    other = trial(api, letter, event={"args": {"order": 8}})
    assert other["error"]["message"] == "closed for order 8"

    cluster.execute(
        "insert into kv_entries (app_id, collection, key, value, version)"
        " values (%s, 'things', 'open', 'true', nextval('kv_versions'))",
        cluster.app.id,
    )
    traces = cluster.rows(TRACES)
    done = trial(api, letter)
    assert done["error"] is None
    assert done["result"] == {
        "is_refused": True, "source": "invoke", "depth": 0, "principal": f"owner-of-{cluster.app.name}",
    }  # fmt: skip
    assert [(each["key"], each["op"], each["before"], each["after"]) for each in done["kv"]] == [
        ("new", "insert", None, {"order": 7}),
        ("count", "insert", None, 1),
        ("open", "delete", True, None),
    ]
    assert [each["queue"] for each in done["messages"]] == ["work"]
    assert [each["topic"] for each in done["published"]] == ["news"]
    assert [each["to"] for each in done["mails"]] == [["ada@example.com"]]
    assert done["invocations"] == [{"script": name, "args": 1}]
    assert [each["trigger"] for each in done["triggers"]] == ["on-things"] * 3 + ["on-news"]
    assert [(each["method"], each["is_made"]) for each in done["calls"]] == [("POST", False)]
    assert [line["message"] for line in done["logs"]] == ["did everything"]

    cluster.wait_until(lambda: not cluster.rows("select from outbox"), 10, "nothing is left to run")
    assert cluster.rows(TRACES) == traces
    assert cluster.value("select resolution from dead_letters") == "unresolved"
    assert cluster.rows("select distinct status from executions where source = 'dry_run'") == [("completed",)]
    cluster.assert_books_balance()

    # The traces would have shown it: a replay leaves some everywhere.
    cluster.execute("update triggers set is_enabled = false")
    replayed = api.post(f"/dead-letters/{letter}/replay").json()["execution_id"]
    cluster.wait_until(lambda: cluster.status(replayed) == "completed", 20, "the replay ends")
    assert cluster.rows("select key from kv_entries order by key") == [("count",), ("new",)]
    assert {row[0] for row in cluster.rows("select source from executions union all select source from outbox")} >= {
        "queue",
        "send_email",
    }


def test_the_version_that_failed_can_be_tried_beside_the_current_one(cluster: Cluster, api: httpx2.Client) -> None:
    script = cluster.script('throw "old"')
    letter = dead(cluster, script)
    cluster.execute(
        "insert into script_versions (script_id, version, source, sha256, limits, created_by)"
        " select script_id, 2, '\"new\"', sha256, limits, created_by from script_versions where script_id = %s",
        script,
    )
    cluster.execute("update scripts set current_version = 2 where id = %s", script)
    assert trial(api, letter)["result"] == "new"
    original = trial(api, letter, version="original")
    assert (original["status"], original["version"], original["error"]["message"]) == ("failed", 1, "old")


def test_a_replay_after_the_dry_run_does_what_it_told(cluster: Cluster, api: httpx2.Client) -> None:
    letter = dead(
        cluster,
        cluster.script('if !kv::collection("t").has("open") { throw "shut" } kv::collection("t").set("done", 1)'),
    )
    cluster.execute(
        "insert into kv_entries (app_id, collection, key, value, version)"
        " values (%s, 't', 'open', 'true', nextval('kv_versions'))",
        cluster.app.id,
    )
    assert [each["key"] for each in trial(api, letter)["kv"]] == ["done"]
    replayed = api.post(f"/dead-letters/{letter}/replay").json()["execution_id"]
    cluster.wait_until(lambda: cluster.status(replayed) == "completed", 20, "the replay ends")
    assert cluster.value("select value from kv_entries where key = 'done'") == b"1"
    shown = api.get(f"/dead-letters/{letter}").json()
    assert (shown["replayed_as"], shown["replay_status"]) == (replayed, "completed")
