"""A listener on loopback, with everything around it made up: who gets mail, and what becomes of it."""

from __future__ import annotations

import asyncio
import json
import smtplib
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import UUID

import pytest

from picloud.mail.bind import Bind
from picloud.mail.listener import Delivery, Hops, MailLimits, MailListener

Result = TypeVar("Result")

ROOT = UUID("0197f0f0-aaaa-7bbb-8ccc-1234567890ab")
MAIL = b"From: ada@example.com\r\nSubject: Hello\r\n\r\nHi\r\n"


@dataclass
class Office:
    """Knows the addresses ``…@shop.example``, but for ``nobody@``, and keeps what it accepts.

    Attributes:
        accepted: each call of ``accept`` that returned.
        asked: calls of ``accept``, those that failed included.
        fails: errors ``accept`` raises, one a call.
        is_open: cleared: ``accept`` waits.
    """

    accepted: list[list[Delivery[str]]] = field(default_factory=list)
    asked: int = 0
    fails: list[Exception] = field(default_factory=list)
    resolve_fails: list[Exception] = field(default_factory=list)
    is_open: asyncio.Event = field(default_factory=asyncio.Event)
    is_asked: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.is_open.set()

    async def resolve(self, address: str) -> str | None:
        if self.resolve_fails:
            raise self.resolve_fails.pop(0)
        local, _, domain = address.rpartition("@")
        return f"trigger of {local}" if domain == "shop.example" and local != "nobody" else None

    async def accept(self, deliveries: Sequence[Delivery[str]]) -> None:
        self.asked += 1
        self.is_asked.set()
        await self.is_open.wait()
        if self.fails:
            raise self.fails.pop(0)
        self.accepted.append(list(deliveries))

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(delivery.event) for batch in self.accepted for delivery in batch]

    @property
    def targets(self) -> list[list[str]]:
        return [[delivery.target for delivery in batch] for batch in self.accepted]


def read_hops(text: str | None) -> Hops | None:
    """Stands for a signature: what begins with ``signed`` is ours."""
    word, _, depth = (text or "").partition(".")
    return (ROOT, int(depth)) if word == "signed" else None


@dataclass
class Listening:
    """A listener that runs, and whom it works for."""

    listener: MailListener[str]
    office: Office
    bind: Bind

    @property
    def port(self) -> int:
        return self.bind.port

    async def send(
        self, content: bytes = MAIL, to: str | Sequence[str] = "orders@shop.example", sender: str = "ada@example.com"
    ) -> dict[str, tuple[int, bytes]]:
        """One mail by smtplib, as programs send it; its errors are raised. Returns the recipients refused."""

        def conversation() -> dict[str, tuple[int, bytes]]:
            with smtplib.SMTP("127.0.0.1", self.port, timeout=10) as client:
                return client.sendmail(sender, to, content)

        return await asyncio.to_thread(conversation)

    async def talk(self, conversation: Callable[[smtplib.SMTP], Result]) -> Result:
        """A conversation with smtplib that has said EHLO."""

        def talk() -> Result:
            with smtplib.SMTP("127.0.0.1", self.port, timeout=10) as client:
                client.ehlo()
                return conversation(client)

        return await asyncio.to_thread(talk)


class Wire:
    """A connection on which a test says what it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def reply(self) -> str:
        """The next reply, of however many lines; empty: the connection has ended."""
        lines: list[str] = []
        while line := (await self.reader.readline()).decode():
            lines.append(line.rstrip("\r\n"))
            if line[3:4] != "-":
                break
        return "\n".join(lines)

    async def say(self, *lines: str | bytes) -> str:
        """Say lines, all at once; the reply to the first of them."""
        self.put(*lines)
        await self.writer.drain()
        return await self.reply()

    def put(self, *lines: str | bytes) -> None:
        for line in lines:
            self.writer.write((line if isinstance(line, bytes) else line.encode()) + b"\r\n")

    async def begin(self, *recipients: str, hello: str = "EHLO me") -> None:
        """Up to where DATA is due."""
        assert (await self.reply()).startswith("220")
        assert (await self.say(hello)).startswith("250")
        assert (await self.say("MAIL FROM:<ada@example.com>")).startswith("250")
        for recipient in recipients or ("orders@shop.example",):
            assert (await self.say(f"RCPT TO:<{recipient}>")).startswith("250")

    async def hangs_up(self) -> str:
        """What is said before the connection ends."""
        said = [line async for line in self.reader]
        return b"".join(said).decode()


@asynccontextmanager
async def wire_to(bind: Bind) -> AsyncIterator[Wire]:
    if bind.path is not None:
        reader, writer = await asyncio.open_unix_connection(bind.path)
    else:
        reader, writer = await asyncio.open_connection(bind.host, bind.port)
    try:
        yield Wire(reader, writer)
    finally:
        writer.close()
        try:
            await writer.wait_closed()
        except ConnectionError:
            pass  # the listener has hung up on purpose


@asynccontextmanager
async def listening(limits: MailLimits | None = None, bind: Bind | None = None) -> AsyncIterator[Listening]:
    office = Office()
    listener = MailListener(
        office.resolve, office.accept, read_hops, limits=limits or MailLimits(), hostname="mail.shop.example"
    )
    taken = await listener.start(bind or Bind())
    try:
        yield Listening(listener, office, taken)
    finally:
        office.is_open.set()
        await listener.stop(drain_seconds=1)


Story = Callable[[Listening], Coroutine[Any, Any, None]]


def play(story: Story, limits: MailLimits | None = None, bind: Bind | None = None) -> None:
    """Run ``story`` against a listener."""

    async def told() -> None:
        async with asyncio.timeout(60), listening(limits, bind) as stage:
            await story(stage)

    asyncio.run(told())


async def refusal(stage: Listening, content: bytes, sender: str = "ada@example.com") -> tuple[int, str]:
    """What a mail is refused with after DATA."""
    with pytest.raises(smtplib.SMTPDataError) as refused:
        await stage.send(content, sender=sender)
    error = refused.value.smtp_error
    return refused.value.smtp_code, error.decode() if isinstance(error, bytes) else error


async def until(is_so: Callable[[], bool], within_seconds: float = 5) -> None:
    """Wait for what a listener does by itself."""
    async with asyncio.timeout(within_seconds):
        while not is_so():
            await asyncio.sleep(0.005)
