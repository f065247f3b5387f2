"""The two ways into the outbox: *async* is written and answered, *sync* is written, published and waited for.

A sync run takes this way::

    refuse when full ──> expect the answer ──> insert the row, leased to us ──> publish ──> wait ──> answer
      503, nothing          before anything        many requests, one commit      │
      written                                                                     └─ Redis gone: withdraw, 503

Whatever goes wrong on the way, the row has a deadline in PostgreSQL: it does
not begin after its caller was told that there is no answer.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

import msgspec
import psycopg

from picloud.broker import Reply, encode_message
from picloud.control.routing import read_answers
from picloud.database import backoff_seconds, is_outage
from picloud.errors import CapacityError, ConflictError, InvalidInputError, UnavailableError
from picloud.outbox.accept import (
    Arrival,
    FirstAnswer,
    ReplyWanted,
    accept_once,
    forget_idempotency_key,
    give_up_waiting,
    withdraw_sync,
)
from picloud_web.inbox import Inbox
from picloud_web.ingress import OUTAGE_SECONDS, AppChangedError, Connect, Ingress
from picloud_web.services import Database
from picloud_web.window import REDIS_FAILURES, Window

_log = logging.getLogger("picloud.web.dispatch")

#: What a caller waits beyond the script's own timeout.
GRACE_MS = 2_000

_NOT_PUBLISHED = msgspec.json.encode(
    {"code": "storage_unavailable", "message": "the run could not be handed to a worker"}
)

#: Errors of runs that never began: the same Idempotency-Key may try again.
_NEVER_BEGAN = frozenset({"storage_unavailable", "no_answer"})


class _UsedBeforeError(Exception):
    """Raised when an Idempotency-Key has an owner already."""

    def __init__(self, first: FirstAnswer) -> None:
        super().__init__()
        self.first = first


class OutboxDispatcher:
    """``picloud_web.services.Dispatcher`` over PostgreSQL and Redis."""

    def __init__(
        self, database: Database, window: Window, inbox: Inbox, connect: Connect, *, max_sync_in_flight: int
    ) -> None:
        self._database = database
        self._window = window
        self._inbox = inbox
        self._max_sync_in_flight = max_sync_in_flight
        self._async_ingress = Ingress(connect, self._wake, durable=True)
        # Nobody was promised anything yet, so these commits need not wait for the disk.
        self._sync_ingress = Ingress(connect, self._publish, durable=False)
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Begin to write and to read answers."""
        self._async_ingress.start()
        self._sync_ingress.start()
        self._inbox.start()

    async def stop(self) -> None:
        """Let what runs in the background end, then stop writing and reading."""
        await self.settled()
        await self._async_ingress.stop()
        await self._sync_ingress.stop()
        # The window first: it may be about to give the inbox a new reader.
        await self._window.stop()
        await self._inbox.stop()

    async def settled(self) -> None:
        """Until nothing runs in the background: rows given up or withdrawn."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def sync_in_flight(self) -> int:
        return self._inbox.waiting

    async def accept_async(self, arrival: Arrival) -> dt.datetime:
        """See ``Dispatcher.accept_async``."""
        return await self._async_ingress.accept(arrival)

    async def accept_async_once(self, arrival: Arrival, *, key: str, fingerprint: bytes) -> FirstAnswer:
        """As ``accept_async``; a key that was used before gets the first answer, and nothing is written."""
        first = await self._claim(arrival, key, fingerprint)
        if first.is_first:
            self._window.wake()
        return first

    async def run_sync(self, arrival: Arrival, *, timeout_ms: int) -> Reply:
        """See ``Dispatcher.run_sync``."""
        return await self._run(arrival, timeout_ms, self._sync_ingress.accept)

    async def run_sync_once(
        self, arrival: Arrival, *, timeout_ms: int, key: str, fingerprint: bytes
    ) -> tuple[Reply, bool]:
        """As ``run_sync``; a key that was used before gets the first run's answer.

        Returns:
            The answer, and whether it is the answer of an earlier request.

        Raises:
            ConflictError: the first one is still running.
            InvalidInputError: the key belongs to another request.
        """

        async def write(leased: Arrival) -> None:
            first = await self._claim(leased, key, fingerprint)
            if not first.is_first:
                raise _UsedBeforeError(first)
            await self._publish([leased])

        try:
            return await self._run(arrival, timeout_ms, write), False
        except _UsedBeforeError as used:
            earlier = await self._earlier_answer(used.first)
        if earlier.error is not None and earlier.error.get("code") in _NEVER_BEGAN:
            async with self._database.connection() as connection:
                await forget_idempotency_key(connection, arrival.app_id, key, earlier.execution_id)
            return await self._run(arrival, timeout_ms, write), False
        return earlier, True

    async def give_up(self, execution_id: UUID) -> None:
        """See ``Dispatcher.give_up``."""
        try:
            async with self._database.connection() as connection:
                await give_up_waiting(connection, execution_id)
        except psycopg.Error:
            # The row's deadline says the same, only later.
            _log.info("could not give up waiting for %s", execution_id)

    async def _run(self, arrival: Arrival, timeout_ms: int, write: Callable[[Arrival], Awaitable[object]]) -> Reply:
        """Expect, write, wait; the row is given up when the caller leaves."""
        self._refuse_when_full()
        wait_ms = timeout_ms + GRACE_MS
        token = None if self._window.is_full else secrets.randbits(53) or 1
        leased = replace(arrival, reply=ReplyWanted(self._inbox.name, wait_ms, token))
        answer = self._inbox.expect(arrival.id)
        try:
            await self._be_present()
            await write(leased)
            return await self._whole(await self._await_answer(answer, arrival.id, wait_ms))
        except asyncio.CancelledError:
            self._spawn(self.give_up(arrival.id))
            raise
        finally:
            self._inbox.forget(arrival.id)

    def _refuse_when_full(self) -> None:
        """503 before anything is written: what is written now could not be answered in time."""
        if not self._window.is_up:
            raise CapacityError("Redis does not answer", code="storage_unavailable")
        if self._inbox.waiting >= self._max_sync_in_flight:
            raise CapacityError("too many requests are waiting for an answer")

    async def _be_present(self) -> None:
        try:
            await self._inbox.be_present()
        except REDIS_FAILURES as error:
            raise UnavailableError("Redis does not answer") from error

    async def _await_answer(self, answer: asyncio.Future[Reply], execution_id: UUID, wait_ms: int) -> Reply:
        try:
            async with asyncio.timeout(wait_ms / 1_000):
                return await answer
        except TimeoutError:
            # The answer's message may have been lost with Redis; the record cannot.
            found = await self._read_answers([execution_id])
            if found:
                return found[0]
            raise UnavailableError("the script did not answer in time", code="no_answer") from None

    async def _whole(self, reply: Reply) -> Reply:
        """The reply with its data; results too large for Redis are in the execution record."""
        if reply.data is not None or reply.error is not None or reply.result_kind in (None, "unit"):
            return reply
        found = await self._read_answers([reply.execution_id])
        return found[0] if found else reply

    async def _publish(self, arrivals: Sequence[Arrival]) -> None:
        """Put committed sync rows before the workers, unless their callers left; pending ones are the relay's."""
        leased = [arrival for arrival in arrivals if arrival.reply is not None and arrival.reply.token is not None]
        wanted = [arrival for arrival in leased if self._inbox.expects(arrival.id)]
        withdrawn = [arrival.id for arrival in leased if not self._inbox.expects(arrival.id)]
        if len(leased) < len(arrivals):
            self._window.wake()
        if wanted:
            try:
                await self._window.publish([self._message(arrival) for arrival in wanted])
            except UnavailableError:
                withdrawn += [arrival.id for arrival in wanted]
        if withdrawn:
            # Not awaited here: the next batch must not wait for it.
            self._spawn(self._withdraw(withdrawn))

    def _message(self, arrival: Arrival) -> bytes:
        assert arrival.reply is not None, "only sync rows are published here"
        assert arrival.reply.token is not None, "and only those that are leased to us"
        size = len(arrival.event) + len(arrival.body or b"")
        run_ms = self._window.run_ms(arrival.script_id)
        return encode_message([(arrival.id, arrival.reply.token)], estimated_ms=run_ms, payload_bytes=size)

    async def _withdraw(self, ids: Sequence[UUID]) -> None:
        """Take back rows that could not be published. Those that began after all go on being waited for."""
        try:
            async with self._database.connection() as connection:
                withdrawn = await withdraw_sync(connection, ids, _NOT_PUBLISHED)
        except psycopg.Error:
            _log.exception("sync rows could not be withdrawn; they end at their deadline")
            return
        self._inbox.fail(withdrawn, UnavailableError("Redis does not answer"))

    async def _wake(self, _arrivals: Sequence[Arrival]) -> None:
        self._window.wake()

    async def _claim(self, arrival: Arrival, key: str, fingerprint: bytes) -> FirstAnswer:
        """Own the key and write the row, or learn who owns it; sent again during a short outage."""

        async def claim() -> FirstAnswer | None:
            async with self._database.connection() as connection:
                return await accept_once(connection, arrival, key=key, fingerprint=fingerprint)

        first = await _through_outage(claim)
        if first is None:
            raise AppChangedError("the app changed in the meantime")
        if not first.is_same_request:
            raise InvalidInputError("this Idempotency-Key was used for another request", code="idempotency_key_reused")
        return first

    async def _earlier_answer(self, first: FirstAnswer) -> Reply:
        found = await self._read_answers([first.execution_id])
        if not found:
            raise ConflictError("the first request is still running", code="idempotency_key_in_use")
        return found[0]

    async def _read_answers(self, ids: Sequence[UUID]) -> list[Reply]:
        async with self._database.connection() as connection:
            return await read_answers(connection, ids)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _through_outage(work: Callable[[], Awaitable[FirstAnswer | None]]) -> FirstAnswer | None:
    """Do ``work``, again while PostgreSQL is away, for as long as an ingress batch is."""
    deadline = asyncio.get_running_loop().time() + OUTAGE_SECONDS
    for wait in backoff_seconds(0.05, 0.5):
        try:
            return await work()
        except psycopg.Error as error:
            if not is_outage(error):
                raise
            if asyncio.get_running_loop().time() + wait > deadline:
                raise UnavailableError("PostgreSQL cannot be reached") from error
        await asyncio.sleep(wait)
    raise AssertionError("the waits never end")
