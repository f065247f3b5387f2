"""Signals as something to wait for, beside the ends of child processes.

While ``interrupting`` a stop signal raises KeyboardInterrupt, as at the prompt: for the
start, whose steps block in many places; ``held`` keeps it out of the few lines where a
child exists that nobody knows of yet. Afterwards signals are only counted, and ``wait``
tells of them: for the supervisor, which must finish what it is doing.
"""

from __future__ import annotations

import os
import selectors
import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self, TypeAlias

_Handler: TypeAlias = Callable[[int, FrameType | None], Any] | int | None

STOP_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})


class Signals:
    """Catches the stop signals and SIGCHLD for the length of a ``with`` block."""

    def __init__(self) -> None:
        self.interrupting = True
        #: A copy of these in a fork belongs to nobody there: close them.
        self.descriptors: tuple[int, int] = (-1, -1)
        self._was_held = False
        self._before: dict[signal.Signals, _Handler] = {}
        self._wakeup_before = -1

    def __enter__(self) -> Self:
        reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.descriptors = (reader, writer)
        self._wakeup_before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number in (*STOP_SIGNALS, signal.SIGCHLD):
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup_before)
        for descriptor in self.descriptors:
            os.close(descriptor)

    def wait(self, timeout_seconds: float | None, *, child: int | None = None) -> frozenset[int]:
        """Sleep until a signal arrives, the time is up (None: never), or ``child`` has ended.

        Returns:
            The numbers of the signals that arrived since the last call; empty for anything else.
        """
        with selectors.DefaultSelector() as selector:
            selector.register(self.descriptors[0], selectors.EVENT_READ)
            descriptor = _open_pidfd(child)
            try:
                if descriptor is not None:
                    selector.register(descriptor, selectors.EVENT_READ)
                selector.select(timeout_seconds)
            finally:
                if descriptor is not None:
                    os.close(descriptor)
        try:
            return frozenset(os.read(self.descriptors[0], 1024))
        except BlockingIOError:
            return frozenset()

    @contextmanager
    def held(self) -> Generator[None]:
        """Let a stop signal that arrives inside the block interrupt at its end."""
        self.interrupting, self._was_held = False, False
        try:
            yield
        finally:
            self.interrupting = True
        if self._was_held:
            raise KeyboardInterrupt

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if number in STOP_SIGNALS:
            self._was_held = True
            if self.interrupting:
                raise KeyboardInterrupt


def _open_pidfd(pid: int | None) -> int | None:
    if pid is None:
        return None
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None
