"""How long does a sync call take, and how many go through? Against functions-framework run beside it."""

from __future__ import annotations

import json

from harness import free_port, median, report, stack, until
from harness.apps import ITEMS, seed
from harness.load import FunctionsFramework, answers, median_ms, requests_per_second

ROUNDS = 3


def main() -> None:
    body = json.dumps(ITEMS)
    with stack() as bench:
        with bench.connect() as connection:
            seed(connection)
        port = free_port()
        for name in ("relay", "worker", "web"):
            bench.start(name, bind=f"127.0.0.1:{port}")
        url = f"http://127.0.0.1:{port}/@bench/sync"
        until(lambda: answers(url, body), within_seconds=30)
        alone, ours, theirs = [], [], []
        with FunctionsFramework() as framework:
            for _ in range(ROUNDS):
                alone.append(median_ms(url, body))
                ours.append(requests_per_second(url, body, 32))
                theirs.append(requests_per_second(framework.url, body, 32))
        measured = {
            "median_ms_at_1_connection": [round(value, 2) for value in alone],
            "per_second_at_32_connections": [round(value) for value in ours],
            "functions_framework_per_second_at_32_connections": [round(value) for value in theirs],
            "ratio": round(median(ours) / median(theirs), 2),
        }
    report("sync", "latency and throughput of a sync route, against functions-framework (Python)", measured)


if __name__ == "__main__":
    main()
