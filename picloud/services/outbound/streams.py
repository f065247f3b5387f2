"""The one place that opens sockets: to an address that was judged, and no longer than the call may take.

Nothing here takes a name to dial. The HTTP library gets a stream that is already
connected, and every wait on it is cut to what is left of the call: a server that
sends a byte now and then cannot keep a script longer than one that sends nothing.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any

import httpcore2

from picloud.services.outbound.addresses import IPAddress
from picloud.services.outbound.deadline import Deadline
from picloud.services.outbound.errors import ConnectionFailedError, TlsFailedError
from picloud.services.outbound.urls import Target

Connect = Callable[[IPAddress, int, float], socket.socket]

#: How long an address is waited for when the host has others: a network whose IPv6 leads
#: nowhere would otherwise use up the call before IPv4 is tried.
_NEXT_ADDRESS_SECONDS = 3.0
#: Addresses of one host that are tried; some names have dozens.
_MAX_TRIES = 8


def connect_tcp(address: IPAddress, port: int, timeout_seconds: float) -> socket.socket:
    """A connection to exactly this address."""
    connection = socket.socket(socket.AF_INET if address.version == 4 else socket.AF_INET6, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout_seconds)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.connect((str(address), port))
    except BaseException:
        connection.close()
        raise
    return connection


class DeadlineStream(httpcore2.NetworkStream):
    """A connected stream whose every wait ends with the call; the library's own timeouts are not used."""

    def __init__(self, connection: socket.socket, target: Target, deadline: Deadline) -> None:
        self._connection = connection
        self._target = target
        self._deadline = deadline
        #: Whether the other side has closed its half.
        self.has_ended = False

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002 - the deadline's
        with _translated(self._target, self._deadline):
            self._connection.settimeout(self._deadline.remaining_seconds())
            data = self._connection.recv(max_bytes)
        self.has_ended = not data
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002 - the deadline's
        unsent = memoryview(buffer)
        try:
            with _translated(self._target, self._deadline):
                while unsent:
                    self._connection.settimeout(self._deadline.remaining_seconds())
                    unsent = unsent[self._connection.send(unsent) :]
        except ConnectionFailedError as error:
            # A server may answer and close before it has read everything: on this error, and
            # no other, httpcore2 goes on to read that answer.
            raise httpcore2.WriteError(error.message) from error

    def close(self) -> None:
        self._connection.close()

    def get_extra_info(self, info: str) -> Any:  # noqa: ARG002 - nothing here needs to be known
        return None


def open_stream(
    addresses: Sequence[IPAddress],
    target: Target,
    deadline: Deadline,
    *,
    tls: ssl.SSLContext,
    connect: Connect = connect_tcp,
) -> DeadlineStream:
    """A stream to the first of ``addresses`` that answers, inside TLS when the target asks for it.

    Args:
        addresses: those the guard returned, at least one.

    Raises:
        OutboundError: none of them answers, or TLS fails.
    """
    connection = _connected(addresses[:_MAX_TRIES], target, deadline, connect)
    if target.scheme == "http":
        return DeadlineStream(connection, target, deadline)
    try:
        with _translated(target, deadline):
            connection.settimeout(deadline.remaining_seconds())
            return DeadlineStream(tls.wrap_socket(connection, server_hostname=target.host), target, deadline)
    except BaseException:
        connection.close()
        raise


def _connected(addresses: Sequence[IPAddress], target: Target, deadline: Deadline, connect: Connect) -> socket.socket:
    for address in addresses[:-1]:
        try:
            return connect(address, target.port, min(_NEXT_ADDRESS_SECONDS, deadline.remaining_seconds()))
        except OSError:
            continue
    with _translated(target, deadline):
        return connect(addresses[-1], target.port, deadline.remaining_seconds())


@contextmanager
def _translated(target: Target, deadline: Deadline) -> Generator[None]:
    """Errors of sockets and TLS as those of a call."""
    try:
        yield
    except ssl.SSLCertVerificationError as error:
        raise TlsFailedError(
            f"the certificate of {target.origin} does not hold: {error.verify_message}",
            hint="an operator can add a private authority to this machine's trusted certificates",
        ) from None
    except ssl.SSLError as error:
        raise TlsFailedError(f"TLS with {target.origin} failed: {error.reason or error}") from None
    except TimeoutError as error:
        # Without an errno it is the timeout that was set here, with one that of the kernel.
        if error.errno is None:
            raise deadline.passed() from None
        raise ConnectionFailedError(f"{target.origin} does not answer: {error.strerror}") from None
    except OSError as error:
        raise ConnectionFailedError(
            f"the connection to {target.origin} failed: {error.strerror or error}",
            hint="check host and port, and whether the other side is up",
        ) from None
