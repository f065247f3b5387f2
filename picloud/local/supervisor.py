"""Keeps child processes alive, and stops them in the reverse order of their start.

It knows nothing of what they do. It sleeps until a signal arrives, a child ends or a
restart is due, so it costs nothing at rest. A child that ends is started again after a
back-off that grows while it keeps ending soon; before everything was ready once, a child
that ends a third time means the start has failed.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from picloud.errors import ConfigurationError
from picloud.local.children import Child, signal_group, wait_for_exit
from picloud.local.signals import STOP_SIGNALS, Signals

_FIRST_DELAY_SECONDS = 0.2
_LONGEST_DELAY_SECONDS = 30.0
#: Who lived this long was well: the next end starts the back-off anew.
_WELL_AFTER_SECONDS = 60.0
_ENDS_BEFORE_READY = 3
_LOOK_FOR_READY_SECONDS = 0.05
#: Before everything was ready once, a child counts when it has lived this long: one that was forked a moment ago
#: and is about to fail looks exactly like one that works. Longer for one that has failed already.
_STEADY_SECONDS = 0.5
_STEADY_AGAIN_SECONDS = 3.0
_TELL_AFTER_SECONDS = 10.0
#: After SIGKILL only the kernel itself can be slow.
_KILLED_SECONDS = 10.0


class Service(Protocol):
    """What can be kept alive."""

    @property
    def name(self) -> str: ...
    @property
    def stop_signal(self) -> signal.Signals: ...
    @property
    def kill_signal(self) -> signal.Signals: ...
    @property
    def grace_seconds(self) -> float:
        """How long after ``stop_signal`` it may take before it is killed."""
        ...

    def spawn(self) -> Child:
        """Start it; returns at once. May be called again when the last child has ended."""
        ...


@dataclass
class _Kept:
    service: Service
    child: Child | None
    started_at: float
    #: Ends in a row that came soon after their start.
    failures: int = 0
    restart_at: float | None = None


def restart_delay_seconds(failures: int) -> float:
    """How long to wait before the start after the ``failures``-th early end."""
    return min(_LONGEST_DELAY_SECONDS, _FIRST_DELAY_SECONDS * 2.0 ** (min(failures, 16) - 1))


@dataclass
class Supervisor:
    """The children of one ``picloud up``, in the order of their start."""

    signals: Signals
    #: One line for the person at the terminal.
    say: Callable[[str], None]
    #: Called after every start of a child, with what runs then.
    on_change: Callable[[dict[str, Child]], None]
    clock: Callable[[], float] = time.monotonic
    _kept: list[_Kept] = field(init=False, default_factory=list[_Kept])

    def launch(self, service: Service) -> Child:
        """Start a child and keep it; instead of the last one when the service had one that ended."""
        child = service.spawn()
        self._kept = [kept for kept in self._kept if kept.service is not service]
        self._kept.append(_Kept(service, child, self.clock()))
        self._tell_of_change()
        return child

    def run(self, is_ready: Callable[[], bool], on_ready: Callable[[], None]) -> None:
        """Keep everything alive until a stop signal arrives.

        Args:
            is_ready: asked again and again until it says yes; must return within moments.
            on_ready: called once then.

        Raises:
            ConfigurationError: a child kept ending before everything was ready.
        """
        ready = False
        tell_at = self.clock() + _TELL_AFTER_SECONDS
        while not self.signals.wait(self._timeout(ready=ready)) & STOP_SIGNALS:
            for kept in self._kept:
                self._look_after(kept, ready=ready)
            if not ready and self._everything_runs() and is_ready():
                ready = True
                on_ready()
            if not ready and self.clock() >= tell_at:
                tell_at = float("inf")
                self.say("still waiting for the first answer; what the processes said is above")

    def stop(self) -> bool:
        """Stop everything, last started first.

        Returns:
            True when a second signal cut it short: then everything left was killed.
        """
        for kept in reversed(self._kept):
            if self._is_running(kept) and self._stop_one(kept):
                self._kill_all()
                return True
        return False

    def _stop_one(self, kept: _Kept) -> bool:
        """True when a stop signal arrived meanwhile."""
        child, service = kept.child, kept.service
        assert child is not None
        self.say(f"stopping {service.name}")
        os.kill(child.pid, service.stop_signal)  # polled a moment ago and not since: its pid is still its own
        give_up_at = self.clock() + service.grace_seconds
        while self._is_running(kept):
            left = give_up_at - self.clock()
            if left <= 0:
                self.say(f"{service.name} did not stop within {service.grace_seconds:.0f} s: killing it")
                self._kill(kept)
                return False
            if self.signals.wait(left, child=child.pid) & STOP_SIGNALS:
                return True
        return False

    def _kill_all(self) -> None:
        self.say("killing what still runs")
        for kept in reversed(self._kept):
            self._kill(kept)

    def _kill(self, kept: _Kept) -> None:
        if kept.child is None or not self._is_running(kept):
            return
        for number in (kept.service.kill_signal, signal.SIGKILL):
            signal_group(kept.child.pid, number)
            if wait_for_exit(kept.child.pid, _KILLED_SECONDS) and not self._is_running(kept):
                return

    def _look_after(self, kept: _Kept, *, ready: bool) -> None:
        code = kept.child.poll() if kept.child else None
        if code is not None:
            kept.child = None
            self._note_the_end(kept, code, ready=ready)
        if kept.restart_at is not None and kept.restart_at <= self.clock():
            self._start_again(kept)

    def _note_the_end(self, kept: _Kept, code: int, *, ready: bool) -> None:
        lived = self.clock() - kept.started_at
        kept.failures = 1 if lived >= _WELL_AFTER_SECONDS else kept.failures + 1
        name = kept.service.name
        if not ready and kept.failures >= _ENDS_BEFORE_READY:
            raise ConfigurationError(
                f"{name} ended {kept.failures} times before PiCloud was ready ({_describe(code)})",
                hint="what it said is above",
            )
        delay = restart_delay_seconds(kept.failures)
        kept.restart_at = self.clock() + delay
        self.say(f"{name} ended ({_describe(code)}); starting it again in {delay:.1f} s")

    def _start_again(self, kept: _Kept) -> None:
        kept.started_at = self.clock()
        try:
            kept.child = kept.service.spawn()
        except OSError as error:  # no memory, no more processes: as good as a start that ended at once
            kept.failures += 1
            kept.restart_at = self.clock() + restart_delay_seconds(kept.failures)
            self.say(f"{kept.service.name} could not be started: {error.strerror}")
            return
        kept.restart_at = None
        self._tell_of_change()

    def _timeout(self, *, ready: bool) -> float | None:
        due = [kept.restart_at for kept in self._kept if kept.restart_at is not None]
        until_restart = max(0.0, min(due) - self.clock()) if due else None
        if ready:
            return until_restart
        return min(_LOOK_FOR_READY_SECONDS, until_restart or _LOOK_FOR_READY_SECONDS)

    def _everything_runs(self) -> bool:
        return all(self._is_running(kept) and self._is_steady(kept) for kept in self._kept)

    def _is_steady(self, kept: _Kept) -> bool:
        needed = _STEADY_AGAIN_SECONDS if kept.failures else _STEADY_SECONDS
        return self.clock() - kept.started_at >= needed

    def _is_running(self, kept: _Kept) -> bool:
        return kept.child is not None and kept.child.poll() is None

    def _tell_of_change(self) -> None:
        self.on_change({kept.service.name: kept.child for kept in self._kept if kept.child is not None})


def _describe(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"
