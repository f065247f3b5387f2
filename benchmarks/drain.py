"""How fast is a backlog run? Accepted, script run, committed, against raw Dramatiq no-ops with as many processes."""

from __future__ import annotations

from harness import median, report, stack
from harness.apps import seed
from harness.backlog import picloud, raw_dramatiq

ROUNDS = 3
ROWS = 20_000


def main() -> None:
    with stack() as bench:
        with bench.connect() as connection:
            seed(connection)
        raw, ours = [], []
        for _ in range(ROUNDS):
            raw.append(raw_dramatiq(bench, ROWS))
            ours.append(picloud(bench, ROWS))
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
