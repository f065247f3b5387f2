"""What every benchmark needs: a durable PostgreSQL, a Redis, the processes as users run them, a result file.

Results are ratios to something run in the same minute on the same machine: these
machines are shared and noisy, absolute numbers only tell what was seen.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import redis

from picloud.local.children import stop_child
from picloud.local.data_folder import open_data_folder
from picloud.local.postgres import PostgresServer
from picloud.local.redis import RedisServer
from picloud.migrations import migrate

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"

_PROCESSES = {
    "relay": "from picloud.relay.service import run",
    "worker": "from picloud_actors.service import run",
    "web": "from picloud_web.server import run",
}


@dataclass
class Stack:
    """Servers and processes of one benchmark."""

    database_url: str
    redis_url: str
    folder: Path
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, name: str, **settings: object) -> subprocess.Popen[bytes]:
        """Start one of relay, worker, web; settings become PICLOUD_* variables."""
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PICLOUD_")} | {
            "PICLOUD_DATABASE_URL": self.database_url,
            "PICLOUD_REDIS_URL": self.redis_url,
            "PICLOUD_DATA_DIR": str(self.folder / "data"),
            "PYTHONPATH": os.pathsep.join(str(ROOT / part) for part in (".", "actors", "web")),
        }
        environment |= {f"PICLOUD_{key.upper()}": str(value) for key, value in settings.items()}
        imports = f"import sys; from picloud.settings import load_settings; {_PROCESSES[name]}"
        code = f"{imports}; sys.exit(run(load_settings()))"
        log = (self.folder / f"{name}.log").open("ab")
        process = subprocess.Popen(
            [sys.executable, "-c", code], env=environment, cwd=self.folder, stdout=log, stderr=log
        )
        self.processes.append(process)
        return process

    def stop(self, process: subprocess.Popen[bytes]) -> None:
        """Stop a process in good order."""
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(30)
        if process in self.processes:
            self.processes.remove(process)

    def connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.database_url, autocommit=True)

    def redis(self) -> redis.Redis:
        return redis.Redis.from_url(self.redis_url)


@contextmanager
def stack() -> Iterator[Stack]:
    """A migrated PostgreSQL that syncs its commits to disk, an empty Redis, no processes yet."""
    folder = Path(tempfile.mkdtemp(prefix="picloud-bench-"))
    folder.chmod(0o711)
    servers: list[tuple[PostgresServer | RedisServer, Any]] = []
    made: Stack | None = None
    try:
        data = open_data_folder(folder / "data")
        postgres = PostgresServer(data, _quiet)
        cache = RedisServer(data, _quiet)
        for server in (postgres, cache):
            server.prepare()
            servers.append((server, server.start(server.spawn)))
        migrate(postgres.url)
        made = Stack(postgres.url, cache.url, folder)
        yield made
    finally:
        if made is not None:
            for process in list(made.processes):
                made.stop(process)
        for server, child in reversed(servers):
            stop_child(child, server.stop_signal, server.kill_signal, server.grace_seconds)
        shutil.rmtree(folder, ignore_errors=True)


def _quiet(_message: str) -> None:
    return


def until(condition: Callable[[], Any], *, within_seconds: float, every_seconds: float = 0.02) -> float:
    """Wait for a condition; returns the seconds it took."""
    started = time.perf_counter()
    while not condition():
        if time.perf_counter() - started > within_seconds:
            raise TimeoutError(f"not so within {within_seconds} s")
        time.sleep(every_seconds)
    return time.perf_counter() - started


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def report(name: str, question: str, measured: dict[str, Any]) -> None:
    """Print the result and keep it under ``benchmarks/results``."""
    commit = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    document = {
        "question": question,
        "measured": measured,
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Linux {platform.release()},"
        f" Python {platform.python_version()}",
        "commit": commit,
        "date": time.strftime("%Y-%m-%d"),
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(document, indent=2) + "\n")
    print(json.dumps(document, indent=2))
