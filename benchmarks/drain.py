"""How fast is a backlog run? Accepted, script run, committed, against raw Dramatiq no-ops with as many processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from harness import ROOT, Stack, median, report, stack, until
from harness.apps import accept_many, seed

from picloud import broker

ROUNDS = 3
ROWS = 20_000
PROCESSES = 2


def raw_dramatiq(bench: Stack) -> float:
    """No-op messages a second, 2 processes of 8 threads: Dramatiq's own defaults."""
    client = bench.redis()
    client.flushdb()
    environment = os.environ | {"BENCH_REDIS_URL": bench.redis_url, "PYTHONPATH": str(ROOT / "benchmarks")}
    enqueue = f"from harness.raw_dramatiq import noop\nfor _ in range({ROWS}): noop.send()"
    subprocess.run([sys.executable, "-c", enqueue], env=environment, check=True)
    worker = subprocess.Popen(
        [sys.executable, "-m", "dramatiq", "harness.raw_dramatiq", "-p", str(PROCESSES), "-t", "8"],
        env=environment,
        cwd=ROOT / "benchmarks",
        stderr=subprocess.DEVNULL,
    )
    try:
        done = lambda: int(client.get("bench:done") or 0)  # type: ignore[arg-type]  # noqa: E731
        until(lambda: done() > 200, within_seconds=60)
        started, already = time.perf_counter(), done()
        until(lambda: done() >= ROWS, within_seconds=120)
        return (ROWS - already) / (time.perf_counter() - started)
    finally:
        worker.terminate()
        worker.wait(60)
        client.flushdb()


def picloud(bench: Stack) -> float:
    """Executions a second: a ten-item handler each, durable completion, history written."""
    bench.redis().flushdb()
    relay = bench.start("relay")
    worker = bench.start("worker", worker_processes=PROCESSES)
    with bench.connect() as connection:
        connection.execute("update apps set paused_at = null")
        accept_many(connection, 200)  # scripts compiled, connections made
        left = "select count(*) from outbox"
        until(lambda: connection.execute(left).fetchone() == (0,), within_seconds=60)
        # One transaction: the whole backlog becomes visible at once.
        with connection.transaction():
            accept_many(connection, ROWS)
        bench.redis().rpush(broker.WAKE_LIST, "1")
        started = time.perf_counter()
        until(lambda: connection.execute(left).fetchone() == (0,), within_seconds=120)
        seconds = time.perf_counter() - started
        failed = connection.execute("select count(*) from executions where status <> 'completed'").fetchone()
        assert failed == (0,), f"{failed} runs failed"
    bench.stop(worker)
    bench.stop(relay)
    return ROWS / seconds


def main() -> None:
    with stack() as bench:
        with bench.connect() as connection:
            seed(connection)
        raw, ours = [], []
        for _ in range(ROUNDS):
            raw.append(raw_dramatiq(bench))
            ours.append(picloud(bench))
    report(
        "drain",
        "executions a second of a backlog, against raw Dramatiq no-ops with the same number of processes",
        {
            "raw_dramatiq_per_second": [round(value) for value in raw],
            "picloud_per_second": [round(value) for value in ours],
            "ratio": round(median(ours) / median(raw), 2),
        },
    )


if __name__ == "__main__":
    main()
