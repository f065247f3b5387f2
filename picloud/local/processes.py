"""PiCloud's own processes as services of the supervisor.

They are found by name through the entry-point group ``picloud.processes``, so that
nothing here imports the web or the worker by its module. They are imported once, in the
parent, and forked: the code and what it loaded stay shared memory.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import TypeAlias, cast

from picloud.errors import ConfigurationError
from picloud.local.children import Child, fork_function
from picloud.settings import Settings

#: Blocks until SIGTERM; its answer is the exit code.
Process: TypeAlias = Callable[[Settings], int]

_ALWAYS = ("relay", "worker", "web")


@dataclass(frozen=True, slots=True)
class ProcessService:
    """One of them, forked with the settings it is to use."""

    name: str
    process: Process
    settings: Settings
    #: Descriptors of the parent that a fork closes.
    close: Sequence[int]

    stop_signal = signal.SIGTERM
    kill_signal = signal.SIGKILL

    @property
    def grace_seconds(self) -> float:
        """Long enough for a script that may run as long as any to end; the processes end earlier by themselves."""
        return self.settings.sandbox.max_timeout_seconds + 10

    def spawn(self) -> Child:
        return fork_function(lambda: self.process(self.settings), close=self.close)


def wanted_names(settings: Settings) -> tuple[str, ...]:
    """What is to run, in the order of its start: who makes work is started last and stopped first."""
    return (*_ALWAYS, "mail") if settings.smtp_bind else _ALWAYS


def load_processes(names: Sequence[str]) -> Mapping[str, Process]:
    """Import them; by name, in the order given.

    Raises:
        ConfigurationError: one is not installed.
    """
    installed = {point.name: point for point in entry_points(group="picloud.processes")}
    if missing := [name for name in names if name not in installed]:
        raise ConfigurationError(
            f"no process is called {' or '.join(missing)} in this installation", hint="install PiCloud again"
        )
    return {name: cast("Process", installed[name].load()) for name in names}
