"""A mail server of the test, on aiosmtpd in a thread of its own: it says what it is told to say."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

USER, PASSWORD = "picloud", "p:/@% #?"


@dataclass
class Script:
    """What the server says, and what was said to it.

    Attributes:
        mail, data: replies in place of yes; empty: yes. ``data`` may be ``drop``: the connection is cut instead.
        rcpt: replies by recipient.
        mails: what was taken.
        logins: users who logged in.
        hangs: nothing is said to a mail that was sent.
        was_sent: mails that came, taken or not.
        was_encrypted: of each mail.
    """

    mail: str = ""
    data: str = ""
    rcpt: dict[str, str] = field(default_factory=dict)
    mails: list[Envelope] = field(default_factory=list)
    logins: list[str] = field(default_factory=list)
    was_encrypted: list[bool] = field(default_factory=list)
    hangs: bool = False
    was_sent: int = 0

    async def handle_MAIL(  # noqa: N802  # aiosmtpd finds it by this name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if not self.mail:
            envelope.mail_from = address
            envelope.mail_options.extend(options)
        return self.mail or "250 OK"

    async def handle_RCPT(  # noqa: N802  # aiosmtpd finds it by this name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        reply = self.rcpt.get(address)
        if reply is None:
            envelope.rcpt_tos.append(address)
        return reply or "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        self.was_sent += 1
        if self.hangs:
            await asyncio.Event().wait()
        if self.data == "drop":
            assert isinstance(server.transport, asyncio.WriteTransport)
            server.transport.abort()
        elif not self.data:
            self.mails.append(envelope)
            self.was_encrypted.append(session.ssl is not None)
        return self.data or "250 OK"

    def authenticate(
        self, _server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, login: LoginPassword
    ) -> AuthResult:
        if (login.login.decode(), login.password.decode()) != (USER, PASSWORD):
            return AuthResult(success=False, handled=False)
        self.logins.append(USER)
        return AuthResult(success=True)


@contextmanager
def mail_server(script: Script, **options: Any) -> Iterator[int]:
    """The port of a running server; ``options`` are aiosmtpd's, ``ssl`` is TLS from the first byte."""
    context = options.pop("ssl", None)
    started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event, int]] = Future()

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        connections: list[SMTP] = []

        def connection() -> SMTP:
            connections.append(SMTP(script, loop=loop, hostname="mail.example", **options))
            return connections[-1]

        server = await loop.create_server(connection, "127.0.0.1", 0, ssl=context)
        stop = asyncio.Event()
        started.set_result((loop, stop, server.sockets[0].getsockname()[1]))
        await stop.wait()
        server.close()
        for each in connections:
            if isinstance(each.transport, asyncio.WriteTransport):
                each.transport.abort()
        await asyncio.sleep(0)  # transports that were closed tell their protocols in the next round

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    loop, stop, port = started.result(10)
    try:
        yield port
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()


@contextmanager
def talker(*lines: bytes, closes: bool = False) -> Iterator[int]:
    """A server that says each of these lines when it was spoken to, the first at once, and then nothing more."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(10)
        is_over = threading.Event()

        def talk() -> None:
            channel, _ = listening.accept()
            with channel:
                channel.settimeout(10)
                for number, line in enumerate(lines):
                    try:
                        if number and not channel.recv(65_536):
                            return
                        channel.sendall(line)
                    except ConnectionError:
                        return  # the client has heard enough
                if not closes:
                    is_over.wait(10)

        thread = threading.Thread(target=talk)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            is_over.set()
            thread.join()


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate of this machine's own making.

    Attributes:
        server: presents it.
        trusting: believes it.
    """

    server: ssl.SSLContext
    trusting: ssl.SSLContext


def make_certificate(folder: Path) -> Certificate:
    """For 127.0.0.1, valid for an hour."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mail.example")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "certificate.pem"
    path.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(path)
    return Certificate(server, ssl.create_default_context(cafile=str(path)))
