"""What does the whole stack cost while nothing happens? CPU, WAL, Redis commands and memory of ``picloud up``."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psycopg
import redis
from harness import ROOT, free_port, report

from picloud.local.data_folder import open_data_folder

SECONDS = 60
SETTLE_SECONDS = 20


def descendants(root: int) -> list[int]:
    """A process and everything below it."""
    found, queue = [], [root]
    while queue:
        pid = queue.pop()
        found.append(pid)
        for task in Path(f"/proc/{pid}/task").glob("*/children"):
            queue += [int(child) for child in task.read_text().split()]
    return found


def cpu_seconds(pids: list[int]) -> dict[int, float]:
    ticks = os.sysconf("SC_CLK_TCK")
    used = {}
    for pid in pids:
        fields = Path(f"/proc/{pid}/schedstat").read_text().split() if Path(f"/proc/{pid}/schedstat").exists() else None
        if fields and int(fields[0]):
            # The scheduler's own nanoseconds of every thread; jiffies are too coarse for a process that hardly runs.
            used[pid] = sum(int(p.read_text().split()[0]) for p in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9
        else:
            stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            used[pid] = (int(stat[11]) + int(stat[12])) / ticks
    return used


def pss_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def name_of(pid: int) -> str:
    command = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ").strip()
    return f"{pid} {command[:60] or Path(f'/proc/{pid}/comm').read_text().strip()}"


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
    time.sleep(SETTLE_SECONDS)  # first checkpoint, caches, connections that close after 30 s
    with psycopg.connect(runtime.database_url, autocommit=True) as connection:
        client = redis.Redis.from_url(runtime.redis_url)
        wal = "select pg_current_wal_insert_lsn() - '0/0'::pg_lsn"
        pids = descendants(root)
        cpu_before, wal_before = cpu_seconds(pids), connection.execute(wal).fetchone()
        commands_before = client.info("stats")["total_commands_processed"]
        time.sleep(SECONDS)
        commands_after = client.info("stats")["total_commands_processed"]
        cpu_after, wal_after = cpu_seconds(pids), connection.execute(wal).fetchone()
        assert wal_before is not None
        assert wal_after is not None
    memory = {name_of(pid): round(pss_bytes(pid) / 2**20, 1) for pid in pids}
    by_process = {name_of(pid): round((cpu_after[pid] - cpu_before[pid]) / SECONDS * 100, 3) for pid in pids}
    return {
        "cpu_percent_of_a_core": round(sum(cpu_after[pid] - cpu_before[pid] for pid in pids) / SECONDS * 100, 3),
        "wal_bytes": int(wal_after[0] - wal_before[0]),
        "redis_commands": commands_after - commands_before - 1,
        "pss_mib": round(sum(pss_bytes(pid) for pid in pids) / 2**20, 1),
        "cpu_percent_by_process": by_process,
        "pss_mib_by_process": memory,
    }


if __name__ == "__main__":
    main()
