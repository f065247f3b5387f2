"""Sync rows: one try, an answer at once, and no run that nobody waits for."""

from __future__ import annotations

import signal
import time

from picloud import broker
from picloud.ids import new_id
from tests.faults.cluster import Cluster, busy


def test_a_crash_answers_the_caller_at_once_and_the_run_is_never_repeated(cluster: Cluster) -> None:
    # Given a sync run that takes its process with it
    poison = new_id()
    cluster.relay()
    cluster.worker(f"worker.running@{poison}:kill")
    cluster.ready()
    # When it is asked for
    started = time.monotonic()
    cluster.accept_sync(cluster.script(), identifier=poison)
    # Then its caller hears of the crash long before the deadline
    reply = cluster.reply(3)
    print(f"BOUND sync crash answered: {time.monotonic() - started:.2f} s")
    assert (reply.execution_id, reply.status) == (poison, "failed")
    assert reply.error is not None
    assert reply.error["code"] == "worker_crash"
    # And it has failed for good, without a dead letter
    cluster.settle([poison], 1, as_status="failed")
    cluster.settle(cluster.accept(3, cluster.script()), 10, as_status="completed")
    assert cluster.rows("select attempts from executions where id = %s", poison) == [(1,)]


def test_a_sync_run_beside_one_that_hangs_is_answered_and_not_repeated(cluster: Cluster) -> None:
    # Given a sync run in a process that the watchdog kills for the sake of another run
    hanging = new_id()
    cluster.relay()
    worker = cluster.worker(cluster.once(f"worker.running@{hanging}").replace(":kill:", ":stop:"))
    cluster.ready()
    sync = cluster.accept_sync(cluster.script(busy(4), timeout_ms=60_000), timeout_ms=60_000)
    cluster.wait_until(worker.running, 5, "the sync run has started")
    cluster.accept_arrivals([cluster.arrival(cluster.script(timeout_ms=1_000), id=hanging)])
    cluster.wake()
    cluster.wait_until(worker.is_frozen, 5, "the other one hangs")
    # When the process is killed
    reply = cluster.reply(15)
    # Then the caller hears of it, and the run is not started again
    assert (reply.execution_id, reply.status) == (sync, "failed")
    assert cluster.error_code(sync) == "worker_crash"
    cluster.settle([hanging], 15, as_status="completed")
    cluster.assert_every_execution_ended_once([sync], as_status="failed")


def test_a_sync_row_that_nobody_began_in_time_fails_and_is_never_run(cluster: Cluster) -> None:
    # Given no worker
    cluster.relay()
    # When a sync row's deadline passes
    started = time.monotonic()
    late = cluster.accept_sync(cluster.script('log::info("ran"); 1'), timeout_ms=1_000)
    cluster.settle([late], 6, as_status="failed")
    print(f"BOUND unanswerable settled: {time.monotonic() - started:.2f} s after a deadline of 1 s")
    assert cluster.error_code(late) == "no_answer"
    # Then a worker that comes too late finds its message and runs nothing
    cluster.worker()
    cluster.ready()
    cluster.settle(cluster.accept(3, cluster.script()), 10, as_status="completed")
    cluster.wait_until(lambda: cluster.redis.llen(broker.SYNC_LIST) == 0, 5, "the message is read")
    cluster.assert_every_execution_ended_once([late], as_status="failed")
    assert cluster.rows("select from execution_logs") == []


def test_a_worker_refuses_a_sync_row_whose_deadline_has_passed_even_without_a_sweep(cluster: Cluster) -> None:
    # Given a published sync row past its deadline, and no relay that could settle it
    cluster.worker()
    cluster.ready()
    late = cluster.accept_sync(cluster.script(), timeout_ms=50, publish=False)
    cluster.wait_until(
        lambda: cluster.value("select reply_deadline < now() from outbox where id = %s", late), 5, "its deadline passes"
    )
    # When its message arrives, and one of a row in time behind it
    token = cluster.value("select token from outbox where id = %s", late)
    cluster.publish(broker.encode_message([(late, token)], estimated_ms=5, payload_bytes=1), is_sync=True)
    in_time = cluster.accept_sync(cluster.script())
    assert cluster.reply(10).execution_id == in_time
    # Then only the latter was begun
    assert cluster.states([late]) == {late: 1}


def test_a_run_that_ends_after_its_deadline_is_abandoned_and_said_to_be(cluster: Cluster) -> None:
    # Given a script that takes longer than its caller waits
    cluster.relay()
    cluster.worker()
    cluster.ready()
    # When it ends
    identifier = cluster.accept_sync(cluster.script(busy(4), timeout_ms=30_000), timeout_ms=300)
    cluster.settle([identifier], 20, as_status="abandoned")
    # Then there is a record of who was left alone
    assert cluster.rows("select execution_id, reason from abandoned_executions") == [(identifier, "deadline_passed")]
    assert cluster.books()["failed"] == 1


def test_an_answer_that_nobody_listens_for_is_recorded_as_abandoned(cluster: Cluster) -> None:
    # Given a web process that died after it had published
    cluster.relay()
    worker = cluster.worker()
    cluster.ready()
    worker.send_to_children(signal.SIGSTOP)
    identifier = cluster.accept_sync(cluster.script())
    cluster.redis.delete(broker.inbox_alive_key("test"))
    # When the run ends in time
    worker.send_to_children(signal.SIGCONT)
    # Then it is abandoned: its effects are committed, its answer reached nobody
    cluster.wait_until(lambda: cluster.status(identifier) == "abandoned", 10, "it is abandoned")
    cluster.assert_every_execution_ended_once([identifier], as_status="abandoned")
    assert cluster.rows("select execution_id, reason from abandoned_executions") == [(identifier, "client_gone")]
