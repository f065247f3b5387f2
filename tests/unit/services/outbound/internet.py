"""An internet that fits in a test: names, addresses, and what is answered there; nothing leaves the process."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable
from ipaddress import ip_address

from picloud.services.outbound import AddressPolicy, OutboundLimits, OutboundRequest, OutboundResponse
from picloud.services.outbound.addresses import IPAddress
from picloud.services.outbound.client import OutboundClient
from picloud.services.outbound.deadline import Clock
from picloud.services.outbound.errors import HostNotFoundError
from picloud.services.outbound.messages import Headers

PUBLIC = "93.184.216.34"
OTHER_PUBLIC = "151.101.1.69"

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def redirect(location: str, status: int = 302) -> bytes:
    return f"HTTP/1.1 {status} Moved\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()


class Internet:
    """Attributes: ``names`` to addresses; ``dialled``: address and port of every connection, in order."""

    def __init__(self) -> None:
        self.names: dict[str, list[str]] = {}
        self.machine_addresses: set[str] = set()
        self.looked_up: list[str] = []
        self.dialled: list[tuple[str, int]] = []
        self._answers: dict[str, list[bytes]] = {}
        self._peers: list[socket.socket] = []
        #: Called with each name before it is answered.
        self.on_look_up: Callable[[str], None] = lambda _host: None

    def serve(self, address: str, *answers: bytes) -> None:
        """Answer connections to ``address``, one after the other; the last answer is given forever."""
        self._answers[address] = list(answers)

    def site(self, name: str, *answers: bytes, address: str = PUBLIC) -> None:
        """A name with one address that answers."""
        self.names[name] = [address]
        self.serve(address, *answers)

    def resolve(self, host: str, timeout_seconds: float) -> tuple[IPAddress, ...]:
        assert timeout_seconds > 0
        self.looked_up.append(host)
        self.on_look_up(host)
        if host not in self.names:
            raise HostNotFoundError(f"no host is called {host}")
        return tuple(map(ip_address, self.names[host]))

    def connect(self, address: IPAddress, port: int, timeout_seconds: float) -> socket.socket:
        assert timeout_seconds > 0
        self.dialled.append((str(address), port))
        answers = self._answers.get(str(address))
        if answers is None:
            raise ConnectionRefusedError(111, "Connection refused")
        ours, theirs = socket.socketpair()
        theirs.sendall(answers.pop(0) if len(answers) > 1 else answers[0])
        theirs.shutdown(socket.SHUT_WR)
        self._peers.append(theirs)
        return ours

    def received(self, index: int = -1) -> str:
        """What was sent on one connection, once it is closed."""
        return b"".join(iter(lambda: self._peers[index].recv(65_536), b"")).decode()

    def close(self) -> None:
        for peer in self._peers:
            peer.close()

    def client(self, limits: OutboundLimits | None = None, *, clock: Clock = time.monotonic) -> OutboundClient:
        return OutboundClient(
            limits,
            tls=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
            resolver=self,
            connect=self.connect,
            is_machine_address=lambda address: str(address) in self.machine_addresses,
            clock=clock,
        )

    def get(
        self, url: str, policy: AddressPolicy | None = None, *, headers: Headers = (), follow_redirects: bool = True
    ) -> OutboundResponse:
        """One call by a client of its own."""
        request = OutboundRequest("GET", url, headers=headers, follow_redirects=follow_redirects)
        return self.client().send(request, policy or AddressPolicy())
