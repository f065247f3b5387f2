"""A platform as a user starts it: ``picloud up``, in a process, home and data folder of its own."""

from __future__ import annotations

import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

#: The command as it is installed beside the interpreter that runs the tests.
PICLOUD = Path(sys.executable).with_name("picloud")

_START_SECONDS = 90
_STOP_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Platform:
    """A running ``picloud up``.

    Attributes:
        url: where it serves, without a slash at its end.
        environment: what a shell beside it has: its own home, so its own profile.
        folder: an empty folder to work in.
    """

    url: str
    environment: dict[str, str]
    folder: Path

    def picloud(
        self, *arguments: str, expect_code: int = 0, timeout_seconds: float = 60, given: str | None = None
    ) -> str:
        """The standard output of ``picloud ARGUMENT…``, which reads ``given`` and must end with ``expect_code``."""
        done = subprocess.run(
            [PICLOUD, *arguments],
            cwd=self.folder,
            env=self.environment,
            input=given,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_seconds,
        )
        assert done.returncode == expect_code, f"picloud {' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done.stdout


@contextmanager
def running_platform(**settings: str) -> Iterator[Platform]:
    """Start one, hand it over when it serves, stop it with Ctrl-C and insist that it stops cleanly.

    Args:
        settings: ``PICLOUD_*`` variables it is started with.
    """
    # Not in pytest's folder: the way there is closed to the account root's PostgreSQL runs as.
    home = Path(tempfile.mkdtemp(prefix="picloud-"))
    home.chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PICLOUD_")}
    # Commands that work beside the servers (`users setup-link`, `doctor`) find them by the data folder.
    environment |= {"HOME": str(home), "NO_COLOR": "1", "TERM": "dumb", "PICLOUD_DATA_DIR": str(home / "data")}
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR"):
        environment.pop(name, None)
    (home / "shell").mkdir()
    log = home / "up.log"
    command = [str(PICLOUD), "up", "--data", str(home / "data"), "--bind", f"127.0.0.1:{_free_port()}"]
    try:
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, env=environment | settings, stdout=subprocess.PIPE, stderr=output, start_new_session=True
            )
        try:
            yield Platform(_url_when_ready(process, log), environment, home / "shell")
            code = _stop(process)
        except BaseException:
            _stop(process)
            sys.stderr.write(log.read_text(errors="replace")[-8_000:])
            raise
        finally:
            assert process.stdout is not None
            process.stdout.close()
        assert code == 0, f"picloud up ended with {code}: {log.read_text(errors='replace')[-8_000:]}"
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _url_when_ready(process: subprocess.Popen[bytes], log: Path) -> str:
    assert process.stdout is not None
    deadline = time.monotonic() + _START_SECONDS
    seen = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while selector.select(max(0, deadline - time.monotonic())):
            chunk = os.read(process.stdout.fileno(), 4096)
            seen += chunk
            ready = [line for line in seen.decode().splitlines(keepends=True) if line.startswith("ready http")]
            if ready and ready[0].endswith("\n"):
                return ready[0].split()[1].rstrip("/")
            if not chunk:
                break
    raise AssertionError(f"picloud up was not ready: {seen.decode()}\n{log.read_text(errors='replace')}")


def _stop(process: subprocess.Popen[bytes]) -> int:
    """End it as Ctrl-C in its terminal does; its whole session by force when that is not enough."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    try:
        return process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return -signal.SIGKILL


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port
