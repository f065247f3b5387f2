"""Where mail comes in: the doors, the limits, and what is answered when.

::

    connect ──> RCPT: resolve(address) ──> DATA ──> read, refuse loops ──> accept(deliveries) ──> 250
                nobody: 550                                               rows are committed

``250`` is said after ``accept`` has returned, and never before: a mail is taken over
when its rows are committed. When the answer is lost on the way the sender sends
again; SMTP cannot do better (RFC 5321, section 6.1), so one mail may come twice.

SMTP answers once for all recipients of a mail: they are accepted together. LMTP
answers for each: they are accepted one by one.

Nothing is relayed: a recipient is somebody ``resolve`` knows, or nobody.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import stat
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar, cast
from uuid import UUID

from picloud.errors import InvalidInputError, PiCloudError
from picloud.mail.bind import Bind, MailProtocol
from picloud.mail.connection import Incoming, LmtpConnection, MailConnection, Recipient
from picloud.mail.errors import UnusableMailError
from picloud.mail.inbound_message import InboundMessage, MailBounds, read_message
from picloud.mail.peers import PeerConnections, PeerRates, peer_key

_log = logging.getLogger("picloud.mail")

Target = TypeVar("Target")

#: Root and depth of the run that sent a mail.
Hops = tuple[UUID, int]

#: A forger may add as many as fit: so many are read.
_MOST_HOPS_HEADERS = 10

_LATER = "451 4.3.0 the mail cannot be stored now, try again later"


@dataclass(frozen=True, slots=True)
class MailLimits:
    """What a listener lets in.

    Attributes:
        max_message_bytes: announced as SIZE. Keep it at what a string of a script may hold: what
            is let in should be readable.
        max_held_bytes: of messages being received at one moment, by all connections together.
        max_recipients: of one mail; the sender comes back with the others.
        max_connections_per_peer: a mail server next door opens up to 20 by itself.
        mails_per_second: of one peer address, over time; an unknown recipient counts as one.
        mails_burst: of one peer address, at once.
        max_unknown_recipients: of one connection before it is closed.
        command_seconds: of silence before a connection is closed.
        data_seconds: that one message may take to arrive.
        accept_seconds: that storing a mail may take, for all its recipients together.
    """

    max_message_bytes: int = 1024 * 1024
    max_held_bytes: int = 64 * 1024 * 1024
    max_recipients: int = 50
    max_connections: int = 100
    max_connections_per_peer: int = 20
    mails_per_second: float = 5.0
    mails_burst: int = 100
    max_unknown_recipients: int = 10
    command_seconds: float = 60.0
    data_seconds: float = 300.0
    accept_seconds: float = 30.0
    bounds: MailBounds = field(default_factory=MailBounds)


@dataclass(frozen=True, slots=True)
class Delivery(Generic[Target]):
    """One row to be written.

    Attributes:
        event: JSON, the ``ctx.event`` of source ``email``.
        hops: root and depth of the run that sent this mail, as its signed header says; None: it began
            outside, or the signature is not ours.
    """

    target: Target
    event: bytes
    hops: Hops | None


class MailListener(Generic[Target]):
    """Listens until it is stopped. Start and stop may be called in any order, and again.

    Args:
        resolve: where an address leads, None: nowhere.
        accept: commits the rows of its deliveries, all or none. InvalidInputError refuses the mail for
            good; after every other error the sender keeps it and comes back.
        read_hops: root and depth out of an ``X-PiCloud-Hops`` header, None when it is absent or not ours.
        hostname: what the listener calls itself.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        resolve: Callable[[str], Awaitable[Target | None]],
        accept: Callable[[Sequence[Delivery[Target]]], Awaitable[None]],
        read_hops: Callable[[str | None], Hops | None],
        *,
        limits: MailLimits = MailLimits(),
        hostname: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._resolve = resolve
        self._accept = accept
        self._read_hops = read_hops
        self._limits = limits
        self._rates = PeerRates(limits.mails_per_second, limits.mails_burst, clock)
        self._counts = PeerConnections(limits.max_connections, limits.max_connections_per_peer)
        self._servers: list[tuple[Bind, asyncio.Server]] = []
        self._connections: set[MailConnection] = set()
        self._accepting: set[asyncio.Task[None]] = set()
        self._all_left = asyncio.Event()
        self._held_bytes = 0
        self.hostname = hostname or socket.gethostname() or "localhost"
        self.max_message_bytes = limits.max_message_bytes
        self.command_seconds = limits.command_seconds
        self.data_seconds = limits.data_seconds
        self.is_stopping = False

    async def start(self, bind: Bind) -> Bind:
        """Listen in one more place.

        Returns:
            ``bind`` with the port that was taken.

        Raises:
            OSError: the place cannot be had.
        """
        self.is_stopping = False
        # Addresses and commands of strangers are not log lines.
        logging.getLogger("mail.log").setLevel(logging.ERROR)
        loop = asyncio.get_running_loop()

        def door() -> _Door:
            return _Door(self, bind.protocol)

        if bind.path is not None:
            server = await loop.create_unix_server(door, bind.path)
            bind.path.chmod(0o660)
        else:
            server = await loop.create_server(door, bind.host, bind.port)
            bind = Bind(bind.protocol, bind.host, server.sockets[0].getsockname()[1])
        self._servers.append((bind, server))
        return bind

    async def stop(self, drain_seconds: float = 10.0) -> None:
        """Take no new mail; finish what is being received, for so long; then hang up on everybody."""
        self.is_stopping = True
        servers, self._servers = self._servers, []
        for _, server in servers:
            server.close()
        for connection in tuple(self._connections):
            if not connection.is_in_data:
                connection.leave("421 4.3.2 stopping")
        conversations = [each.conversation for each in self._connections if each.conversation is not None]
        if not await self._everybody_left(drain_seconds):
            _log.warning("%d mail connections were cut while they sent", len(self._connections))
            for connection in tuple(self._connections):
                connection.cut()
        await _finish(conversations, seconds=1)
        await _finish(self._accepting, seconds=drain_seconds)
        for bind, server in servers:
            await server.wait_closed()
            _remove_socket(bind.path)

    async def _everybody_left(self, seconds: float) -> bool:
        self._all_left.clear()
        if not self._connections:
            return True
        try:
            async with asyncio.timeout(seconds):
                await self._all_left.wait()
        except TimeoutError:
            return False
        return True

    # -- the doors ---------------------------------------------------------------

    def enter(self, transport: asyncio.Transport, protocol: MailProtocol) -> None:
        """Somebody has connected: begin a conversation, or say why not."""
        refusal = "stopping" if self.is_stopping else self._counts.enter(peer_key(transport.get_extra_info("peername")))
        if refusal is not None:
            transport.write(f"421 4.3.2 {refusal}, try again later\r\n".encode("ascii"))
            transport.close()
            return
        kind = LmtpConnection if protocol == "lmtp" else MailConnection
        connection = kind(self, asyncio.get_running_loop())
        self._connections.add(connection)
        transport.set_protocol(connection)
        connection.connection_made(transport)

    def left(self, connection: MailConnection) -> None:
        self._connections.discard(connection)
        self._counts.leave(connection.peer)
        if not self._connections:
            self._all_left.set()

    # -- what a conversation asks --------------------------------------------------

    def admit_mail(self, peer: str | None) -> str | None:
        if self.is_stopping:
            return "421 4.3.2 stopping, try again later"
        if not self._rates.take(peer):
            return "450 4.7.1 too much mail from your address, try again later"
        return None

    async def find(self, connection: MailConnection, address: str, already: Sequence[Recipient]) -> Recipient | str:
        if len(already) >= self._limits.max_recipients:
            return "452 4.5.3 too many recipients, send to the others again"
        try:
            target = await self._resolve(address)
        except PiCloudError as error:
            _log.warning("an address cannot be looked up: %s", error.message)
            return "451 4.3.0 the address cannot be looked up now, try again later"
        if target is not None:
            return Recipient(address, target)
        connection.unknown_recipients += 1
        is_guessing = connection.unknown_recipients > self._limits.max_unknown_recipients
        if is_guessing or not self._rates.take(connection.peer):
            return "421 4.7.0 too many unknown recipients"
        return "550 5.1.1 no such address here"

    def hold(self, size: int) -> bool:
        self._held_bytes += size
        return self._held_bytes <= self._limits.max_held_bytes

    async def take(self, incoming: Incoming) -> list[str]:
        count = len(incoming.recipients) if incoming.answers_each else 1
        try:
            # Taking a mail apart is work for the processor: meanwhile the others are answered.
            message = await asyncio.to_thread(read_message, incoming.content, self._limits.bounds)
        except UnusableMailError as error:
            return [f"554 5.6.0 {error.message}"] * count
        refusal = self._refusal(message, incoming)
        if refusal is not None:
            return [refusal] * count
        hops = self._hops(message)
        deliveries = [
            Delivery(recipient.target, message.event(incoming.sender, recipient.address), hops)
            for recipient in incoming.recipients
        ]
        until = asyncio.get_running_loop().time() + self._limits.accept_seconds
        if incoming.answers_each:
            return [await self._store([delivery], until) for delivery in deliveries]
        return [await self._store(deliveries, until)]

    def _refusal(self, message: InboundMessage, incoming: Incoming) -> str | None:
        if message.is_circling():
            return "554 5.4.6 the mail goes round in a circle: it has too many Received headers"
        kind = message.automatic_kind(incoming.sender)
        if kind is not None:
            return f"550 5.7.1 automatic mail ({kind}) is not taken: answers to answers would never end"
        if len(message.contents) * len(incoming.recipients) > self._limits.max_held_bytes:
            return "552 5.3.4 the mail is too large for so many recipients"
        return None

    def _hops(self, message: InboundMessage) -> Hops | None:
        """The deepest of the headers that are ours: a relay may have kept an older one."""
        values = message.raw_values("x-picloud-hops")[:_MOST_HOPS_HEADERS]
        known = [hops for hops in map(self._read_hops, values) if hops is not None]
        return max(known, key=lambda hops: hops[1], default=None)

    async def _store(self, deliveries: Sequence[Delivery[Target]], until: float) -> str:
        """Accept, and say so when it is done. A sender that hangs up meanwhile does not cut the commit in two."""
        if asyncio.get_running_loop().time() >= until:
            return _LATER
        task = asyncio.ensure_future(self._accept(deliveries))
        self._accepting.add(task)
        task.add_done_callback(self._accepted)
        try:
            async with asyncio.timeout_at(until):
                await asyncio.shield(task)
        except TimeoutError:
            task.cancel()
            _log.warning("mail was not stored within %g s", self._limits.accept_seconds)
            return _LATER
        except InvalidInputError as error:
            return f"554 5.6.0 {_one_line(error.message)}"
        except PiCloudError as error:
            _log.warning("mail cannot be stored: %s", error.message)
            return _LATER
        except Exception:  # noqa: BLE001  # of whatever kind: LMTP must hear of the other recipients
            _log.exception("mail cannot be stored")
            return _LATER
        return "250 2.0.0 accepted"

    def _accepted(self, task: asyncio.Task[None]) -> None:
        self._accepting.discard(task)
        if not task.cancelled():
            task.exception()  # asked for, or asyncio logs it once more when the sender has left


class _Door(asyncio.Protocol):
    """Where a connection is before it is let in."""

    def __init__(self, listener: MailListener[Any], protocol: MailProtocol) -> None:
        self._listener = listener
        self._protocol: MailProtocol = protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._listener.enter(cast(asyncio.Transport, transport), self._protocol)  # uvloop's has another base


async def _finish(tasks: Sequence[asyncio.Task[None]] | set[asyncio.Task[None]], seconds: float) -> None:
    """Wait for tasks, for so long; then end them."""
    while running := {task for task in tasks if not task.done()}:
        _, late = await asyncio.wait(running, timeout=seconds)
        seconds = 0.2
        for task in late:
            task.cancel()


def _one_line(text: str) -> str:
    return " ".join(text.split()).encode("ascii", "replace").decode("ascii")[:400]


def _remove_socket(path: Path | None) -> None:
    if path is not None and path.exists() and stat.S_ISSOCK(path.stat().st_mode):
        path.unlink()
