"""Crashes charge the guilty: what else ran, waited or was settled goes on as if nothing had been."""

from __future__ import annotations

import signal

from picloud.ids import new_id
from tests.faults.cluster import QUICK, Cluster, busy


def test_a_row_is_pending_again_within_a_second_when_its_worker_is_killed_under_its_parent(cluster: Cluster) -> None:
    # Given rows that a worker process holds, frozen as the first of them starts
    cluster.relay()
    worker = cluster.worker(cluster.once("worker.running").replace(":kill:", ":stop:"))
    cluster.ready()
    ids = cluster.accept(4, cluster.script())
    cluster.wait_until(worker.is_frozen, 10, "the worker is frozen")
    owner = cluster.value("select worker_id from outbox where state = 2 limit 1")
    # When it is killed
    worker.send_to_children(signal.SIGKILL)
    # Then it owns nothing within a second
    took = cluster.wait_until(
        lambda: not cluster.rows("select from outbox where worker_id = %s", owner), 1.0, "the rows are free"
    )
    print(f"BOUND worker killed under its parent: {took:.2f} s")
    # And everything ends once
    cluster.settle(ids, 10, as_status="completed")


def test_a_script_that_kills_its_worker_three_times_is_a_dead_letter(cluster: Cluster) -> None:
    # Given a run that takes its process with it whenever it starts
    poison = new_id()
    cluster.relay()
    cluster.worker(f"worker.running@{poison}:kill")
    cluster.ready()
    # When it is accepted, alone
    script = cluster.script()
    cluster.accept_arrivals([cluster.arrival(script, id=poison)])
    cluster.wake()
    # Then it is dead after three crashes, and says why
    cluster.settle([poison], 25, as_status="dead")
    assert cluster.value("select reason from dead_letters where id = %s", poison) == "worker_crash"
    assert cluster.error_code(poison) == "worker_crash"
    # And the worker goes on
    cluster.settle(cluster.accept(5, script), 10, as_status="completed")


def test_of_a_poison_among_three_innocents_on_four_threads_only_the_poison_dies(cluster: Cluster) -> None:
    # Given three slow runs that share a process
    poison = new_id()
    cluster.watch_charges()
    cluster.relay()
    worker = cluster.worker(f"worker.running@{poison}:kill", threads=4, takes_sync=False)
    cluster.ready(4)
    innocents = cluster.accept(3, cluster.script(busy(3), timeout_ms=30_000))
    cluster.wait_until(lambda: worker.running() == set(innocents), 10, "the innocents run")
    # When a poison starts beside them
    cluster.accept_arrivals([cluster.arrival(cluster.script(), id=poison)])
    cluster.wake()
    cluster.wait_until(
        lambda: cluster.value("select count(*) from outbox where is_suspect") == 4, 5, "all four are suspects"
    )
    # Then it is the only one that is ever charged
    cluster.settle([poison, *innocents], 45)
    assert cluster.charges() == {(poison, "crash")}
    # And the only one that dies
    assert cluster.status(poison) == "dead"
    assert {cluster.status(each) for each in innocents} == {"completed"}


def test_a_run_that_never_ends_by_itself_is_ended_by_the_watchdog_and_alone_is_charged(cluster: Cluster) -> None:
    # Given a run that hangs in native code (its process is frozen as it starts), and another beside it
    hanging = new_id()
    cluster.relay()
    worker = cluster.worker(cluster.once(f"worker.running@{hanging}").replace(":kill:", ":stop:"), takes_sync=False)
    cluster.ready()
    innocents = cluster.accept(1, cluster.script(busy(4), timeout_ms=60_000))
    cluster.wait_until(lambda: worker.running() == set(innocents), 10, "the innocent runs")
    cluster.accept_arrivals([cluster.arrival(cluster.script(timeout_ms=1_000), id=hanging)])
    cluster.wake()
    cluster.wait_until(worker.is_frozen, 5, "the run hangs")
    # When its timeout and the watchdog's grace are over
    columns = "select crashes, attempt, is_suspect from outbox where id = %s"
    cluster.wait_until(lambda: cluster.rows(columns, hanging) != [(0, 1, False)], 12, "the watchdog ends it")
    # Then it is charged with a crash, which spends no attempt
    assert cluster.rows(columns, hanging)[0][0] == 1
    # And the other one is not even suspected
    assert cluster.rows("select from outbox where id = any(%s) and (crashes > 0 or is_suspect)", innocents) == []
    cluster.settle([hanging, *innocents], 60, as_status="completed")


def test_a_parent_and_child_that_die_together_are_settled_by_the_next_parent(cluster: Cluster) -> None:
    # Given a worker whose parent and child are killed at once while one row runs
    cluster.relay()
    worker = cluster.worker(cluster.once("worker.running").replace(":kill:", ":stop:"))
    cluster.ready()
    ids = cluster.accept(1, cluster.script(QUICK))
    cluster.wait_until(worker.is_frozen, 10, "a run starts")
    worker.kill_with_children()
    # When the worker is started again on the same machine
    worker.start()
    # Then it reads the board that was left: nobody waits for a heartbeat to be missed
    took = cluster.settle(ids, 10, as_status="completed")
    print(f"BOUND parent and child killed, parent started again: {took:.2f} s")


def test_a_second_signal_ends_a_worker_at_once_and_charges_nobody(cluster: Cluster) -> None:
    # Given a run that takes a minute
    cluster.relay()
    worker = cluster.worker()
    cluster.ready()
    (identifier,) = cluster.accept(1, cluster.script(busy(400), timeout_ms=60_000))
    cluster.wait_until(worker.running, 10, "it runs")
    # When somebody will not wait for it
    worker.send(signal.SIGTERM)
    cluster.wait_until(lambda: not worker.has_pending_signals(), 5, "it has heard")
    worker.send(signal.SIGTERM)
    assert worker.child.wait(10) == 0
    # Then it is pending again: no attempt spent, no crash
    assert cluster.rows("select attempt, crashes, is_suspect from outbox where id = %s", identifier) == [(0, 0, False)]
