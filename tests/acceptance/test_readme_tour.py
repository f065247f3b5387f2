"""The five-minute tour of the README, run as it is written.

Each ``console`` block is a list of ``$ command`` lines with what they print; ``…`` in
the printed text stands for anything, and columns may be wider. A ``picloud`` command that looks at something is
looked at again until it shows what the README says: the run it waits for takes its time.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.acceptance.running import Platform, running_platform

ROOT = Path(__file__).resolve().parents[2]

_WRITTEN_URL = "http://127.0.0.1:8000"
_LOOKS = re.compile(r"picloud (\S+ )?(ls|show|logs|queues|doctor)\b")
_PATIENCE_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Step:
    """One command of the tour and what the README says it prints."""

    command: str
    printed: str

    @property
    def may_be_repeated(self) -> bool:
        return bool(_LOOKS.match(self.command))

    def matches(self, output: str) -> bool:
        pattern = ".*".join(re.escape(part) for part in _narrow(self.printed).split("…"))
        return re.fullmatch(pattern, _narrow(output), re.DOTALL) is not None


def _narrow(text: str) -> str:
    """The text with one space wherever columns are wider: how wide depends on what is in them."""
    return re.sub(r"[ \t]*…[ \t]*", "…", re.sub(r"[ \t]+", " ", text)).strip()


def tour(readme: str) -> list[Step]:
    """Every step of every console block, in order."""
    steps: list[Step] = []
    for block in re.findall(r"^```console\n(.*?)^```$", readme, re.DOTALL | re.MULTILINE):
        for step in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, printed = step.partition("\n")
            steps.append(Step(command, printed.strip()))
    return steps


class Terminal:
    """A shell in which one command after another is typed."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._state = platform.folder.parent / "shell-state"
        self._state.touch()
        # The reader stands in a checkout; here it holds what the tour touches.
        (platform.folder / ".venv").symlink_to(sys.prefix)
        shutil.copytree(ROOT / "examples", platform.folder / "examples")

    def type(self, command: str) -> str:
        """Run ``command``; what it printed on both outputs. It must succeed."""
        typed = command.replace(_WRITTEN_URL, self._platform.url)
        script = f". {self._state}\n{typed}\ncode=$?\nexport -p > {self._state}\nexit $code"
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self._platform.folder,
            env=self._platform.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=_PATIENCE_SECONDS,
        )
        assert done.returncode == 0, f"$ {command}\n{done.stdout}"
        return done.stdout.replace(self._platform.url, _WRITTEN_URL).replace("\r\n", "\n")

    def follow(self, step: Step) -> None:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        output = self.type(step.command)
        while step.may_be_repeated and not step.matches(output) and time.monotonic() < deadline:
            output = self.type(step.command)
        assert step.matches(output), f"$ {step.command}\n{output}\n-- the README says --\n{step.printed}"


@pytest.mark.acceptance
@pytest.mark.timeout(300)
def test_the_tour_of_the_readme_works_as_written() -> None:
    steps = tour((ROOT / "README.md").read_text())
    assert len(steps) > 10
    with running_platform() as platform:
        terminal = Terminal(platform)
        for step in steps:
            terminal.follow(step)


def test_a_step_that_prints_something_else_is_noticed() -> None:
    step = Step("picloud executions ls", "…completed…")
    assert step.matches("id  app\n1   orders  completed  2\n")
    assert not step.matches("id  app\n1   orders  dead  2\n")
