"""Places where a test may make a process fail, as a crash at that very line would.

``PICLOUD_FAILPOINT=relay.claimed:kill`` kills the process with SIGKILL when it
gets there; ``name:kill:3`` the third time; ``name:stop`` stops it (SIGSTOP)
instead. Without the variable a failpoint is one comparison.
"""

from __future__ import annotations

import os
import signal


class _Failpoint:
    """The one point that is armed in this process, if any."""

    name: str | None = None
    verb = "kill"
    nth = 1
    passed = 0


def arm_from_environment() -> None:
    """Read ``PICLOUD_FAILPOINT``; called once by each process' entry point."""
    name, _, action = os.environ.get("PICLOUD_FAILPOINT", "").partition(":")
    if name:
        verb, _, nth = (action or "kill").partition(":")
        _Failpoint.name, _Failpoint.verb, _Failpoint.nth = name, verb, int(nth or 1)


def failpoint(name: str) -> None:
    """Fail here if this point is armed."""
    if _Failpoint.name == name:
        _Failpoint.passed += 1
        if _Failpoint.passed == _Failpoint.nth:
            os.kill(os.getpid(), signal.SIGSTOP if _Failpoint.verb == "stop" else signal.SIGKILL)
