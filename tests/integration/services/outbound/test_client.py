"""Calls over real sockets: deadlines, sizes, TLS, many threads."""

from __future__ import annotations

import gzip
import socket
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address
from pathlib import Path

import pytest

from picloud.services.outbound import AddressPolicy, OutboundError, OutboundLimits, OutboundRequest
from picloud.services.outbound.client import OutboundClient
from picloud.services.outbound.errors import AddressNotAllowedError, OutboundTimeoutError
from picloud.services.outbound.guard import is_of_this_machine
from tests.integration.services.outbound.servers import Authority, read_head, serving

POLICY = AddressPolicy()
MIB = 1024 * 1024


def get(url: str = "http://a.example/", seconds: float = 20.0) -> OutboundRequest:
    return OutboundRequest("GET", url, timeout_seconds=seconds)


def drip(connection: socket.socket, head: bytes, piece: bytes) -> None:
    """Send ``head`` at once and then a little now and then, far longer than anybody waits."""
    read_head(connection)
    connection.sendall(head)
    for _ in range(200):
        connection.sendall(piece)
        time.sleep(0.05)


def say_nothing(connection: socket.socket) -> None:
    """Read until the client hangs up."""
    while connection.recv(65_536):
        pass


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (b"", b"H"),
        (b"HTTP/1.1 200 OK\r\n", b"A: b\r\n"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"x"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"A: b\r\n"),
    ],
)
def test_a_server_that_drips_does_not_hold_a_call_past_its_time(head: bytes, piece: bytes) -> None:
    with serving(lambda connection: drip(connection, head, piece)) as internet:
        started = time.monotonic()
        with pytest.raises(OutboundError) as caught:
            internet.client().send(get(seconds=0.5), POLICY)
        assert time.monotonic() - started < 3
    # "H" over and over is given up as no HTTP before the time is.
    assert caught.value.code == "timeout" or piece == b"H"


def test_a_server_that_is_silent_in_the_handshake_does_not_either() -> None:
    with serving(say_nothing) as internet:
        started = time.monotonic()
        with pytest.raises(OutboundTimeoutError):
            internet.client().send(get("https://a.example/", seconds=0.3), POLICY)
        assert time.monotonic() - started < 3


def test_a_server_that_does_not_read_does_not_either() -> None:
    leave = threading.Event()

    def ignore(_connection: socket.socket) -> None:
        leave.wait(20)

    with serving(ignore) as internet:
        request = OutboundRequest("POST", "http://a.example/", body=b"x" * 30 * MIB, timeout_seconds=0.3)
        started = time.monotonic()
        with pytest.raises(OutboundTimeoutError):
            internet.client(OutboundLimits(max_request_body_bytes=30 * MIB)).send(request, POLICY)
        assert time.monotonic() - started < 3
        leave.set()


def test_redirects_share_one_deadline() -> None:
    def redirect(connection: socket.socket) -> None:
        read_head(connection)
        time.sleep(0.25)
        connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n")

    with serving(redirect) as internet:
        started = time.monotonic()
        with pytest.raises(OutboundTimeoutError):
            internet.client().send(get(seconds=0.4), POLICY)
        assert time.monotonic() - started < 1


def test_the_clients_own_limit_is_shorter_than_any_wish() -> None:
    with serving(say_nothing) as internet, pytest.raises(OutboundTimeoutError):
        internet.client(OutboundLimits(max_seconds=0.3)).send(get(seconds=3_600), POLICY)


@pytest.mark.parametrize("is_packed", [False, True])
def test_an_endless_body_is_cut_off_where_the_limit_is(is_packed: bool) -> None:
    sent = 0

    def endless(connection: socket.socket) -> None:
        nonlocal sent
        read_head(connection)
        # Unpacked, one piece of the packed kind is larger than the limit by far.
        piece = gzip.compress(bytes(64 * MIB), 1) if is_packed else bytes(64 * 1024)
        encoding = b"Content-Encoding: gzip\r\n" if is_packed else b""
        connection.sendall(b"HTTP/1.1 200 OK\r\n" + encoding + b"\r\n")
        for _ in range(1_000):
            connection.sendall(piece)
            sent += len(piece)

    with serving(endless) as internet, pytest.raises(OutboundError) as caught:
        internet.client(OutboundLimits(max_response_body_bytes=MIB)).send(get(), POLICY)
    assert caught.value.code == "response_too_large"
    assert sent < 20 * MIB


