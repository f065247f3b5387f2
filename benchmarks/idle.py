"""What does the whole stack cost while nothing happens? CPU, WAL, Redis commands and memory of ``picloud up``."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import psycopg
import redis
from harness import ROOT, free_port, report

from picloud.local.data_folder import open_data_folder

T = TypeVar("T")

SECONDS = 60
#: By then autovacuum has cleaned up what the migrations left in the catalogs, and the checkpoint after it is over.
SETTLE_SECONDS = 330


def descendants(root: int) -> list[int]:
    """A process and everything below it."""
    found, queue = [], [root]
    while queue:
        pid = queue.pop()
        found.append(pid)
        for task in Path(f"/proc/{pid}/task").glob("*/children"):
            queue += [int(child) for child in task.read_text().split()]
    return found


def cpu_seconds(pid: int) -> float:
    """CPU time of all threads, by the scheduler's own nanoseconds: jiffies are too coarse for what hardly runs."""
    return sum(int(path.read_text().split()[0]) for path in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9


def pss_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def by_part(values: Mapping[int, float], names: Mapping[int, str], unit: float) -> dict[str, float]:
    """Sums over the processes of each part; what is nobody's child is ``up`` itself."""
    sums: dict[str, float] = {}
    for pid, value in values.items():
        part = names.get(pid, "up")
        sums[part] = sums.get(part, 0.0) + value / unit
    return {part: round(value, 3) for part, value in sums.items()}


def of_living(pids: list[int], read: Callable[[int], T]) -> dict[int, T]:
    """What ``read`` says of each process that is still there: autovacuum workers come and go."""
    found: dict[int, T] = {}
    for pid in pids:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found[pid] = read(pid)
    return found


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="picloud-idle-"))
    folder.chmod(0o711)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PICLOUD_")} | {
        "PYTHONPATH": os.pathsep.join(str(ROOT / part) for part in (".", "actors", "web")),
        "PICLOUD_CONFIG": str(folder / "config.toml"),
    }
    code = "import sys; from picloud.cli.main import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "up", "--data", str(folder / "data"), "--bind", f"127.0.0.1:{free_port()}"]
    stack = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert stack.stdout is not None
        assert stack.stdout.readline().startswith("ready ")
        report("idle", f"the cost of an idle ``picloud up`` over {SECONDS} s", measure(stack.pid, folder / "data"))
    finally:
        stack.send_signal(signal.SIGTERM)
        stack.wait(60)


def measure(root: int, data: Path) -> dict[str, object]:
    runtime = open_data_folder(data).read_runtime()
    assert runtime is not None
    time.sleep(SETTLE_SECONDS)
    with psycopg.connect(runtime.database_url, autocommit=True) as connection:
        client = redis.Redis.from_url(runtime.redis_url)
        wal = "select pg_current_wal_insert_lsn() - '0/0'::pg_lsn"
        pids = descendants(root)
        cpu_before, wal_before = of_living(pids, cpu_seconds), connection.execute(wal).fetchone()
        commands_before = client.info("stats")["total_commands_processed"]
        time.sleep(SECONDS)
        commands_after = client.info("stats")["total_commands_processed"]
        cpu_after, wal_after = of_living(pids, cpu_seconds), connection.execute(wal).fetchone()
        assert wal_before is not None
        assert wal_after is not None
    memory = of_living(pids, pss_bytes)
    names = {pid: child.name for child in runtime.children for pid in descendants(child.pid)}
    percent = {pid: (used - cpu_before[pid]) / SECONDS * 100 for pid, used in cpu_after.items()}
    return {
        "cpu_percent_of_a_core": round(sum(percent.values()), 3),
        "wal_bytes": int(wal_after[0] - wal_before[0]),
        "redis_commands": commands_after - commands_before - 1,
        "pss_mib": round(sum(memory.values()) / 2**20, 1),
        "cpu_percent_by_part": by_part(percent, names, 1.0),
        "pss_mib_by_part": by_part(memory, names, 2**20),
    }


if __name__ == "__main__":
    main()
