"""How fast is async work accepted? 202 after a durable commit, against a hello of the same server."""

from __future__ import annotations

import json

from harness import Stack, free_port, median, report, stack, until
from harness.apps import ITEMS, seed
from harness.load import Hello, answers, requests_per_second

ROUNDS = 3
CONNECTIONS = (32, 128)


def main() -> None:
    with stack() as bench:
        with bench.connect() as connection:
            seed(connection)
        measured = _measure(bench)
    report("accept", "async routes accepted a second, against a POST hello of the same server", measured)


def _measure(bench: Stack) -> dict[str, object]:
    """No relay and no worker run: this is the door alone."""
    port = free_port()
    bench.start("web", bind=f"127.0.0.1:{port}")
    url = f"http://127.0.0.1:{port}/@bench/async"
    body = json.dumps(ITEMS)
    until(lambda: answers(url, body), within_seconds=30)
    measured: dict[str, object] = {}
    with Hello() as hello:
        for connections in CONNECTIONS:
            greeted, accepted = [], []
            for _ in range(ROUNDS):
                greeted.append(requests_per_second(hello.url, body, connections))
                accepted.append(requests_per_second(url, body, connections))
            measured[f"connections_{connections}"] = {
                "hello_per_second": [round(value) for value in greeted],
                "accepted_per_second": [round(value) for value in accepted],
                "ratio": round(median(accepted) / median(greeted), 2),
            }
    return measured


if __name__ == "__main__":
    main()