def test_an_answer_to_half_a_request_is_an_answer() -> None:
    def refuse(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)
        say_nothing(connection)

    with serving(refuse) as internet:
        request = OutboundRequest("POST", "http://a.example/", body=b"x" * 4 * MIB)
        assert internet.client().send(request, POLICY).status == 413


def test_nobody_listening_is_a_failed_connection() -> None:
    with serving(socket.socket.close) as internet:
        pass
    with pytest.raises(OutboundError) as caught:
        internet.client().send(get(), POLICY)
    assert caught.value.code == "connection_failed"


def test_a_name_that_leads_to_this_machine_is_refused_by_the_real_resolver() -> None:
    client = OutboundClient()
    for url in ("http://localhost/", "http://127.0.0.1:1/", "http://[::1]/"):
        with pytest.raises(AddressNotAllowedError):
            client.send(get(url), POLICY)


def test_the_machine_knows_its_own_addresses() -> None:
    assert is_of_this_machine(ip_address("127.0.0.1"))
    assert is_of_this_machine(ip_address("127.9.9.9"))
    assert not is_of_this_machine(ip_address("93.184.216.34"))
    assert not is_of_this_machine(ip_address("2606:2800::1"))


class TlsServer:
    """Answers one request on every connection and keeps what clients asked for."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self.names: list[str | None] = []
        self.requests: list[bytes] = []
        context.sni_callback = lambda _socket, name, _context: self.names.append(name)

    def __call__(self, connection: socket.socket) -> None:
        with self._context.wrap_socket(connection, server_side=True) as wrapped:
            self.requests.append(read_head(wrapped))
            wrapped.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret")


def test_tls_names_and_checks_the_host_of_the_url_though_an_address_is_dialled(tmp_path: Path) -> None:
    authority = Authority()
    server = TlsServer(authority.server(tmp_path, "a.example"))
    with serving(server) as internet:
        response = internet.client(tls=authority.trusted()).send(get("https://A.example./x"), POLICY)
    assert (response.body, response.url) == (b"secret", "https://a.example/x")
    assert server.names == ["a.example"]
    assert b"host: a.example\r\n" in server.requests[0]


@pytest.mark.parametrize("url", ["https://b.example/", "https://93.184.216.34/"])
def test_a_certificate_for_another_host_does_not_hold(tmp_path: Path, url: str) -> None:
    authority = Authority()
    server = TlsServer(authority.server(tmp_path, "a.example"))
    with serving(server) as internet, pytest.raises(OutboundError) as caught:
        internet.client(tls=authority.trusted()).send(get(url), POLICY)
    assert caught.value.code == "tls_failed"
    assert server.requests == []


def test_a_certificate_of_an_unknown_authority_does_not_hold(tmp_path: Path) -> None:
    server = TlsServer(Authority().server(tmp_path, "a.example"))
    with serving(server) as internet:
        # What every client trusts that is not told otherwise.
        own = OutboundClient(resolver=internet, connect=internet.connect, is_machine_address=lambda _address: False)
        with pytest.raises(OutboundError) as caught:
            own.send(get("https://a.example/"), POLICY)
    assert caught.value.code == "tls_failed"
    assert server.requests == []


def test_a_server_without_tls_fails() -> None:
    def speak_plainly(connection: socket.socket) -> None:
        connection.recv(1)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with serving(speak_plainly) as internet, pytest.raises(OutboundError) as caught:
        internet.client().send(get("https://a.example/"), POLICY)
    assert caught.value.code in {"tls_failed", "connection_failed"}


def test_many_threads_share_a_client_and_nothing_else() -> None:
    connections = 0
    counting = threading.Lock()

    def echo(connection: socket.socket) -> None:
        nonlocal connections
        path = read_head(connection).split(b" ")[1]
        with counting:
            connections += 1
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(path), path))

    with serving(echo) as internet, ThreadPoolExecutor(16) as threads:
        client = internet.client()
        answers = list(threads.map(lambda n: client.send(get(f"http://a.example/{n}"), POLICY).body, range(200)))
    assert answers == [f"/{n}".encode() for n in range(200)]
    assert connections == 200
