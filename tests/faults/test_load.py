"""Everything at once: several of each process, killed at random, and messages that keep their order."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from functools import partial
from uuid import UUID

from picloud.retries import RetryPolicy
from tests.faults.cluster import QUICK, THROWS, Cluster, Load

_RANDOM_SECONDS = 12.0


def _has_grown(ids: list[UUID], least: int) -> bool:
    return len(ids) >= least


def test_processes_killed_at_random_under_load_lose_nothing_and_do_nothing_twice(cluster: Cluster) -> None:
    # Given two relays and two workers under load
    seed = int(os.environ.get("PICLOUD_TEST_SEED", time.time_ns() % 100_000))
    print(f"PICLOUD_TEST_SEED={seed}")
    dice = random.Random(seed)
    relays = [cluster.relay(), cluster.relay()]
    workers = [cluster.worker(threads=2), cluster.worker(threads=2, processes=2)]
    cluster.ready(6)
    over_at = time.monotonic() + _RANDOM_SECONDS
    with Load(cluster, cluster.script()) as load:
        # When one of them is killed every moment
        while time.monotonic() < over_at:
            least = len(load.ids) + dice.randint(10, 80)
            cluster.wait_until(partial(_has_grown, load.ids, least), 20, "work arrives")
            match dice.choice(["relay", "child", "child", "child", "worker"]):
                case "relay":
                    relay = dice.choice(relays)
                    relay.kill()
                    relay.start()
                case "child":
                    children = dice.choice(workers).children()
                    if children:
                        os.kill(dice.choice(children), signal.SIGKILL)
                case _:
                    worker = dice.choice(workers)
                    worker.kill_with_children()
                    worker.start()
    # Then everything accepted ends once: a run may have been there at three kills, then it is dead
    took = cluster.settle(load.ids, 40)
    books = cluster.books()
    print(f"BOUND random kills: {took:.2f} s after the last was accepted; {books}")
    assert books["completed"] >= len(load.ids) - 3
    assert {row[0] for row in cluster.rows("select reason from dead_letters")} <= {"worker_crash"}


def test_two_relays_and_two_workers_run_every_execution_once(cluster: Cluster) -> None:
    # Given two of each
    cluster.relay()
    cluster.relay()
    cluster.worker(threads=2)
    cluster.worker(threads=2)
    cluster.ready(4)
    # When much is accepted, some of which fails for good
    quick, throws = cluster.script(QUICK), cluster.script(THROWS)
    fine: list[UUID] = []
    failing: list[UUID] = []
    for _ in range(5):
        fine += cluster.accept(60, quick)
        failing += cluster.accept(6, throws)
    # Then each ends once
    cluster.settle(fine, 30, as_status="completed")
    cluster.settle(failing, 30, as_status="dead")
    # And nothing was begun more often than it had to be
    attempts = cluster.rows("select distinct status, attempts from executions order by 1")
    assert attempts == [("completed", 1), ("dead", 3)]
    # And both workers had their share
    assert len(cluster.rows("select distinct worker_id from executions")) == 2


def test_messages_with_one_key_run_in_order_although_the_first_one_fails_at_first(cluster: Cluster) -> None:
    # Given two relays and two workers
    cluster.relay()
    cluster.relay()
    cluster.worker(threads=2)
    cluster.worker(threads=2)
    cluster.ready(4)
    script = cluster.script('if ctx.event.args.fails && ctx.attempt < 3 { throw "not yet" } ctx.attempt')
    retry = RetryPolicy(max_attempts=5, backoff="constant", base_ms=200, max_ms=200, jitter_pct=0)
    # When five messages of each of four keys are accepted, the first of each failing twice
    arrivals = [
        cluster.arrival(
            script, retry=retry, order_key=f"key-{key}", event=json.dumps({"args": {"fails": turn == 0}}).encode()
        )
        for turn in range(5)
        for key in range(4)
    ]
    cluster.accept_arrivals(arrivals)
    cluster.wake()
    # And a message without a key
    (free,) = cluster.accept(1, script, event=b'{"args": {"fails": false}}')
    ids = [arrival.id for arrival in arrivals]
    # Then the one without a key waits for nobody
    cluster.settle([free], 5, as_status="completed")
    # And those of one key end in the order they were accepted in, back-off included
    cluster.settle(ids, 40, as_status="completed")
    ended = [row[0] for row in cluster.rows("select id from executions order by finished_at")]
    for key in range(4):
        accepted = [arrival.id for arrival in arrivals if arrival.order_key == f"key-{key}"]
        assert [each for each in ended if each in accepted] == accepted
