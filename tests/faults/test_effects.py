"""A run whose effects were committed is never retried and never dead-lettered, whatever is killed when.

Scripts move money between keys: the sum must never change, and every transfer must happen once.
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
from uuid import UUID

import pytest

from picloud.retries import RetryPolicy
from tests.faults.cluster import Cluster, busy

_ACCOUNTS = 8
_START = 1_000

TRANSFER = """
    let accounts = kv::collection("accounts");
    let from = ctx.event.args.from;
    let to = ctx.event.args.to;
    accounts.set(from, accounts.get(from) - ctx.event.args.amount);
    accounts.set(to, accounts.get(to) + ctx.event.args.amount);
    kv::collection("transfers").increment(ctx.execution_id);
"""

INCREMENT = 'kv::collection("counters").increment("all")'

PATIENT = RetryPolicy(max_attempts=3, backoff="constant", base_ms=50, max_ms=50, jitter_pct=0)


def open_accounts(cluster: Cluster) -> None:
    cluster.execute(
        "insert into kv_entries (app_id, collection, key, value, version)"
        " select %s, 'accounts', number::text, convert_to(%s, 'UTF8'), nextval('kv_versions')"
        " from generate_series(0, %s) number",
        cluster.app.id,
        str(_START),
        _ACCOUNTS - 1,
    )


def transfer(cluster: Cluster, script_id: int, count: int, dice: random.Random) -> list[UUID]:
    arrivals = []
    for _ in range(count):
        source, target = dice.sample(range(_ACCOUNTS), 2)
        args = {"from": str(source), "to": str(target), "amount": dice.randint(1, 50)}
        arrivals.append(cluster.arrival(script_id, event=json.dumps({"args": args}).encode(), retry=PATIENT))
    cluster.accept_arrivals(arrivals)
    cluster.wake()
    return [arrival.id for arrival in arrivals]


def values(cluster: Cluster, collection: str) -> dict[str, int]:
    rows = cluster.rows(
        "select key, value from kv_entries where app_id = %s and collection = %s", cluster.app.id, collection
    )
    return {row[0]: int(row[1]) for row in rows}


def assert_every_transfer_happened_once(cluster: Cluster, ids: list[UUID]) -> None:
    completed = cluster.rows("select id from executions where id = any(%s) and status = 'completed'", ids)
    assert values(cluster, "transfers") == {str(row[0]): 1 for row in completed}
    assert sum(values(cluster, "accounts").values()) == _ACCOUNTS * _START
    usage = cluster.rows("select sum(keys), sum(bytes) from kv_usage where app_id = %s", cluster.app.id)
    assert usage[0][0] == len(completed)  # the accounts were put there behind its back


@pytest.mark.parametrize(
    "failpoint",
    [
        "worker.begun",
        "worker.running",
        "worker.flushing",
        "worker.flushed",
        "worker.locked",
        "relay.claimed",
        "relay.published",
    ],
)
def test_the_sum_never_changes_whoever_is_killed_where(cluster: Cluster, failpoint: str) -> None:
    dice = random.Random(7)
    open_accounts(cluster)
    once = cluster.once(failpoint, nth=3 if failpoint != "worker.locked" else 1)
    at_relay = failpoint.startswith("relay")
    cluster.relay(once if at_relay else "")
    cluster.relay()
    cluster.worker("" if at_relay else once, threads=4)
    cluster.worker(threads=2)
    cluster.ready(6)
    script = cluster.script(TRANSFER)
    ids = [identifier for _ in range(6) for identifier in transfer(cluster, script, 20, dice)]
    cluster.settle(ids, 40, as_status="completed")
    assert_every_transfer_happened_once(cluster, ids)


def test_the_sum_never_changes_while_workers_are_killed_at_random(cluster: Cluster) -> None:
    seed = int(os.environ.get("PICLOUD_TEST_SEED", time.time_ns() % 100_000))
    print(f"PICLOUD_TEST_SEED={seed}")
    dice = random.Random(seed)
    open_accounts(cluster)
    cluster.relay()
    workers = [cluster.worker(threads=4), cluster.worker(threads=4)]
    cluster.ready(8)
    script = cluster.script(TRANSFER)
    ids: list[UUID] = []
    over_at = time.monotonic() + 10
    while time.monotonic() < over_at:
        batch = transfer(cluster, script, dice.randint(10, 60), dice)
        ids += batch
        part = batch[: dice.randint(1, len(batch))]
        cluster.wait_until(lambda part=part: cluster.have_ended(part), 30, "some of it is done")  # type: ignore[misc]
        children = dice.choice(workers).children()
        if children:
            os.kill(dice.choice(children), signal.SIGKILL)
    cluster.settle(ids, 40)
    assert_every_transfer_happened_once(cluster, ids)


def test_five_hundred_increments_of_one_key_are_five_hundred(cluster: Cluster) -> None:
    cluster.relay()
    cluster.worker(threads=4, processes=2)
    cluster.worker(threads=4)
    cluster.ready(12)
    ids = cluster.accept(500, cluster.script(INCREMENT))
    took = cluster.settle(ids, 60, as_status="completed")
    assert values(cluster, "counters") == {"all": 500}
    runs = 500 + cluster.value("select sum(conflicts) from executions")
    print(f"BOUND 500 increments: {took:.2f} s, {runs / 500:.2f} runs each")
    assert runs <= 3 * 500


SLOW_INCREMENT = f"""
    let counters = kv::collection("counters");
    let before = counters.get("slow", 0);
    {busy(2)};
    counters.set("slow", before + 1);
"""


def test_slow_runs_that_want_one_key_all_end_and_nobody_is_charged(cluster: Cluster) -> None:
    # So many of them that the last ones wait for longer than their deadline was when they began
    cluster.watch_charges()
    cluster.relay()
    cluster.worker(threads=2)
    cluster.worker(threads=2)
    cluster.ready(4)
    ids = cluster.accept(12, cluster.script(SLOW_INCREMENT, timeout_ms=5_000))
    took = cluster.settle(ids, 100, as_status="completed")
    print(f"BOUND 12 slow runs of one key: {took:.1f} s")
    assert values(cluster, "counters") == {"slow": 12}
    assert cluster.charges() == set()


def test_sync_runs_of_a_hot_key_are_all_answered(cluster: Cluster) -> None:
    cluster.relay()
    cluster.worker(threads=4, processes=2)
    cluster.ready(8)
    script = cluster.script(INCREMENT)
    ids = [cluster.accept_sync(script) for _ in range(40)]
    answers = [cluster.reply(20) for _ in ids]
    assert {answer.status for answer in answers} == {"completed"}
    assert sorted(int(answer.data or b"0") for answer in answers) == list(range(1, 41))
    assert values(cluster, "counters") == {"all": 40}


def test_a_lost_commit_answer_moves_the_money_once(cluster: Cluster) -> None:
    # What was committed and not told is found to be committed: see test_lost_servers for the cut connection itself.
    open_accounts(cluster)
    cluster.relay()
    cluster.worker(cluster.once("worker.flushed"), threads=2)
    cluster.worker(threads=2)
    cluster.ready(4)
    ids = transfer(cluster, cluster.script(TRANSFER), 30, random.Random(3))
    cluster.settle(ids, 40, as_status="completed")
    assert_every_transfer_happened_once(cluster, ids)
