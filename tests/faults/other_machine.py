"""Another machine on a private network, as far as this one can tell: a network namespace with a cable to it.

Scripts reach no address of the machine they run on, so nothing on this machine's own
interfaces could stand for a server in the local network.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

PORT = 8080

_PROGRAM = Path(__file__).with_name("other_machine_program.py")


@dataclass(frozen=True, slots=True)
class OtherMachine:
    """What serves there, and where.

    Attributes:
        address: its own, a private one.
        our_address: how it reaches this machine.
    """

    address: str
    our_address: str

    def url(self, path: str = "/echo", **query: str) -> str:
        asked = "&".join(f"{name}={quote(value, safe='')}" for name, value in query.items())
        return f"http://{self.address}:{PORT}{path}{'?' if asked else ''}{asked}"

    def seen(self) -> list[dict[str, Any]]:
        """Every request so far, in the order they came."""
        with urllib.request.urlopen(self.url("/seen"), timeout=10) as answer:
            found: list[dict[str, Any]] = json.loads(answer.read())
        return found


@contextmanager
def other_machine() -> Iterator[OtherMachine]:
    """Start it; a machine that lets nobody make network namespaces skips the test."""
    if os.geteuid() != 0:
        pytest.skip("only root can make a network namespace")
    if missing := [tool for tool in ("unshare", "nsenter", "ip") if shutil.which(tool) is None]:
        pytest.skip(f"not installed: {', '.join(missing)}")
    # 198.18.0.0/15 is kept for measuring networks (RFC 2544): private to scripts, and in nobody's way.
    network = f"198.18.{secrets.randbelow(256)}.{secrets.randbelow(64) * 4}"
    ours, theirs = (f"{network.rpartition('.')[0]}.{int(network.rpartition('.')[2]) + host}" for host in (1, 2))
    cable = f"pic{secrets.token_hex(4)}"
    server = subprocess.Popen(
        ["unshare", "--net", sys.executable, str(_PROGRAM), str(PORT)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        if server.stdout.readline() != "ready\n":
            pytest.skip("this machine makes no network namespaces")
        inside = ["nsenter", "--target", str(server.pid), "--net"]
        for command in (
            ["ip", "link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", str(server.pid)],
            ["ip", "address", "add", f"{ours}/30", "dev", cable],
            ["ip", "link", "set", cable, "up"],
            [*inside, "ip", "address", "add", f"{theirs}/30", "dev", "eth0"],
            [*inside, "ip", "link", "set", "eth0", "up"],
        ):
            done = subprocess.run(command, check=False, capture_output=True, text=True)
            if done.returncode != 0:
                pytest.skip(f"this machine makes no cables between network namespaces: {done.stderr.strip()}")
        yield OtherMachine(theirs, ours)
    finally:
        server.kill()  # its namespace goes with it, and with that both ends of the cable
        server.communicate()
