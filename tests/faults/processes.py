"""One process of a cluster: started as on a server, killed, frozen and asked what it is at."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

from picloud.local.children import start_program
from picloud_actors.board import read_running


@dataclass
class Process:
    """One process of the cluster, which may be started again after it ended."""

    command: Sequence[str | Path]
    environment: dict[str, str]
    log: Path
    child: subprocess.Popen[bytes] = field(init=False)

    def start(self, **changes: str) -> None:
        """Start it, or start it again; ``changes`` are added to its environment from now on."""
        self.environment |= changes
        with self.log.open("ab") as output:
            self.child = start_program(
                self.command, user=None, death_signal=signal.SIGKILL, output=output, environment=self.environment
            )

    @property
    def pid(self) -> int:
        return self.child.pid

    def children(self) -> list[int]:
        """The processes it has forked, the oldest first; empty once it has ended."""
        try:
            text = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        except FileNotFoundError:
            return []
        return [int(pid) for pid in text.split()]

    def send(self, number: signal.Signals) -> None:
        if self.child.poll() is None:
            self.child.send_signal(number)

    def send_to_children(self, number: signal.Signals) -> None:
        for pid in self.children():
            os.kill(pid, number)

    def is_frozen(self) -> bool:
        """Whether any of its children is stopped, by a failpoint or by the test."""
        states = (Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] for pid in self.children())
        return "T" in states

    def has_pending_signals(self) -> bool:
        """Whether it has yet to hear of a signal that was sent to it."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return any(int(line.split()[1], 16) for line in status.splitlines() if line.startswith(("SigPnd", "ShdPnd")))

    def boards(self) -> Path:
        """Where its worker processes leave evidence."""
        return Path(self.environment["RUNTIME_DIRECTORY"]) / "boards"

    def running(self) -> set[UUID]:
        """What its worker processes are at, as their boards tell: a row may have begun and not started."""
        return {run.id for board in self.boards().rglob("*.board") for run in read_running(board)}

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.send(signal.SIGKILL)
        self.child.wait()

    def kill_with_children(self) -> None:
        """As a machine that loses power: nobody is left to tell."""
        for pid in [self.pid, *self.children()]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        for pid in [*self.children(), self.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.child.wait()

    def terminate(self, within_seconds: float = 30.0) -> int:
        """SIGTERM; its exit code."""
        self.send(signal.SIGTERM)
        return self.child.wait(within_seconds)

    def said(self, text: str) -> bool:
        return text in self.log.read_text(errors="replace")
