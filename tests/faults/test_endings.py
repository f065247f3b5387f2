"""How rows end when it is not their script that decides: cancelled, refused, too deep, disabled, unstorable."""

from __future__ import annotations

import json
import signal
import time

from picloud.broker import ASYNC_LIST, encode_message
from picloud.ids import new_id
from picloud.queries import Queries
from picloud.retries import RetryPolicy
from tests.faults.cluster import ENDLESS, QUICK, Cluster, busy

_CANCEL = Queries("inspect").cancel


def test_a_cancelled_run_is_discarded_and_its_script_is_stopped(cluster: Cluster) -> None:
    # Given a script that never ends on the only thread, and another row behind it
    cluster.relay()
    worker = cluster.worker(threads=1)
    cluster.ready()
    (endless,) = cluster.accept(1, cluster.script(ENDLESS, timeout_ms=60_000))
    cluster.wait_until(worker.running, 10, "it runs")
    behind = cluster.accept(1, cluster.script())
    # When it is cancelled
    with cluster.connection() as connection:
        connection.execute(_CANCEL, {"id": endless, "app_ids": None, "error": b'{"code": "cancelled"}'})
    assert cluster.status(endless) == "cancelled"
    # Then the next heartbeat stops the script, and the thread is free
    took = cluster.settle(behind, 8, as_status="completed")
    print(f"BOUND cancelled script stopped: {took:.2f} s")
    # And what it did since is discarded
    cluster.assert_every_execution_ended_once([endless], as_status="cancelled")
    assert cluster.rows("select from dead_letters") == []


def test_rows_of_a_disabled_principal_are_dead_lettered_and_not_run(cluster: Cluster) -> None:
    # Given a row whose principal is disabled before it begins
    ids = cluster.accept(2, cluster.script('log::info("ran"); 1'))
    cluster.execute("update principals set disabled_at = now() where id = %s", cluster.app.principal_id)
    # When a worker comes
    cluster.relay()
    cluster.worker()
    # Then it is a dead letter with that reason, and the script never ran
    cluster.settle(ids, 20, as_status="dead")
    assert cluster.rows("select distinct reason from dead_letters") == [("principal_disabled",)]
    assert cluster.rows("select from execution_logs") == []


def test_a_row_that_is_too_many_hops_deep_is_not_run_and_not_dead_lettered(cluster: Cluster) -> None:
    # Given rows at and beyond the limit
    cluster.relay()
    cluster.worker(PICLOUD_MAX_TRIGGER_DEPTH="3")
    script = cluster.script()
    # When they are accepted
    fine = cluster.accept(1, script, trigger_depth=3)
    deep = cluster.accept(1, script, trigger_depth=4)
    # Then the deep one is visible as what it is
    cluster.settle(fine, 20, as_status="completed")
    cluster.settle(deep, 20, as_status="depth_exceeded")
    assert cluster.books()["depth_exceeded"] == 1


def test_a_dead_letter_keeps_the_event_and_every_attempt_with_its_error_and_logs(cluster: Cluster) -> None:
    # Given a script that fails each time, and says so
    cluster.relay()
    cluster.worker()
    script = cluster.script("log::info(`try ${ctx.attempt}`); throw `no luck ${ctx.attempt}`")
    event = b'{"args": {"order": 7}}'
    # When its attempts are exhausted
    ids = cluster.accept(1, script, event=event)
    cluster.settle(ids, 20, as_status="dead")
    # Then the letter holds the event and the whole history
    letter = cluster.rows("select reason, event, attempts, last_error from dead_letters where id = %s", ids[0])[0]
    assert letter[:3] == ("retries_exhausted", event, 3)
    assert json.loads(letter[3])["message"] == "no luck 3"
    history = cluster.rows(
        "select attempt, error, logs from dead_letter_attempts where dead_letter_id = %s order by attempt", ids[0]
    )
    assert [json.loads(error)["message"] for _, error, _ in history] == ["no luck 1", "no luck 2", "no luck 3"]
    assert [json.loads(logs)[0]["message"] for _, _, logs in history] == ["try 1", "try 2", "try 3"]


def test_a_script_says_whether_and_when_it_is_tried_again(cluster: Cluster) -> None:
    # Given a script that gives up at once, and one that names its own delay
    cluster.relay()
    cluster.worker()
    at_once = cluster.script('throw #{ message: "never", retry: false }')
    later = cluster.script('if ctx.attempt == 1 { throw #{ message: "busy", retry_after_seconds: 1.5 } } ctx.attempt')
    slow = RetryPolicy(max_attempts=3, backoff="constant", base_ms=600_000, max_ms=600_000, jitter_pct=0)
    # When both run under a policy that would wait for ten minutes
    first, second = cluster.accept(1, at_once, retry=slow), cluster.accept(1, later, retry=slow)
    # Then one is dead after one attempt
    cluster.settle(first, 20, as_status="dead")
    assert cluster.rows("select reason, attempts from dead_letters") == [("not_retryable", 1)]
    # And the other succeeds with its second
    cluster.settle(second, 10, as_status="completed")
    assert cluster.value("select result from executions where id = %s", second[0]) == b"2"


def refuse_executions(cluster: Cluster, condition: str) -> None:
    """From now on the database stores no execution that meets a condition."""
    cluster.execute(
        "create function refuse() returns trigger language plpgsql as $$ begin"
        " raise exception 'will not store this' using errcode = '22023'; end $$"
    )
    with cluster.connection() as connection:
        connection.execute(
            "create trigger refuse before insert on executions for each row"
            f" when ({condition}) execute function refuse()"
        )


