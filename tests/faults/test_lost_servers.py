"""PostgreSQL and Redis go away and come back: nothing is lost, nothing is done twice, nobody is charged."""

from __future__ import annotations

import signal
import time

import pytest

from tests.faults.cluster import Cluster, Load
from tests.faults.own_servers import LossyWay, OwnServers

_REDIS_BOUND_SECONDS = 2.0


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["fast", "immediate"])
def test_a_postgresql_that_restarts_under_load_charges_nobody(
    fragile: Cluster, servers: OwnServers, how: signal.Signals
) -> None:
    # Given load
    fragile.relay()
    fragile.worker()
    fragile.ready()
    with Load(fragile, fragile.script()) as load:
        fragile.wait_until(lambda: len(load.ids) >= 50, 20, "work arrives")
        # When PostgreSQL restarts in the middle of it
        servers.stop_postgres(how)
        servers.start_postgres()
        before = len(load.ids)
        fragile.wait_until(lambda: len(load.ids) >= before + 100, 20, "work arrives again")
    # Then everything accepted completes once
    took = fragile.settle(load.ids, 30, as_status="completed")
    print(f"BOUND PostgreSQL restarted ({how.name}): all ended {took:.2f} s after the last was accepted")
    # And nobody is charged
    assert fragile.charges() == set()


def test_heartbeats_that_are_old_because_postgresql_was_away_are_not_held_against_workers(
    fragile: Cluster, servers: OwnServers
) -> None:
    # Given a run under way
    fragile.relay()
    worker = fragile.worker(fragile.once("worker.running").replace(":kill:", ":stop:"))
    fragile.ready()
    ids = fragile.accept(1, fragile.script(timeout_ms=60_000))
    fragile.wait_until(worker.is_frozen, 10, "it runs")
    # When PostgreSQL was away for so long that no heartbeat is younger than a minute
    servers.stop_postgres(signal.SIGINT)  # not "immediate": the begin, whose commit may lag, is to be there
    servers.start_postgres()
    fragile.execute("update workers set beat_at = now() - interval '1 minute'")
    # Then no sweep takes the row, although its worker needs a while to say that it lives
    back_at = fragile.value("select now()")
    fragile.wait_until(lambda: fragile.value("select now() > %s + interval '5 s'", back_at), 10, "five seconds pass")
    assert fragile.charges() == set()
    # And it completes
    worker.send_to_children(signal.SIGCONT)
    fragile.settle(ids, 20, as_status="completed")
    assert fragile.charges() == set()


def test_a_redis_that_is_flushed_under_load_loses_nothing(fragile: Cluster) -> None:
    # Given load
    fragile.relay()
    fragile.worker()
    fragile.ready()
    with Load(fragile, fragile.script()) as load:
        # When Redis forgets everything, three times
        for flushes in range(1, 4):
            fragile.wait_until(lambda least=60 * flushes: len(load.ids) >= least, 20, "work arrives")  # type: ignore[misc]
            fragile.redis.flushall()
    # Then everything accepted completes once
    fragile.settle(load.ids, 15, as_status="completed")
    assert fragile.charges() == set()


def test_what_was_published_runs_within_two_seconds_after_a_flush(fragile: Cluster) -> None:
    # Given published rows that no worker has popped
    fragile.relay()
    worker = fragile.worker()
    fragile.ready()
    fragile.settle(fragile.accept(3, fragile.script()), 10)
    worker.send_to_children(signal.SIGSTOP)
    ids = fragile.accept(20, fragile.script())
    fragile.wait_until(lambda: set(fragile.states(ids).values()) == {1}, 10, "all are published")
    # When Redis forgets them
    fragile.redis.flushall()
    worker.send_to_children(signal.SIGCONT)
    # Then they run all the same
    took = fragile.settle(ids, _REDIS_BOUND_SECONDS, as_status="completed")
    print(f"BOUND Redis flushed: {took:.2f} s")
    assert fragile.charges() == set()


def test_what_was_accepted_without_redis_runs_within_two_seconds_after_it_is_back(
    fragile: Cluster, servers: OwnServers
) -> None:
    # Given a platform at work whose Redis dies
    relay = fragile.relay()
    fragile.worker()
    fragile.ready()
    fragile.settle(fragile.accept(3, fragile.script()), 10)
    servers.stop_redis()
    # When work is accepted meanwhile
    ids = fragile.accept(20, fragile.script())
    fragile.wait_until(lambda: relay.said("waiting for PostgreSQL and Redis"), 10, "the relay has noticed")
    assert len(fragile.states(ids)) == 20
    servers.start_redis()
    # Then it runs soon after Redis is back
    took = fragile.settle(ids, _REDIS_BOUND_SECONDS, as_status="completed")
    print(f"BOUND Redis restarted: {took:.2f} s")
    assert fragile.charges() == set()


def test_a_worker_that_never_hears_of_its_commit_asks_again_and_is_told(fragile: Cluster) -> None:
    # Given a worker whose way to PostgreSQL loses the answer to a settlement
    with LossyWay(fragile.database_url) as way:
        fragile.relay()
        fragile.worker(PICLOUD_DATABASE_URL=way.url)
        fragile.ready()
        way.lose_the_answer_to(b"complete_executions_v1")
        # When a sync run ends
        identifier = fragile.accept_sync(fragile.script("42"))
        reply = fragile.reply(10)
        # Then its caller is answered although the answer of the COMMIT never came
        assert way.has_lost()
        assert (reply.execution_id, reply.status, reply.data) == (identifier, "completed", b"42")
        fragile.settle([identifier], 5, as_status="completed")
        # And the same is true of a batch
        way.lose_the_answer_to(b"complete_executions_v1")
        fragile.settle(fragile.accept(30, fragile.script()), 20, as_status="completed")
        assert way.has_lost()
    assert fragile.charges() == set()


def test_rows_whose_begin_was_never_answered_are_handed_back_unspent(fragile: Cluster) -> None:
    # Given a worker whose way to PostgreSQL loses the answer to a begin
    with LossyWay(fragile.database_url) as way:
        fragile.relay()
        worker = fragile.worker(PICLOUD_DATABASE_URL=way.url)
        fragile.ready()
        way.lose_the_answer_to(b"begin_executions_v1")
        # When it begins
        started = time.monotonic()
        ids = fragile.accept(10, fragile.script())
        # Then the rows it never knew it owned go back and run, long before their deadline
        fragile.settle(ids, 10, as_status="completed")
        print(f"BOUND begin never answered: {time.monotonic() - started:.2f} s")
        assert way.has_lost()
        assert worker.said("waiting for PostgreSQL")
    assert {row[0] for row in fragile.rows("select attempts from executions")} == {1}
    assert fragile.charges() == set()


def test_a_worker_stops_in_time_although_postgresql_is_away(fragile: Cluster, servers: OwnServers) -> None:
    # Given a worker that holds a finished run it cannot settle
    fragile.relay()
    worker = fragile.worker()
    fragile.ready()
    ids = fragile.accept(3, fragile.script())
    fragile.settle(ids, 10)
    servers.stop_postgres(signal.SIGQUIT)
    try:
        # When it is told to stop
        assert worker.terminate(within_seconds=20) == 0
    finally:
        servers.start_postgres()
    # Then nothing is lost
    fragile.worker()
    fragile.settle(fragile.accept(3, fragile.script()), 20, as_status="completed")
