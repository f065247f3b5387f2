"""How long does a deploy of 200 scripts take? Against psycopg that only inserts their sources, in one transaction."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import psycopg
from harness import Stack, median, report, stack
from harness.apps import SUM_REQUEST, seed

from picloud.access import InstanceRole, Principal
from picloud.control.deploy import deploy
from picloud.settings import Settings

SCRIPTS = 200
ROUNDS = 7
APP = "deployed"
_OWNER = Principal(1, "user", "bench", InstanceRole.OWNER)


def main() -> None:
    measured: dict[str, list[float]] = {name: [] for name in ("first", "changed", "same", "inserts")}
    with stack() as bench:
        with bench.connect() as connection:
            seed(connection)
            connection.execute("create table sources (name text, source text)")
        for number in range(ROUNDS):
            app = f"{APP}-{number}"
            measured["first"].append(_deploy(bench, app, _files("first")))
            measured["changed"].append(_deploy(bench, app, _files("changed")))
            measured["same"].append(_deploy(bench, app, _files("changed")))
            measured["inserts"].append(_insert(bench, _files("changed")))
    inserts = median(measured["inserts"])
    report(
        "deploy",
        "milliseconds of a deploy of 200 scripts with a route each: into nothing, with every script changed, unchanged;"
        " and of a psycopg executemany of the same sources in one transaction",
        {f"{name}_ms": [round(value, 1) for value in values] for name, values in measured.items()}
        | {f"{name}_ratio": round(median(measured[name]) / inserts, 1) for name in ("first", "changed", "same")},
    )


def _files(word: str) -> dict[str, str]:
    """Sources of about 1 KiB: what a handler is."""
    return {f"scripts/s{n}.rhai": f"// {word} {n}\n" + f"{{ {SUM_REQUEST} }};\n" * 8 for n in range(SCRIPTS)}


def _deploy(bench: Stack, app: str, files: Mapping[str, str]) -> float:
    routes = [{"method": "GET", "path": f"/r{n}", "script": name} for n, name in enumerate(files)]
    manifest: dict[str, Any] = {"app": {"name": app}, "route": routes}

    async def timed() -> float:
        async with await psycopg.AsyncConnection.connect(bench.database_url, autocommit=True) as connection:
            started = time.perf_counter()
            async with connection.transaction():
                await deploy(connection, Settings(), _OWNER, app, manifest=manifest, files=files, dry_run=False)
            return (time.perf_counter() - started) * 1_000

    return asyncio.run(timed())


def _insert(bench: Stack, files: Mapping[str, str]) -> float:
    with bench.connect() as connection:
        started = time.perf_counter()
        with connection.transaction(), connection.cursor() as cursor:
            cursor.executemany("insert into sources (name, source) values (%s, %s)", list(files.items()))
        return (time.perf_counter() - started) * 1_000


if __name__ == "__main__":
    main()
