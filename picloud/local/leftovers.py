"""Ends the processes of an ``up`` that was killed before it could stop them.

The kernel told them when their parent died; a process in the middle of a long script,
or the children of one that was killed too, may still be there and hold the port. They
are recognised by the session their ancestor led, by their command line, which is the
killed parent's (they are forks), and by not being older than that session. A pid alone
proves nothing: after a restart of the machine it is somebody else's.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from picloud.local.children import wait_for_exit
from picloud.local.data_folder import Runtime

_GRACE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class ProcessFacts:
    """What /proc tells of a process; proc_pid_stat(5)."""

    pid: int
    state: str
    session: int
    #: Ticks since the machine started.
    started: int
    command: str


def read_process(pid: int) -> ProcessFacts | None:
    """None: there is no such process, or no /proc."""
    folder = Path("/proc") / str(pid)
    try:
        # The name in parentheses may hold anything, so fields are counted from its end.
        fields = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
        command = (folder / "cmdline").read_bytes().decode(errors="replace")
    except (OSError, ValueError):
        return None
    return ProcessFacts(pid, fields[0], int(fields[3]), int(fields[19]), command)


def boot_id() -> str:
    """Changes with every start of the machine; empty where that is not told."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def end_leftovers(runtime: Runtime, say: Callable[[str], None]) -> None:
    """Stop what is left of the ``up`` that wrote ``runtime``; call while holding its lock."""
    left = [facts.pid for facts in _find(runtime)]
    if not left:
        return
    say(f"ending {len(left)} process(es) that an earlier start left behind")
    give_up_at = time.monotonic() + _GRACE_SECONDS
    for pid in left:
        _signal(pid, signal.SIGTERM)
    for pid in left:
        if not wait_for_exit(pid, max(0.0, give_up_at - time.monotonic())):
            _signal(pid, signal.SIGKILL)
            wait_for_exit(pid, _GRACE_SECONDS)


def _find(runtime: Runtime) -> Iterator[ProcessFacts]:
    if not runtime.boot_id or runtime.boot_id != boot_id():
        return
    started = {child.pid: child.started for child in runtime.children}
    for entry in Path("/proc").iterdir():
        facts = read_process(int(entry.name)) if entry.name.isdigit() else None
        if facts is None or facts.state == "Z" or facts.session not in started:
            continue
        if facts.command == runtime.command and facts.started >= started[facts.session]:
            yield facts


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass
