"""A ``picloud up`` as a test sees it: a process, its lines, its exit code."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec

from picloud.local.children import stop_child
from picloud.local.data_folder import Runtime

_PROGRAM = Path(__file__).with_name("up_program.py")
_REPOSITORY = Path(__file__).parents[3]


class UpProcess:
    """One running; ``lines`` are those of stderr read so far."""

    def __init__(self, process: subprocess.Popen[str], data: Path) -> None:
        self.process = process
        self.data = data
        self.lines: list[str] = []

    def wait_until_ready(self) -> str:
        """The line on stdout; empty when it ended instead."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def wait_for(self, text: str) -> str:
        """Read stderr up to a line that holds ``text``."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line.rstrip("\n"))
            if text in line:
                return line.rstrip("\n")
        raise AssertionError(f"it ended without saying {text!r}: {self.lines}")

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        """Read what is left and return the exit code."""
        assert self.process.stderr is not None
        self.lines += [line.rstrip("\n") for line in self.process.stderr]
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
    data: Path, *, port: int | None = None, user: str | None = None, settings: Mapping[str, str] | None = None
) -> Iterator[UpProcess]:
    """Start one on ``data``; whatever is left of it is ended when the block is left."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PICLOUD_")},
        "PYTHONPATH": os.pathsep.join(str(_REPOSITORY / folder) for folder in (".", "actors", "web")),
        "PICLOUD_DATA_DIR": str(data),
        "PICLOUD_BIND": f"127.0.0.1:{port or free_port()}",
        "PICLOUD_CONFIG": str(data.parent / "config" / "config.toml"),
        **(settings or {}),
    }
    command = [sys.executable, str(_PROGRAM)]
    with subprocess.Popen(
        command, env=environment, user=user, cwd="/", text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            yield UpProcess(process, data)
        finally:
            stop_child(process, signal.SIGINT, signal.SIGKILL, 30)


def free_port() -> int:
    """One that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
