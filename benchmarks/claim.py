"""How long does a round of the relay take while a snapshot keeps 300,000 dead rows alive? Against a clean table."""

from __future__ import annotations

import time
from typing import Any

import psycopg
from harness import Stack, median, report, stack, until
from harness.apps import accept_many, seed

from picloud.database import Reconnecting
from picloud.relay.loop import Relay
from picloud.relay.publisher import Publisher
from picloud.settings import Settings

DEAD_ROWS = 300_000
CLAIMS = 60
ROWS_PER_CLAIM = 40


def main() -> None:
    with stack() as bench, bench.connect() as connection:
        seed(connection)
        # A worker that runs nothing: the window is open, what is claimed stays claimed.
        connection.execute(
            "insert into workers (id, host, pid, threads, takes_sync, release, protocol)"
            " values (gen_random_uuid(), 'bench', 1, 512, true, 'bench', 1)"
        )
        clean = claim_times(bench, connection)
        with psycopg.connect(bench.database_url) as snapshot:
            snapshot.execute("begin isolation level repeatable read")
            snapshot.execute("select 1")
            for _ in range(DEAD_ROWS // 10_000):
                accept_many(connection, 10_000)
                connection.execute("delete from outbox")
            dirty = claim_times(bench, connection)
            snapshot.rollback()
    report(
        "claim",
        f"milliseconds to claim and publish {ROWS_PER_CLAIM} rows,"
        f" clean and with {DEAD_ROWS:,} dead rows under a held snapshot",
        {
            "clean_ms": {"median": round(median(clean), 2), "worst": round(max(clean), 2)},
            "dead_rows_ms": {"median": round(median(dirty), 2), "worst": round(max(dirty), 2)},
            "ratio_of_medians": round(median(dirty) / median(clean), 2),
        },
    )


def claim_times(bench: Stack, connection: psycopg.Connection[Any]) -> list[float]:
    """Milliseconds of each round: capacity, claim with the floors it has learned, publish."""
    relay = Relay(
        Reconnecting(bench.database_url, name="bench"),
        Publisher(bench.redis_url),
        Settings(relay_batch_size=ROWS_PER_CLAIM),
    )
    times = []
    accept_many(connection, 1)
    # A relay finds a new lane by itself, but spends only a share of its time on looking; then it knows this one.
    until(lambda: relay.round() == 0.0, within_seconds=30)
    connection.execute("delete from outbox")
    for _ in range(CLAIMS):
        accept_many(connection, ROWS_PER_CLAIM)
        started = time.perf_counter()
        relay.round()
        times.append((time.perf_counter() - started) * 1_000)
        published = connection.execute("select count(*) from outbox where state = 1").fetchone()
        assert published == (ROWS_PER_CLAIM,), f"{published} rows published"
        connection.execute("delete from outbox")
    return times


if __name__ == "__main__":
    main()
