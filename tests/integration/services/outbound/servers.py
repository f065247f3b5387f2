"""Servers on the loopback that behave badly on purpose, and a client that believes they are on the internet."""

from __future__ import annotations

import datetime as dt
import socket
import ssl
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from picloud.services.outbound import OutboundLimits
from picloud.services.outbound.addresses import IPAddress
from picloud.services.outbound.client import OutboundClient
from picloud.services.outbound.streams import connect_tcp

Handler = Callable[[socket.socket], None]

PUBLIC = "93.184.216.34"


class PretendInternet:
    """Every name is at one public address, which leads to one port of the loopback."""

    def __init__(self, port: int) -> None:
        self._port = port

    def resolve(self, host: str, timeout_seconds: float) -> tuple[IPAddress, ...]:
        return (ip_address(PUBLIC),)

    def connect(self, address: IPAddress, port: int, timeout_seconds: float) -> socket.socket:
        assert str(address) == PUBLIC
        return connect_tcp(ip_address("127.0.0.1"), self._port, timeout_seconds)

    def client(self, limits: OutboundLimits | None = None, tls: ssl.SSLContext | None = None) -> OutboundClient:
        return OutboundClient(
            limits,
            tls=tls or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
            resolver=self,
            connect=self.connect,
            is_machine_address=lambda _address: False,
        )


@contextmanager
def serving(handler: Handler) -> Generator[PretendInternet]:
    """Run ``handler`` for every connection, each in a thread, until the block is left."""
    threads: list[threading.Thread] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def handle(connection: socket.socket) -> None:
        with connection:
            try:
                handler(connection)
            except OSError:
                pass  # The client has seen enough and hung up.

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threads.append(threading.Thread(target=handle, args=(connection,)))
            threads[-1].start()

    acceptor = threading.Thread(target=accept)
    acceptor.start()
    try:
        yield PretendInternet(listener.getsockname()[1])
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for thread in (acceptor, *threads):
            thread.join(timeout=20)
            assert not thread.is_alive()


def read_head(connection: socket.socket) -> bytes:
    """What arrives up to the end of the headers, and perhaps some more."""
    head = b""
    while b"\r\n\r\n" not in head:
        piece = connection.recv(65_536)
        if not piece:
            break
        head += piece
    return head


class Authority:
    """A certificate authority of a test's own."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])
        self._certificate = self._sign(self._name, self._key, x509.BasicConstraints(ca=True, path_length=None))

    def trusted(self) -> ssl.SSLContext:
        """A client's context that trusts this authority and no other."""
        pem = self._certificate.public_bytes(serialization.Encoding.PEM).decode()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=pem)
        return context

    def server(self, folder: Path, name: str) -> ssl.SSLContext:
        """A server's context with a certificate for ``name``."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._sign(subject, key, x509.SubjectAlternativeName([x509.DNSName(name)]))
        file = folder / "server.pem"
        file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context

    def _sign(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, extension: x509.ExtensionType
    ) -> x509.Certificate:
        now = dt.datetime.now(dt.UTC)
        builder = x509.CertificateBuilder(self._name, subject, key.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(now - dt.timedelta(days=1))
        builder = builder.not_valid_after(now + dt.timedelta(days=1))
        return builder.add_extension(extension, critical=False).sign(self._key, hashes.SHA256())
