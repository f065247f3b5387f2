"""Many requests, one commit: whatever waits when the last batch returns goes in the next statement.

There is never a sleep to fill a batch: alone, a request is written at once;
under load the time one commit takes collects the next batch by itself.

An outage says nothing about the rows: the same batch is sent again under the
same ids, which the accept statement makes harmless, until its requests have
waited long enough. Any other error is about one of the rows: the batch is halved
until the guilty row stands alone, so one caller's bad byte never fails the
neighbours.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import AsyncConnection

from picloud.database import backoff_seconds, is_outage
from picloud.errors import CapacityError, ConflictError, InvalidInputError, PiCloudError, UnavailableError
from picloud.failpoints import failpoint
from picloud.logs import about
from picloud.outbox.accept import Accepted, Arrival, accept_async
from picloud_web.tasks import end_tasks

_log = logging.getLogger("picloud.web.ingress")

#: One statement's share: more rows gain nothing, and its parameters are held in memory twice.
_MOST_ROWS = 256
_MOST_BYTES = 4 * 1024 * 1024
#: What may wait for a commit: past this the disk is too slow for what comes in.
_MOST_WAITING_BYTES = 64 * 1024 * 1024

#: How long an outage is waited out before a request is refused.
OUTAGE_SECONDS = 2.5
#: A statement that takes longer is given up with its connection.
_STATEMENT_SECONDS = 5.0
#: A caller is answered after this long, whatever the connection does: it may hang without an error.
_ANSWER_SECONDS = 6.0

Connect = Callable[[], Awaitable[AsyncConnection[Any]]]
#: Told which rows were committed, before their callers are.
Committed = Callable[[Sequence[Arrival]], Awaitable[None]]


class AppChangedError(ConflictError):
    """Raised when an app has another revision than the arrival names, or is paused; nothing was written."""

    code = "app_changed"


@dataclass(slots=True, eq=False)
class _Waiting:
    arrival: Arrival
    done: asyncio.Future[dt.datetime]
    size: int
    since: float


class Ingress:
    """One queue of arrivals, one connection, one task that writes."""

    def __init__(
        self,
        connect: Connect,
        committed: Committed,
        *,
        durable: bool,
        outage_seconds: float = OUTAGE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connect = connect
        self._committed = committed
        self._durable = durable
        self._outage_seconds = outage_seconds
        self._clock = clock
        self._queue: deque[_Waiting] = deque()
        self._queued_bytes = 0
        self._filled = asyncio.Event()
        self._connection: AsyncConnection[Any] | None = None
        self._writer: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to write; may be called again."""
        if self._writer is None:
            self._writer = asyncio.get_running_loop().create_task(self._run(), name="ingress")

    async def stop(self) -> None:
        """End the writer; what still waits is refused."""
        await end_tasks(self._writer)
        self._writer = None
        while self._queue:
            _fail(self._queue.popleft(), UnavailableError("PiCloud is stopping"))
        await self._drop_connection()

    async def accept(self, arrival: Arrival) -> dt.datetime:
        """Write ``arrival`` with whatever else waits; committed on return.

        Raises:
            AppChangedError: nothing was written.
            InvalidInputError: PostgreSQL refuses this very row.
            CapacityError: too much waits to be written.
            UnavailableError: nothing is known to be stored.
        """
        size = len(arrival.event) + len(arrival.body or b"")
        if self._queued_bytes + size > _MOST_WAITING_BYTES:
            raise CapacityError("too much waits to be written")
        done: asyncio.Future[dt.datetime] = asyncio.get_running_loop().create_future()
        self._queue.append(_Waiting(arrival, done, size, self._clock()))
        self._queued_bytes += size
        self._filled.set()
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                return await done
        except TimeoutError:
            raise UnavailableError("PostgreSQL does not answer") from None

    async def _run(self) -> None:
        while True:
            await self._filled.wait()
            self._filled.clear()
            while self._queue:
                await self._write(self._next_batch())

    def _next_batch(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        size = 0
        while self._queue and len(batch) < _MOST_ROWS and (not batch or size + self._queue[0].size <= _MOST_BYTES):
            waiting = self._queue.popleft()
            self._queued_bytes -= waiting.size
            # A caller who left before anything was written has promised nobody anything.
            if not waiting.done.done():
                batch.append(waiting)
                size += waiting.size
        return batch

    async def _write(self, batch: list[_Waiting]) -> None:
        """Commit ``batch``, or tell each of its callers why not."""
        failpoint("web.received")
        waits = backoff_seconds(0.02, 0.5)
        while batch:
            try:
                accepted = await self._accept([waiting.arrival for waiting in batch])
            except Exception as error:  # noqa: BLE001  # of whatever kind: an outage, or something about one row
                if is_outage(error):
                    await self._drop_connection()
                    batch = self._still_patient(batch)
                    if batch:
                        await asyncio.sleep(next(waits))
                    continue
                if len(batch) == 1:
                    with about(execution_id=batch[0].arrival.id):
                        _fail(batch[0], _refusal(error))
                    return
                middle = len(batch) // 2
                await self._write(batch[:middle])
                await self._write(batch[middle:])
                return
            failpoint("web.accepted")
            await self._settle(batch, accepted)
            return

    async def _accept(self, arrivals: Sequence[Arrival]) -> Accepted:
        if self._connection is None or self._connection.closed:
            self._connection = await self._connect()
        try:
            async with asyncio.timeout(_STATEMENT_SECONDS):
                return await accept_async(self._connection, arrivals, durable=self._durable)
        except TimeoutError as error:
            # A server that is stopped, not dead, keeps the connection open and says nothing.
            raise psycopg.OperationalError("PostgreSQL does not answer") from error

    async def _settle(self, batch: Sequence[_Waiting], accepted: Accepted) -> None:
        assert accepted.at is not None, "a batch is never empty"
        written = [waiting.arrival for waiting in batch if waiting.arrival.id not in accepted.refused]
        if written:
            await self._tell(written)
        for waiting in batch:
            if waiting.done.done():
                continue
            if waiting.arrival.id in accepted.refused:
                waiting.done.set_exception(AppChangedError("the app changed in the meantime"))
            else:
                waiting.done.set_result(accepted.at)

    async def _tell(self, written: Sequence[Arrival]) -> None:
        try:
            await self._committed(written)
        except Exception:  # noqa: BLE001  # of whatever kind; it is not about what was asked
            # The rows are committed and their callers must hear so; the relay finds them by itself.
            _log.exception("committed rows could not be handed on")

    def _still_patient(self, batch: Sequence[_Waiting]) -> list[_Waiting]:
        """Refuse those who have waited long enough; the others try again."""
        oldest = self._clock() - self._outage_seconds
        patient: list[_Waiting] = []
        for waiting in batch:
            if waiting.since > oldest and not waiting.done.done():
                patient.append(waiting)
            else:
                _fail(waiting, UnavailableError("PostgreSQL cannot be reached"))
        return patient

    async def _drop_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                await connection.close()
            except psycopg.Error:
                pass  # it is lost anyway


def _fail(waiting: _Waiting, error: PiCloudError) -> None:
    if not waiting.done.done():
        waiting.done.set_exception(error)


def _refusal(error: Exception) -> PiCloudError:
    """What a row's own caller is told."""
    if isinstance(error, psycopg.DataError | ValueError):
        return InvalidInputError("PostgreSQL cannot store this request", code="request_not_usable")
    _log.error("a row could not be written", exc_info=error)
    return PiCloudError("a row could not be written")
