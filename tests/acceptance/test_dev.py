"""``picloud dev`` as somebody works with it: saves, a mistake, a run that fails, Ctrl-C."""

from __future__ import annotations

import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.acceptance.running import PICLOUD, Platform, running_platform

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(180)]

_PATIENCE_SECONDS = 30


class Terminal:
    """What ``picloud dev`` prints, read piece by piece."""

    def __init__(self, output: Path, process: subprocess.Popen[bytes]) -> None:
        self._output = output
        self._process = process
        self._read_to = 0

    def wait_for(self, text: str) -> str:
        """What was printed since the last call, up to the line with ``text``."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < deadline:
            new = self._output.read_text()[self._read_to :]
            found = new.find(text)
            end = new.find("\n", found) + 1
            if found >= 0 and end:
                self._read_to += end
                return new[:end]
            assert self._process.poll() is None, f"picloud dev has ended: {self._output.read_text()}"
            time.sleep(0.05)
        raise AssertionError(f"{text!r} was not printed: {self._output.read_text()}")

    def interrupt(self) -> int:
        self._process.send_signal(signal.SIGINT)
        return self._process.wait(_PATIENCE_SECONDS)


@contextmanager
def developing(platform: Platform, folder: str) -> Generator[Terminal]:
    output = platform.folder / "dev.log"
    with output.open("wb") as file:
        process = subprocess.Popen(
            [PICLOUD, "dev", folder],
            cwd=platform.folder,
            env=platform.environment,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield Terminal(output, process)
    finally:
        process.kill()
        process.wait()


def get(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=_PATIENCE_SECONDS) as answer:
            status: int = answer.status
            return status
    except urllib.error.HTTPError as error:
        return error.code


def test_every_save_is_deployed_and_told_until_ctrl_c() -> None:
    with running_platform() as platform:
        platform.picloud("init", "demo")
        script = platform.folder / "demo" / "scripts" / "hello.rhai"
        hello = f"{platform.url}/@demo/hello/you"
        with developing(platform, "demo") as terminal:
            printed = terminal.wait_for("deployed in")
            assert "+ script hello\n" in printed
            assert f"GET  {platform.url}/@demo/hello/:name\n" in printed

            script.write_text("let = 1;")
            printed = terminal.wait_for("error:")
            assert "demo/scripts/hello.rhai:1:5: " in printed
            assert "    1 | let = 1;\n      |     ^\n" in printed

            script.write_text('log::info("well done"); 1')
            assert "~ script hello\n" in terminal.wait_for("deployed in")
            assert get(hello) == 200
            assert "demo/hello" in terminal.wait_for("well done")

            script.write_text('let price = 3;\nthrow "sold out";')
            terminal.wait_for("deployed in")
            assert get(hello) == 502
            assert "demo/scripts/hello.rhai:2:1: the run failed: sold out" in terminal.wait_for('2 | throw "sold out";')

            # Not named by the manifest: deployed when it is saved, removed when it is deleted.
            (script.parent / "extra.rhai").write_text("1")
            assert "+ script extra\n" in terminal.wait_for("deployed in")
            (script.parent / "extra.rhai").unlink()
            assert "- script extra\n" in terminal.wait_for("deployed in")

            assert terminal.interrupt() == 130
        assert get(hello) == 502
