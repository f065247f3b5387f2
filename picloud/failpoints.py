"""Places where a test may make a process fail, as a crash at that very line would.

``PICLOUD_FAILPOINT=NAME[@SUBJECT]:VERB[:NTH[:ONCE]]``

- ``relay.claimed:kill`` kills the process with SIGKILL when it gets there;
- ``relay.claimed:kill:3`` the third time; ``relay.claimed:stop`` stops it (SIGSTOP) instead;
- ``worker.running@ID:kill`` only where it deals with that execution;
- ``worker.begun:kill:1:/tmp/once`` only if that file can be made: a process that is started
  again with the same environment goes on.

Without the variable a failpoint is one comparison.
"""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class _Armed:
    name: str
    subject: str
    verb: str
    nth: int
    once: str


_armed: _Armed | None = None
_passed = 0


def arm_from_environment() -> None:
    """Read ``PICLOUD_FAILPOINT``; called once by each process' entry point."""
    global _armed  # noqa: PLW0603 - one per process, like the environment it comes from
    place, *how = os.environ.get("PICLOUD_FAILPOINT", "").split(":", 3)
    if place:
        name, _, subject = place.partition("@")
        verb, nth, once = (*how, *("kill", "1", "")[len(how) :])
        _armed = _Armed(name, subject, verb, int(nth), once)


def failpoint(name: str, subject: object = None) -> None:
    """Fail here if this point is armed, for this subject if it names one."""
    if _armed is not None and _armed.name == name and (not _armed.subject or _armed.subject == str(subject)):
        _reached(_armed)


def _reached(armed: _Armed) -> None:
    global _passed  # noqa: PLW0603 - as above
    _passed += 1
    if _passed == armed.nth and _is_first(armed.once):
        # To this very thread: sent to the process, it would reach another one while this one runs on.
        signal.raise_signal(signal.SIGSTOP if armed.verb == "stop" else signal.SIGKILL)


def _is_first(once: str) -> bool:
    if not once:
        return True
    try:
        os.close(os.open(once, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True
