"""Where answers of sync runs arrive: one list in Redis for this process, one task that reads it.

Nothing is read while nobody waits, so an idle process says nothing to Redis.
While somebody waits the process says every 20 s that it lives (a worker that
finds nobody there records the run as abandoned) and looks every second whether
Redis has lost its memory. After that, or after a reconnect, the execution
records of all who wait are read in one query: an answer whose message was lost
is found there.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, cast
from uuid import UUID

import psycopg
import redis.asyncio

from picloud.broker import INBOX_ALIVE_SECONDS, Reply, inbox_alive_key, inbox_key
from picloud.database import backoff_seconds
from picloud_web.tasks import end_tasks
from picloud_web.window import REDIS_FAILURES, Window

_log = logging.getLogger("picloud.web.inbox")

_PRESENT_SECONDS = INBOX_ALIVE_SECONDS / 3
_LOOK_SECONDS = 1.0
#: A blocking pop returns empty-handed after this long; the client's socket timeout is longer.
POP_SECONDS = 20
_MOST_POPPED = 256

ReadAnswers = Callable[[Sequence[UUID]], Awaitable[list[Reply]]]


class Inbox:
    """The waiters of this process, by execution id."""

    def __init__(
        self,
        client: redis.asyncio.Redis,
        blocking_client: redis.asyncio.Redis,
        window: Window,
        read_answers: ReadAnswers,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = secrets.token_hex(8)
        self._key = inbox_key(self.name)
        self._client = client
        self._blocking_client = blocking_client
        self._window = window
        self._read_answers = read_answers
        self._clock = clock
        self._waiters: dict[UUID, asyncio.Future[Reply]] = {}
        self._wanted = asyncio.Event()
        self._present_at: float | None = None
        self._presence = asyncio.Lock()
        #: One recovery at a time: each replaces the reader by a new one.
        self._recovery = asyncio.Lock()
        self._reader: asyncio.Task[None] | None = None
        self._watcher: asyncio.Task[None] | None = None
        window.on_return = self._after_loss

    def start(self) -> None:
        """Begin to read when somebody waits; may be called again."""
        loop = asyncio.get_running_loop()
        self._reader = self._reader or loop.create_task(self._read(), name="inbox")
        self._watcher = self._watcher or loop.create_task(self._watch(), name="inbox-watch")

    async def stop(self) -> None:
        """Stop reading and say that nobody listens here any more."""
        await end_tasks(self._reader, self._watcher)
        self._reader = self._watcher = None
        if self._present_at is not None:
            try:
                await self._client.delete(inbox_alive_key(self.name), self._key)
            except REDIS_FAILURES:
                pass  # it expires by itself

    @property
    def waiting(self) -> int:
        return len(self._waiters)

    def expect(self, execution_id: UUID) -> asyncio.Future[Reply]:
        """The future of this run's answer; to be called before anything is written, so that none can be missed."""
        waiter: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiters[execution_id] = waiter
        self._wanted.set()
        return waiter

    def expects(self, execution_id: UUID) -> bool:
        """Whether somebody still waits for this one."""
        return execution_id in self._waiters

    def forget(self, execution_id: UUID) -> None:
        """Nobody waits for this one any more."""
        self._waiters.pop(execution_id, None)
        if not self._waiters:
            self._wanted.clear()

    def fail(self, execution_ids: Iterable[UUID], error: Exception) -> None:
        """Answer these waiters with an error of our own."""
        for each in execution_ids:
            waiter = self._waiters.get(each)
            if waiter is not None and not waiter.done():
                waiter.set_exception(error)

    async def be_present(self) -> None:
        """Say that this inbox is read, unless that was said lately; before the first row of a while is written."""
        if self._is_present():
            return
        async with self._presence:
            if not self._is_present():
                await self._say_present()

    def _is_present(self) -> bool:
        return self._present_at is not None and self._clock() - self._present_at < _PRESENT_SECONDS

    async def _say_present(self) -> None:
        said_at = self._clock()
        try:
            await self._client.set(inbox_alive_key(self.name), b"1", ex=INBOX_ALIVE_SECONDS)
        except REDIS_FAILURES:
            self._window.mark_down()
            raise
        self._present_at = said_at

    async def _read(self) -> None:
        """Hand every answer to its waiter; parked while nobody waits or Redis is down."""
        while True:
            await self._wanted.wait()
            try:
                messages = await self._pop()
            except REDIS_FAILURES:
                self._window.mark_down()
                await asyncio.sleep(_LOOK_SECONDS / 4)
                continue
            for message in messages:
                self._deliver(message)

    async def _pop(self) -> list[bytes]:
        """What is there, or the next to come; empty after ``POP_SECONDS``."""
        client = cast(Any, self._blocking_client)  # its annotations mix those of the blocking client in
        first = await client.blpop([self._key], POP_SECONDS)
        if first is None:
            return []
        messages: list[bytes] = [first[1]]
        if len(self._waiters) > 1:
            messages += await client.lpop(self._key, _MOST_POPPED) or []
        return messages

    def _deliver(self, message: bytes) -> None:
        try:
            reply = Reply.decode(message)
        except (ValueError, KeyError, TypeError):
            _log.error("an unreadable answer was dropped")
            return
        self._answer(reply)

    def _answer(self, reply: Reply) -> None:
        waiter = self._waiters.get(reply.execution_id)
        if waiter is not None and not waiter.done():
            waiter.set_result(reply)

    async def _watch(self) -> None:
        """While somebody waits: look at the epoch, stay present."""
        while True:
            await self._wanted.wait()
            await asyncio.sleep(_LOOK_SECONDS)
            if not self._waiters or not self._window.is_up:
                continue
            await self._window.look()
            try:
                await self.be_present()
            except REDIS_FAILURES:
                continue

    async def _after_loss(self) -> None:
        """Redis is back, or was wiped. First read anew and be present again, then read the records.

        In this order a run that ends meanwhile either finds us present and
        answers, or had committed before we read.
        """
        async with self._recovery:
            await self._recover()

    async def _recover(self) -> None:
        self._present_at = None
        if self._reader is not None:
            # A pop that blocks on a connection which died without a word would block until its timeout.
            await end_tasks(self._reader)
            await self._blocking_client.connection_pool.disconnect()
            self._reader = asyncio.get_running_loop().create_task(self._read(), name="inbox")
        if self._waiters:
            await self.be_present()
            await self._answer_from_records()

    async def _answer_from_records(self) -> None:
        """Answer whoever's run has ended; again and again while PostgreSQL is away too."""
        for wait in backoff_seconds(0.1, 1.0):
            try:
                for reply in await self._read_answers(tuple(self._waiters)):
                    self._answer(reply)
            except psycopg.Error:
                _log.warning("the records of those who wait cannot be read yet", exc_info=True)
            else:
                return
            await asyncio.sleep(wait)
