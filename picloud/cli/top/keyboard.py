"""Single keys from a terminal, and a wait that a key ends."""

from __future__ import annotations

import os
import select
import termios
import tty
from collections.abc import Callable, Generator
from contextlib import contextmanager


@contextmanager
def keys_of(terminal: int) -> Generator[Callable[[float], str]]:
    """Read keys without waiting for the end of a line, and without showing them.

    Args:
        terminal: its file descriptor; its settings are put back at the end.

    Yields:
        A function that waits so many seconds at most for a key. An empty string: none came. Ctrl-C stays
        what it is, and the end of the input is ``q``.
    """
    before = termios.tcgetattr(terminal)
    tty.setcbreak(terminal)
    try:
        yield lambda seconds: _key(terminal, seconds)
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


def _key(terminal: int, seconds: float) -> str:
    readable, _, _ = select.select([terminal], [], [], max(seconds, 0.0))
    if not readable:
        return ""
    # An arrow comes as several characters at once: taken whole, it is a key that means nothing here.
    pressed = os.read(terminal, 32).decode(errors="replace")
    return pressed or "q"
