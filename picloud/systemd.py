"""Talks to systemd's service manager: readiness, status and the watchdog.

The protocol is a datagram to the socket named by ``NOTIFY_SOCKET`` (sd_notify(3)).
Outside systemd every call does nothing.
"""

from __future__ import annotations

import os
import socket


def notify(*states: str) -> None:
    """Send assignments such as ``READY=1``; silently nothing when no manager listens."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):  # an abstract socket starts with a zero byte
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        try:
            channel.connect(address)
            channel.sendall("\n".join(states).encode())
        except OSError:
            # A manager that went away is no reason to stop working.
            return


def watchdog_interval_seconds() -> float | None:
    """How often ``WATCHDOG=1`` is due: half of what the unit allows; None: nobody watches."""
    microseconds = os.environ.get("WATCHDOG_USEC")
    watched_pid = os.environ.get("WATCHDOG_PID")
    if not microseconds or (watched_pid and int(watched_pid) != os.getpid()):
        return None
    return int(microseconds) / 2_000_000
