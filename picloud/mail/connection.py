"""One SMTP or LMTP conversation, on aiosmtpd; what to answer is asked of a ``Desk``.

aiosmtpd reads the commands. Its reading of the message itself is replaced: it keeps
a line without an end in memory for as long as it grows, and it says once what LMTP
must say for every recipient. So is its reading of addresses, which asks a private
parser of the stdlib that fails in many ways on input made for it.

There is no AUTH and no TLS: nobody has to prove anything, for nothing is relayed. The
end of a message is CRLF, a dot, CRLF, and nothing else, so that two readers cannot
disagree where a mail ends ("SMTP smuggling").
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from aiosmtpd.lmtp import LMTP
from aiosmtpd.smtp import SMTP, Envelope, Session

from picloud.mail.peers import peer_key

_log = logging.getLogger("picloud.mail")

#: Longer lines than RFC 5321's 998 are sent by many programs and harm nobody here.
_LONGEST_LINE_BYTES = 64 * 1024
#: What is read and thrown away of a message that is too large, as a multiple of what may be, before hanging up.
_PATIENCE = 4
_LONGEST_ADDRESS = 320

_ADDRESS = re.compile(
    r"""(?: <(?:@[^:<>\s]*:)? (?P<path> (?:(?:"(?:[^"\\]|\\.)*"|[^\s<>@"]+)@[^\s<>@]+)? ) >
          | (?P<bare> [^\s<>@"]+@[^\s<>@]+ ) )
        (?P<rest> \s.* | )""",
    re.VERBOSE,
)
_NOBODY = "<>"

#: How often a connection may say each command: enough for any mail server, not for a program that only holds the line.
_MOST_CALLS = {"*": 100, "MAIL": 1_000, "RCPT": 10_000, "DATA": 1_000, "RSET": 2_000, "AUTH": 3}


@dataclass(frozen=True, slots=True)
class Recipient:
    """Somebody a mail is for.

    Attributes:
        address: as it was said in ``RCPT``.
        target: what the address leads to, whatever that is to whoever resolved it.
    """

    address: str
    target: Any


@dataclass(frozen=True, slots=True)
class Incoming:
    """One message as it came.

    Attributes:
        sender: of the envelope; empty for a bounce.
        answers_each: one reply for each recipient, in order (LMTP); else one for all.
    """

    peer: str | None
    sender: str
    recipients: Sequence[Recipient]
    content: bytes
    answers_each: bool


class Desk(Protocol):
    """Who decides what a conversation answers; replies are whole lines, without their end."""

    hostname: str
    max_message_bytes: int
    command_seconds: float
    data_seconds: float
    is_stopping: bool

    def admit_mail(self, peer: str | None) -> str | None:
        """May this peer send one more mail? A reply says why not."""
        ...

    async def find(self, connection: MailConnection, address: str, already: Sequence[Recipient]) -> Recipient | str:
        """Who is this? A reply says why nobody, or not now."""
        ...

    async def take(self, incoming: Incoming) -> list[str]:
        """What became of a message: as many replies as its protocol says."""
        ...

    def hold(self, size: int) -> bool:
        """Count bytes of messages kept in memory, negative when they are gone; False: too many by now."""
        ...

    def left(self, connection: MailConnection) -> None:
        """A connection has ended."""
        ...


class _Envelope(Envelope):
    def __init__(self) -> None:
        super().__init__()
        self.recipients: list[Recipient] = []


class _Hooks:
    """What aiosmtpd asks; ``server`` is the connection."""

    async def handle_EHLO(  # noqa: N802  # aiosmtpd finds it by this name
        self, server: MailConnection, session: Session, _envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        return [*responses[:-1], *(f"250-{name}" for name in server.extensions), responses[-1]]

    async def handle_MAIL(  # noqa: N802
        self, server: MailConnection, _session: Session, envelope: _Envelope, address: str, options: list[str]
    ) -> str:
        refusal = server.desk.admit_mail(server.peer)
        if refusal is not None:
            return server.answer(refusal)
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 2.1.0 OK"

    async def handle_RCPT(  # noqa: N802
        self, server: MailConnection, _session: Session, envelope: _Envelope, address: str, options: list[str]
    ) -> str:
        found = await server.desk.find(server, address, envelope.recipients)
        if isinstance(found, str):
            return server.answer(found)
        envelope.recipients.append(found)
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 2.1.5 OK"


class MailConnection(SMTP):
    """A conversation in SMTP."""

    line_length_limit = _LONGEST_LINE_BYTES
    answers_each = False
    extensions: tuple[str, ...] = ("PIPELINING",)

    def __init__(self, desk: Desk, loop: asyncio.AbstractEventLoop) -> None:
        self.desk = desk
        self.peer: str | None = None
        self.unknown_recipients = 0
        #: From the DATA command to its answer: when cut here, nobody would know whether the mail was taken.
        self.is_in_data = False
        super().__init__(
            _Hooks(),
            data_size_limit=desk.max_message_bytes,
            enable_SMTPUTF8=True,
            hostname=desk.hostname,
            ident="PiCloud",
            timeout=desk.command_seconds,
            command_call_limit=_MOST_CALLS,
            loop=loop,
        )

    @property
    def conversation(self) -> asyncio.Task[None] | None:
        """The task that answers."""
        return self._handler_coroutine

    def answer(self, reply: str) -> str:
        """``reply``, to be said by aiosmtpd; 421 is the last word, and said at once."""
        if reply.startswith("421"):
            self.leave(reply)
        return reply

    def cut(self) -> None:
        """Hang up without a word."""
        if isinstance(self.transport, asyncio.WriteTransport):
            self.transport.abort()

    def leave(self, reply: str) -> None:
        """Say ``reply`` and hang up; commands already sent are not answered any more."""
        if self.transport is None or self.transport.is_closing():
            return
        self._writer.write(reply.encode("ascii") + b"\r\n")
        self.transport.close()
        if self._handler_coroutine is not None:
            self._handler_coroutine.cancel()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.peer = peer_key(transport.get_extra_info("peername"))
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        self.desk.left(self)

    async def handle_exception(self, error: Exception) -> str:
        _log.error("a mail conversation failed", exc_info=error)
        # LMTP may owe several replies by now: only hanging up is understood in every state.
        return self.answer("421 4.3.0 internal error, try again later")

    async def smtp_AUTH(self, arg: str | None) -> None:  # noqa: ARG002, N802
        await self.push("502 5.5.1 nobody has to log in here")

    async def smtp_VRFY(self, arg: str | None) -> None:  # noqa: ARG002, N802
        await self.push("252 2.5.2 send a mail and see")

    async def smtp_DATA(self, arg: str | None) -> None:  # noqa: N802
        if await self.check_helo_needed():
            return
        envelope = self.envelope
        assert isinstance(envelope, _Envelope)
        if arg:
            await self.push("501 5.5.4 Syntax: DATA")
        elif not envelope.recipients:
            await self.push("503 5.5.1 no recipient was accepted")
        else:
            self.is_in_data = True
            try:
                await self._receive(envelope)
            finally:
                self.is_in_data = False
            if self.desk.is_stopping:
                self.leave("421 4.3.2 stopping")

    async def _receive(self, envelope: _Envelope) -> None:
        self._reset_timeout(self.desk.data_seconds)
        await self.push("354 End data with <CR><LF>.<CR><LF>")
        held = _Held(self.desk)
        try:
            content = await self._read_message(held)
            self._stop_timeout()  # what follows takes as long as the desk allows itself
            if isinstance(content, str):
                replies = [content] * (len(envelope.recipients) if self.answers_each else 1)
            else:
                sender = "" if envelope.mail_from in {None, _NOBODY} else str(envelope.mail_from)
                replies = await self.desk.take(
                    Incoming(self.peer, sender, tuple(envelope.recipients), content, self.answers_each)
                )
        finally:
            held.release()
        self.envelope = self._create_envelope()
        self._reset_timeout()
        await self.push("\r\n".join(replies))

    async def _read_message(self, held: _Held) -> bytes | str:
        """The message, dots undone; or the reply that says why it was thrown away."""
        size, refusal, is_line_start = 0, "", True
        most = self.desk.max_message_bytes
        while True:
            try:
                piece = await self._reader.readuntil(b"\r\n")
            except asyncio.LimitOverrunError as overrun:
                piece = await self._reader.read(overrun.consumed)  # a piece of a longer line
            if is_line_start and piece == b".\r\n":
                return refusal or held.content()
            if is_line_start and piece.startswith(b"."):
                piece = piece[1:]
            is_line_start = piece.endswith(b"\r\n")
            size += len(piece)
            if not refusal and size > most:
                refusal = f"552 5.3.4 the mail is larger than {most} bytes"
            elif not refusal and not held.add(piece):
                refusal = "452 4.3.1 too much mail at once, try again later"
            if refusal:
                held.release()
            if size > most * _PATIENCE:
                self.leave("421 4.3.4 the mail is too large")

    def _stop_timeout(self) -> None:
        if self._timeout_handle is not None:
            self._timeout_handle.cancel()

    def _create_envelope(self) -> Envelope:
        return _Envelope()

    def _getaddr(self, arg: str) -> tuple[str | None, str | None]:
        """The address of MAIL and RCPT and the parameters after it; None: it is none. Called by aiosmtpd."""
        match = _ADDRESS.fullmatch(arg.strip())
        if match is None:
            return None, None
        address = match["bare"] if match["path"] is None else match["path"] or _NOBODY
        if len(address) > _LONGEST_ADDRESS or not address.isprintable():  # bytes that are no UTF-8 are not printable
            return None, None
        return address, match["rest"].strip()

    def _timeout_cb(self) -> None:
        self.leave("421 4.4.2 you took too long")


class LmtpConnection(MailConnection, LMTP):
    """A conversation in LMTP (RFC 2033): the mail server next door hands over, recipient by recipient."""

    answers_each = True
    extensions = ("PIPELINING", "ENHANCEDSTATUSCODES")


class _Held:
    """What is in memory of one message, and counted."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._pieces: list[bytes] = []
        self._size = 0

    def add(self, piece: bytes) -> bool:
        """Keep one more piece; False: there is too much in all."""
        self._pieces.append(piece)
        self._size += len(piece)
        return self._desk.hold(len(piece))

    def content(self) -> bytes:
        return b"".join(self._pieces)

    def release(self) -> None:
        """Forget all of it."""
        self._desk.hold(-self._size)
        self._size = 0
        self._pieces.clear()
