"""A ``picloud up`` as a test sees it: a process, its lines, its exit code."""

from __future__ import annotations

import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec

from picloud.local.children import stop_child
from picloud.local.data_folder import Runtime

_PROGRAM = Path(__file__).with_name("up_program.py")
_REPOSITORY = Path(__file__).parents[3]


class UpProcess:
    """One running; ``lines`` are those of stderr so far.

    They are read by a thread: a pipe that fills up would stop the process that writes to it.
    """

    def __init__(self, process: subprocess.Popen[str], data: Path) -> None:
        self.process = process
        self.data = data
        self.lines: list[str] = []
        self._unseen: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line.rstrip("\n"))
            self._unseen.put(line.rstrip("\n"))
        self._unseen.put(None)

    def wait_until_ready(self) -> str:
        """The line on stdout; empty when it ended instead."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def wait_for(self, text: str) -> str:
        """The next line of stderr that holds ``text``."""
        while (line := self._unseen.get(timeout=60)) is not None:
            if text in line:
                return line
        raise AssertionError(f"it ended without saying {text!r}: {self.lines}")

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        """Wait for its end, and the end of its children, and return its exit code."""
        self._reader.join()
        return self.process.wait()

    def stop(self) -> int:
        self.signal(signal.SIGINT)
        return self.wait()

    @property
    def runtime(self) -> Runtime:
        return msgspec.json.decode((self.data / "runtime.json").read_bytes(), type=Runtime)

    def pid_of(self, name: str) -> int:
        return next(child.pid for child in self.runtime.children if child.name == name)


@contextmanager
def up(
    data: Path,
    *,
    port: int | None = None,
    user: str | None = None,
    settings: Mapping[str, str] | None = None,
    python: str = sys.executable,
) -> Iterator[UpProcess]:
    """Start one on ``data``; whatever is left of it is ended when the block is left."""
    importable = [str(_REPOSITORY / folder) for folder in (".", "actors", "web")]
    if python != sys.executable:
        importable += [str(data.parent), *(path for path in sys.path if path.endswith("site-packages"))]
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PICLOUD_")},
        "PYTHONPATH": os.pathsep.join(importable),
        "PICLOUD_DATA_DIR": str(data),
        "PICLOUD_BIND": f"127.0.0.1:{port or free_port()}",
        "PICLOUD_CONFIG": str(data.parent / "config" / "config.toml"),
        **(settings or {}),
    }
    command = [python, str(_PROGRAM)]
    with subprocess.Popen(
        command, env=environment, user=user, cwd="/", text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        platform = UpProcess(process, data)
        try:
            yield platform
        finally:
            stop_child(process, signal.SIGINT, signal.SIGKILL, 30)
            platform.wait()


def free_port() -> int:
    """One that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
