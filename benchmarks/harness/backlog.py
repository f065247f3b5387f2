"""A backlog that is run down, and raw Dramatiq no-ops beside it: what every benchmark of throughput compares."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from harness import ROOT, Stack, until
from harness.apps import accept_many
from picloud import broker

PROCESSES = 2


def raw_dramatiq(bench: Stack, rows: int) -> float:
    """No-op messages a second, 2 processes of 8 threads: Dramatiq's own defaults."""
    client = bench.redis()
    client.flushdb()
    environment = os.environ | {"BENCH_REDIS_URL": bench.redis_url, "PYTHONPATH": str(ROOT / "benchmarks")}
    enqueue = f"from harness.raw_dramatiq import noop\nfor _ in range({rows}): noop.send()"
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
        until(lambda: done() >= rows, within_seconds=120)
        return (rows - already) / (time.perf_counter() - started)
    finally:
        worker.terminate()
        worker.wait(60)
        client.flushdb()


def picloud(bench: Stack, rows: int, script_id: int = 1) -> float:
    """Accepted rows run down a second, with whatever they cause: durable completion, history written."""
    bench.redis().flushdb()
    relay = bench.start("relay")
    worker = bench.start("worker", worker_processes=PROCESSES)
    with bench.connect() as connection:
        accept_many(connection, 200, script_id)  # scripts compiled, connections made
        left = "select exists (select from outbox)"  # a count would take a tenth of a core from who is measured
        until(lambda: connection.execute(left).fetchone() == (False,), within_seconds=60)
        # One transaction: the whole backlog becomes visible at once.
        with connection.transaction():
            accept_many(connection, rows, script_id)
        bench.redis().rpush(broker.WAKE_LIST, "1")
        started = time.perf_counter()
        until(lambda: connection.execute(left).fetchone() == (False,), within_seconds=180)
        seconds = time.perf_counter() - started
        failed = connection.execute("select count(*) from executions where status <> 'completed'").fetchone()
        assert failed == (0,), f"{failed} runs failed"
    bench.stop(worker)
    bench.stop(relay)
    return rows / seconds
