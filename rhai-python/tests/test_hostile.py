"""Hostile scripts end as typed errors: no abort, in time, within their memory."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hostile import SCRIPTS

PROGRAM = str(Path(__file__).with_name("hostile.py"))

#: The budget is 64 MiB; one native operation may pass it by a factor of two.
MOST_BYTES = 2 * (64 << 20)

#: Budget of most scripts, in seconds; nested values take a while to build, and must get to the end.
BUDGET_SECONDS = 1.0
NESTING_BUDGET_SECONDS = 20.0

#: The operation that was running when the time was over, on two busy cores.
GRACE_SECONDS = 3.0


class Victim:
    """A process that runs scripts until one kills it; then there is a new one."""

    def __init__(self, *options: str) -> None:
        self._options = options
        self._process: subprocess.Popen[str] | None = None

    def run(self, script: str, seconds: float = 1.0) -> dict[str, Any] | None:
        """How the script ended, None when it took the process with it."""
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, PROGRAM, *self._options],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([script, seconds]) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            self.close()
            return None
        result: dict[str, Any] = json.loads(answer)
        return result

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


@pytest.fixture(scope="module", params=["--own-stack", "--pool"])
def victim(request: pytest.FixtureRequest) -> Iterator[Victim]:
    victim = Victim(request.param)
    yield victim
    victim.close()


@pytest.mark.parametrize("name", SCRIPTS)
def test_ends_as_a_typed_error_within_its_budgets(victim: Victim, name: str) -> None:
    hole, script, allowed = SCRIPTS[name]
    budget = NESTING_BUDGET_SECONDS if hole == "nesting" else BUDGET_SECONDS
    answer = victim.run(script, budget)
    assert answer is not None, "the process is gone"
    assert set(answer["classes"]) & set(allowed.split()), answer["classes"][0]
    assert "RhaiInternalError" not in answer["classes"]
    assert answer["seconds"] < budget + GRACE_SECONDS
    assert answer["peak_bytes"] < MOST_BYTES
    assert answer["host_calls"] == 0


def test_an_abort_would_be_noticed(victim: Victim) -> None:
    assert victim.run("1 + 1") is not None
    assert victim._process is not None
    victim._process.kill()
    victim._process.wait()
    with pytest.raises((BrokenPipeError, AssertionError)):
        assert victim.run("1 + 1") is not None
    victim.close()


def test_cycles_are_reported_as_leaks(victim: Victim) -> None:
    answer = victim.run(SCRIPTS["cycle"][1])
    assert answer is not None
    assert answer["leaked_bytes"] > 100_000
    answer = victim.run("let a = []; a.pad(5000, 1); a.len")
    assert answer is not None
    assert answer["leaked_bytes"] < 1_000
