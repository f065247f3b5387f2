"""Hands a composed mail to the mail server of ``PICLOUD_SMTP_URL``; one connection a mail.

==================== ======================================= ============
URL                  encryption                              default port
==================== ======================================= ============
``smtp://``          STARTTLS where the server offers it     25; 587 with a login
``smtp+starttls://`` STARTTLS or nothing                     587
``smtps://``         TLS from the first byte                 465
==================== ======================================= ============

Certificates are checked, except for ``smtp://`` without a login or to an address of this
machine or the private network: there encryption is a gift (RFC 7435). Anywhere else a
login goes over a checked connection or not at all.

**All or nobody.** When the server refuses one recipient, nobody is sent the mail: a
retry would send it again to those who have it, and leaving the refused one out would
lose it without a word. Who is fine with less sends one mail to each.

**What is whose fault.** What a server says before ``MAIL`` is about the connection or the
login, whatever its number: a person mends that, and the mail waits. After it, 5xx is
about this mail, and for good. A connection lost after the last byte leaves open whether
the mail was taken: it is sent again, with the same Message-ID.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import re
import smtplib
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import SplitResult, unquote, urlsplit

from picloud.errors import ConfigurationError
from picloud.mail.addresses import Mailbox, parse_mailbox
from picloud.mail.errors import MailRefusedError, MailUnavailableError
from picloud.mail.outgoing import OutgoingMail, compose

Security = Literal["opportunistic", "starttls", "tls"]

_SECURITY: dict[str, Security] = {"smtp": "opportunistic", "smtp+starttls": "starttls", "smtps": "tls"}
_EXPECTED = "smtp://HOST, smtp+starttls://USER:PASSWORD@HOST:PORT or smtps://USER:PASSWORD@HOST:PORT"
_HOST = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+")

#: "Log in first", in its variants (RFC 4954, section 6): said after MAIL, and yet about the login.
_ABOUT_THE_LOGIN = frozenset({530, 534, 535, 538})
_LONGEST_REPLY = 200
#: A server that has the mail and does not say goodbye is not waited for any longer.
_GOODBYE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class SmtpServer:
    """What ``PICLOUD_SMTP_URL`` says.

    Attributes:
        user: empty: no login.
    """

    host: str
    port: int
    security: Security
    user: str = ""
    password: str = field(default="", repr=False)

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def parse_smtp_url(url: str) -> SmtpServer:
    """Read ``PICLOUD_SMTP_URL``. User and password are percent-encoded where they hold ``@``, ``:``, ``/`` or ``%``.

    Raises:
        ValueError: says what was expected and what is wrong, without what was given: it may hold a password.
    """
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname or ""
    except ValueError:
        raise _wrong_url("host or port cannot be read; is a character of the password not percent-encoded?") from None
    security = _SECURITY.get(parts.scheme)
    if security is None:
        raise _wrong_url("the scheme is another one")
    if not _HOST.fullmatch(host) or port == 0:
        raise _wrong_url("there is no usable host")
    if parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise _wrong_url("something follows the port; is a character of the password not percent-encoded?")
    user, password = _login_of(parts)
    usual_port = {"opportunistic": 587 if user else 25, "starttls": 587, "tls": 465}[security]
    return SmtpServer(host, port or usual_port, security, user, password)


def _login_of(parts: SplitResult) -> tuple[str, str]:
    if parts.username is None:
        return "", ""
    user, password = unquote(parts.username), unquote(parts.password or "")
    if not user or not password:
        raise _wrong_url("a login is a user and a password")
    if not (user + password).isascii() or not (user + password).isprintable():
        raise _wrong_url("user and password are printable ASCII: smtplib sends nothing else")
    return user, password


def _wrong_url(what: str) -> ValueError:
    return ValueError(f"{_EXPECTED}: {what}")


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


class MailTransport:
    """Sends mail; may be shared by threads.

    Args:
        smtp_url: ``PICLOUD_SMTP_URL``.
        mail_from: ``PICLOUD_MAIL_FROM``, the sender of every mail.
        timeout_seconds: for each answer of the server.
        trusted: certificates that are believed; None: those the machine believes.
        now: aware time.

    Raises:
        ConfigurationError: one of the two settings cannot be used.
    """

    def __init__(
        self,
        smtp_url: str,
        mail_from: str,
        timeout_seconds: float = 30.0,
        *,
        trusted: ssl.SSLContext | None = None,
        now: Callable[[], dt.datetime] = _now,
    ) -> None:
        try:
            self._server = parse_smtp_url(smtp_url)
        except ValueError as error:
            raise ConfigurationError(f"PICLOUD_SMTP_URL: expected {error}") from None
        try:
            self._sender = parse_mailbox(mail_from)
        except ValueError as error:
            raise ConfigurationError(f"PICLOUD_MAIL_FROM={mail_from!r}: expected {error}") from None
        self._timeout_seconds = timeout_seconds
        self._trusted = trusted
        self._now = now

    def __repr__(self) -> str:
        return f"MailTransport({self._server}, from {self._sender.address})"

    def send(self, mail: OutgoingMail, message_id: str, hops_header: str | None = None) -> None:
        """Hand ``mail`` over; on return the server has taken it for every recipient.

        Args:
            message_id: the id of the execution that wrote the mail.
            hops_header: root and depth, signed.

        Raises:
            MailRefusedError: for good; nobody was sent the mail.
            MailUnavailableError: for now. Nobody was sent the mail, unless the connection was lost while the
                server answered the last byte.
        """
        content = compose(
            mail, sender=self._sender, message_id=message_id, hops_header=hops_header, sent_at=self._now()
        )
        try:
            connection = self._connect()
            try:
                self._hand_over(connection, mail.mailboxes, content)
            finally:
                _hang_up(connection)
        except (smtplib.SMTPException, OSError) as error:
            raise MailUnavailableError(f"{self._server}: {self._told(error)}") from error

    # -- up to MAIL: about the connection ------------------------------------------

    def _connect(self) -> smtplib.SMTP:
        server, own_name = self._server, _own_name()
        if server.security == "tls":
            context = self._trusted or ssl.create_default_context()
            connection: smtplib.SMTP = smtplib.SMTP_SSL(
                server.host, server.port, own_name, timeout=self._timeout_seconds, context=context
            )
        else:
            connection = smtplib.SMTP(server.host, server.port, own_name, timeout=self._timeout_seconds)
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: smtplib.SMTP) -> None:
        """Encrypt and log in, as the URL says and the server offers."""
        server = self._server
        connection.ehlo_or_helo_if_needed()
        if server.security == "starttls" or (server.security == "opportunistic" and connection.has_extn("starttls")):
            connection.starttls(context=self._context(connection))
            connection.ehlo_or_helo_if_needed()
        if server.user:
            if not isinstance(connection.sock, ssl.SSLSocket) and not _stays_near(connection):
                raise MailUnavailableError(
                    f"{server} offers no STARTTLS: the password is not sent unencrypted beyond this network"
                )
            connection.login(server.user, server.password)

    def _context(self, connection: smtplib.SMTP) -> ssl.SSLContext:
        server = self._server
        if server.security == "opportunistic" and (not server.user or _stays_near(connection)):
            unchecked = ssl.create_default_context()
            unchecked.check_hostname = False
            unchecked.verify_mode = ssl.CERT_NONE
            return unchecked
        return self._trusted or ssl.create_default_context()

    # -- from MAIL on: about this mail -----------------------------------------------

    def _hand_over(self, connection: smtplib.SMTP, mailboxes: Sequence[Mailbox], content: bytes) -> None:
        options: list[str] = []
        if any(not each.local.isascii() for each in (*mailboxes, self._sender)):
            if not connection.has_extn("smtputf8"):
                raise MailRefusedError(f"{self._server} takes no address with letters beyond ASCII before its @")
            options = ["SMTPUTF8", "BODY=8BITMIME"]
        if connection.has_extn("size"):
            options.append(f"SIZE={len(content)}")
        self._check(*connection.mail(self._sender.address, options))
        self._name_recipients(connection, mailboxes)
        try:
            self._check(*connection.data(content))
        except smtplib.SMTPDataError as error:  # said to DATA itself, not to its end
            self._check(error.smtp_code, error.smtp_error)

    def _name_recipients(self, connection: smtplib.SMTP, mailboxes: Sequence[Mailbox]) -> None:
        """Name everybody before anything is sent: all of them are taken, or nobody gets the mail."""
        refused: dict[str, str] = {}
        late: dict[str, str] = {}
        for mailbox in mailboxes:
            code, reply = connection.rcpt(mailbox.address)
            if code == 421 or code in _ABOUT_THE_LOGIN:
                self._check(code, reply)
            if code // 100 != 2:
                (refused if code // 100 == 5 else late)[mailbox.address] = self._quoted(code, reply)
        if refused:
            who = "; ".join(f"{address}: {reply}" for address, reply in refused.items())
            message = f"{self._server} refuses recipients, nobody was sent the mail: {who}"
            raise MailRefusedError(message, recipients=refused)
        if late:
            who = "; ".join(f"{address}: {reply}" for address, reply in late.items())
            raise MailUnavailableError(f"{self._server} does not take recipients now, nobody was sent the mail: {who}")

    def _check(self, code: int, reply: bytes | str) -> None:
        """Raise unless the answer is yes."""
        if code // 100 == 2:
            return
        told = f"{self._server}: {self._quoted(code, reply)}"
        if code // 100 == 5 and code not in _ABOUT_THE_LOGIN:
            raise MailRefusedError(told)
        raise MailUnavailableError(told)

    # -- what people read ------------------------------------------------------------

    def _told(self, error: Exception) -> str:
        match error:
            case smtplib.SMTPAuthenticationError():
                return f"the login is refused: {self._quoted(error.smtp_code, error.smtp_error)}"
            case smtplib.SMTPResponseException():
                return self._quoted(error.smtp_code, error.smtp_error)
            case TimeoutError():
                return f"no answer within {self._timeout_seconds:g} s"
            case _:
                return self._without_password(str(error) or type(error).__name__)

    def _quoted(self, code: int, reply: bytes | str) -> str:
        """The answer of the server, as one short line."""
        text = reply.decode("utf-8", "replace") if isinstance(reply, bytes) else reply
        return self._without_password(f"{code} {text}")

    def _without_password(self, text: str) -> str:
        if self._server.password:
            text = text.replace(self._server.password, "…")
        text = " ".join("".join(each if each.isprintable() else " " for each in text).split())
        return text if len(text) <= _LONGEST_REPLY else text[:_LONGEST_REPLY] + "…"


def _stays_near(connection: smtplib.SMTP) -> bool:
    """Is the server on this machine or its private network? There an unencrypted login would do as well."""
    assert connection.sock is not None
    return ipaddress.ip_address(connection.sock.getpeername()[0].partition("%")[0]).is_private


def _own_name() -> str:
    """What EHLO says. smtplib's own choice asks the DNS for it, and may wait long."""
    name = socket.gethostname()
    return name if "." in name and name.isascii() else "[127.0.0.1]"


def _hang_up(connection: smtplib.SMTP) -> None:
    try:
        if connection.sock is not None:
            connection.sock.settimeout(_GOODBYE_SECONDS)
        connection.quit()
    except (smtplib.SMTPException, OSError):
        pass  # what had to be said was said
    finally:
        connection.close()
