"""Load by wrk (Debian's package), and the plain servers that PiCloud is compared with."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from harness import free_port, until

SECONDS = 4
_NO_HEADERS: Mapping[str, str] = {}


def answers(url: str, body: str) -> bool:
    """Does a POST get a 2xx?"""
    request = urllib.request.Request(url, body.encode(), {"content-type": "application/json"})
    with contextlib.suppress(OSError), urllib.request.urlopen(request, timeout=5) as response:
        return bool(200 <= response.status < 300)
    return False


def _wrk(url: str, body: str, connections: int, headers: Mapping[str, str] = _NO_HEADERS) -> str:
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(f'wrk.method = "POST"; wrk.body = {json.dumps(body)}\n')
        for name, value in {"content-type": "application/json", **headers}.items():
            script.write(f"wrk.headers[{json.dumps(name)}] = {json.dumps(value)}\n")
        script.flush()
        command = ["wrk", "-t1", f"-c{connections}", f"-d{SECONDS}s", "--latency", "-s", script.name, url]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in output:
        raise RuntimeError(f"{url} refused requests:\n{output}")
    return output


def requests_per_second(url: str, body: str, connections: int, headers: Mapping[str, str] = _NO_HEADERS) -> float:
    found = re.search(r"Requests/sec:\s+([\d.]+)", _wrk(url, body, connections, headers))
    assert found
    return float(found[1])


def median_ms(url: str, body: str) -> float:
    """The median latency at one connection."""
    found = re.search(r"50%\s+([\d.]+)(us|ms|s)", _wrk(url, body, 1))
    assert found
    return float(found[1]) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[found[2]]


class _Server:
    """A server in a process of its own, until the block ends."""

    def __init__(self, command: list[str], folder: Path | None = None, path: str = "/") -> None:
        self._command, self._folder = command, folder
        self.url = f"http://127.0.0.1:{command[-1].rpartition(':')[2]}{path}"

    def __enter__(self) -> Self:
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen(
            self._command, cwd=self._folder, stdout=quiet, stderr=quiet, start_new_session=True
        )
        until(lambda: answers(self.url, "{}"), within_seconds=30)
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        os.killpg(self._process.pid, signal.SIGTERM)
        self._process.wait(20)


class Hello(_Server):
    """A Falcon ASGI app that reads the body and says hello, served as PiCloud's web process is."""

    def __init__(self) -> None:
        here = Path(__file__).parent
        options = ["-k", "asgi", "--workers", "1", "--no-control-socket", "--chdir", str(here)]
        super().__init__([sys.executable, "-m", "gunicorn", "hello:app", *options, "-b", f"127.0.0.1:{free_port()}"])


class FunctionsFramework(_Server):
    """The same handler in Python, in Google's functions-framework, in process."""

    def __init__(self) -> None:
        source = Path(__file__).parent / "python_function.py"
        command = ["functions-framework", "--target", "handler", "--source", str(source), "--host", "127.0.0.1"]
        super().__init__([str(Path(sys.executable).parent / command[0]), *command[1:], "--port", str(free_port())])
