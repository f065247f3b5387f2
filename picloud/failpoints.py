"""Places where a test may make a process fail, as a crash at that very line would.

``PICLOUD_FAILPOINT=relay.claimed:kill`` kills the process with SIGKILL when it
gets there; ``name:kill:3`` the third time; ``name:stop`` stops it (SIGSTOP)
instead. Without the variable a failpoint is one comparison.
"""

from __future__ import annotations

import os
import signal

_armed: tuple[str, str, int] | None = None
_passed = 0


def arm_from_environment() -> None:
    """Read ``PICLOUD_FAILPOINT``; called once by each process' entry point."""
    global _armed
    name, _, action = os.environ.get("PICLOUD_FAILPOINT", "").partition(":")
    if name:
        verb, _, nth = (action or "kill").partition(":")
        _armed = (name, verb, int(nth or 1))


def failpoint(name: str) -> None:
    """Fail here if this point is armed."""
    if _armed is not None and _armed[0] == name:
        _reached(_armed)


def _reached(armed: tuple[str, str, int]) -> None:
    global _passed
    _passed += 1
    if _passed == armed[2]:
        os.kill(os.getpid(), signal.SIGSTOP if armed[1] == "stop" else signal.SIGKILL)