def test_of_fifty_runs_in_one_flush_the_one_that_cannot_be_stored_fails_alone(cluster: Cluster) -> None:
    # Given a database that refuses what one of the runs did
    refused = new_id()
    refuse_executions(cluster, f"new.id = '{refused}' and new.status = 'completed'")
    cluster.relay()
    worker = cluster.worker()
    cluster.ready()
    # When fifty finish together
    script = cluster.script()
    others = [cluster.arrival(script) for _ in range(49)]
    cluster.accept_arrivals([*others[:25], cluster.arrival(script, id=refused), *others[25:]])
    cluster.wake()
    # Then that one fails, and says so
    cluster.settle([refused], 20, as_status="dead")
    assert cluster.error_code(refused) == "effects_rejected"
    assert cluster.value("select reason from dead_letters where id = %s", refused) == "effects_rejected"
    # And the others do not notice
    cluster.settle([each.id for each in others], 10, as_status="completed")
    assert worker.said("the effects of execution")


def test_what_cannot_even_be_stored_as_refused_does_not_stop_the_others(cluster: Cluster) -> None:
    # Given a database that stores nothing at all of one run
    refused = new_id()
    refuse_executions(cluster, f"new.id = '{refused}'")
    cluster.relay()
    worker = cluster.worker()
    cluster.ready()
    # When it finishes together with others
    script = cluster.script()
    others = [cluster.arrival(script) for _ in range(9)]
    cluster.accept_arrivals([cluster.arrival(script, id=refused), *others])
    cluster.wake()
    # Then they end, and the worker goes on
    cluster.settle([each.id for each in others], 20, as_status="completed")
    cluster.settle(cluster.accept(5, script), 10, as_status="completed")
    cluster.wait_until(lambda: worker.said("cannot even be stored as refused"), 5, "it is said")
    assert cluster.states([refused]) == {refused: 2}


def test_doubled_stale_and_unreadable_messages_change_nothing(cluster: Cluster) -> None:
    # Given a worker that is frozen while the relay publishes
    cluster.relay()
    worker = cluster.worker()
    cluster.ready()
    script = cluster.script()
    cluster.settle(cluster.accept(3, script), 10, as_status="completed")
    worker.send_to_children(signal.SIGSTOP)
    ids = cluster.accept(30, script)
    cluster.wait_until(lambda: set(cluster.states(ids).values()) == {1}, 10, "all are published")
    # When every message is doubled, and rubbish lies between them
    waiting: list[bytes] = cluster.redis.lrange(ASYNC_LIST, 0, -1)  # type: ignore[assignment]  # a blocking client
    assert waiting
    stale = encode_message([(each, 12345) for each in ids], estimated_ms=1, payload_bytes=1)
    unknown = encode_message([(new_id(), 1)], estimated_ms=1, payload_bytes=1).replace(b'"execute"', b'"other"')
    rubbish = [
        b"",
        b"\xff\xfe",
        b"{}",
        b"[]",
        b"null",
        b'{"actor_name": "execute", "args": [[["x", 1]]]}',
        stale,
        unknown,
    ]
    for junk in rubbish:
        cluster.redis.lpush(ASYNC_LIST, junk)
        cluster.publish(junk)
    for message in waiting * 3:
        cluster.publish(message)
    worker.send_to_children(signal.SIGCONT)
    # Then every row ends once, and the lists are empty
    cluster.settle(ids, 20, as_status="completed")
    cluster.wait_until(lambda: cluster.redis.llen(ASYNC_LIST) == 0, 10, "the lists are read")
    assert worker.said("dropped a message")
    assert {row[0] for row in cluster.rows("select attempts from executions where id = any(%s)", ids)} == {1}


def test_a_process_that_is_told_to_stop_lets_scripts_end_and_hands_the_rest_back_unspent(cluster: Cluster) -> None:
    # Given a worker that has learned that scripts are quick, so it holds many rows
    relay = cluster.relay()
    worker = cluster.worker(threads=2, takes_sync=False)
    cluster.ready()
    cluster.settle(cluster.accept(60, cluster.script(QUICK)), 20, as_status="completed")
    # And two slow runs with others begun behind them
    slow_script = cluster.script(busy(2.5), timeout_ms=30_000)
    slow = cluster.accept(2, slow_script)
    cluster.wait_until(lambda: worker.running() == set(slow), 10, "the slow ones run")
    behind = cluster.accept(20, cluster.script(QUICK))
    cluster.wait_until(lambda: 2 in cluster.states(behind).values(), 5, "others are begun behind them")
    relay.kill()
    # When it is told to stop
    started = time.monotonic()
    assert worker.terminate(within_seconds=15) == 0
    print(f"BOUND drain: {time.monotonic() - started:.2f} s")
    # Then what ran has ended, what had not started is unspent, and the process is struck off
    cluster.assert_every_execution_ended_once(slow, as_status="completed")
    assert 2 not in cluster.states(behind).values()
    assert cluster.rows("select distinct attempt, crashes, lost from outbox") == [(0, 0, 0)]
    assert cluster.rows("select from workers") == []
    # And another one runs it
    relay.start()
    cluster.worker()
    cluster.settle(behind, 20, as_status="completed")
