"""The web process' side of the Redis window: publish sync rows, wake a relay, notice when Redis is away or was wiped.

Redis may vanish at any moment. It is *down* from the first command that fails
until a probe succeeds. It has *lost its memory* when the epoch is missing or is
another one: then messages and answers may be gone, although every command
works. Whoever depends on either is told through ``on_return``.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

import redis.asyncio
import redis.exceptions

from picloud.broker import (
    ASYNC_LIST,
    EPOCH_KEY,
    RUN_TIMES_KEY,
    SYNC_LIST,
    WAKE_LIST,
    new_epoch,
    script,
)
from picloud.database import backoff_seconds
from picloud.errors import UnavailableError
from picloud_web.tasks import end_tasks

_log = logging.getLogger("picloud.web.window")

#: Whatever a command may raise while Redis cannot be used, however it says so: MISCONF (its disk is full) is a plain
#: ResponseError, and a connection closed under a command is a RuntimeError of the event loop.
REDIS_FAILURES = (redis.exceptions.RedisError, RuntimeError, OSError)

#: The length of the sync list is believed for this long; older, it is found out again by publishing.
_LENGTH_SECONDS = 0.25
#: The workers' measurements are read again after this long, while somebody waits for an answer.
_RUN_TIMES_SECONDS = 5.0
#: With this many messages in the sync list the workers are behind: more of them would only make priority, pause and
#: fairness, which act in PostgreSQL, come too late.
_FULL_AT = 32
#: What a sync run is said to take until the workers have measured it.
_UNMEASURED_MS = 5

_LISTS = (EPOCH_KEY, SYNC_LIST, ASYNC_LIST)


class Window:
    """What this process knows of Redis."""

    def __init__(self, client: redis.asyncio.Redis, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._clock = clock
        self._publish_script = client.register_script(script("publish"))
        self._wake_script = client.register_script(script("wake"))
        self._epoch: str | None = None
        self._sync_length = 0
        self._sync_length_at = 0.0
        self._run_times: dict[bytes, bytes] = {}
        self._run_times_at = -_RUN_TIMES_SECONDS
        self._tasks: set[asyncio.Task[None]] = set()
        self._waker: asyncio.Task[None] | None = None
        self._wake_again = False
        self.is_up = True
        #: Awaited when Redis is back, or turned out to have lost its memory.
        self.on_return: Callable[[], Awaitable[None]] | None = None

    async def stop(self) -> None:
        """End what runs in the background."""
        await end_tasks(*self._tasks)

    @property
    def sync_length(self) -> int:
        """Messages in the sync list when last heard; 0 when that is too long ago to mean anything."""
        return self._sync_length if self._clock() - self._sync_length_at < _LENGTH_SECONDS else 0

    @property
    def is_full(self) -> bool:
        """Whether the workers have enough before them: then the relay decides what they get next."""
        return self.sync_length >= _FULL_AT

    def run_ms(self, script_id: int) -> int:
        """What one run of this script takes, as the workers measured it: they fetch what they can run in a while."""
        measured = self._run_times.get(b"%d" % script_id)
        return _UNMEASURED_MS if measured is None else max(1, round(float(measured)))

    async def publish(self, messages: Sequence[bytes]) -> None:
        """Put messages of sync rows before the workers.

        Raises:
            UnavailableError: Redis does not answer. The messages may be there nevertheless.
        """
        try:
            for _ in range(3):
                epoch = self._epoch or await self._find_epoch()
                arguments: list[str | int | bytes] = [epoch, len(messages), *messages]
                lengths: Any = await self._publish_script(keys=_LISTS, args=arguments)
                if lengths[0] != -1:
                    self._sync_length, self._sync_length_at = lengths[0], self._clock()
                    return
                # Rows published earlier are gone from Redis: the relay must publish them again.
                self._memory_lost()
        except REDIS_FAILURES as error:
            self.mark_down()
            raise UnavailableError("Redis does not answer") from error
        raise UnavailableError("Redis loses its memory again and again")

    async def look(self) -> None:
        """Compare the epoch, for those who wait for something that a wiped Redis would never send."""
        try:
            found: Any = await self._client.get(EPOCH_KEY)
            if self._clock() - self._run_times_at >= _RUN_TIMES_SECONDS:
                self._run_times_at = self._clock()
                self._run_times = await cast(Any, self._client).hgetall(RUN_TIMES_KEY)
        except REDIS_FAILURES:
            self.mark_down()
            return
        if self._epoch is not None and (found is None or found.decode() != self._epoch):
            self._memory_lost()

    def wake(self) -> None:
        """Wake a relay soon. Whatever is said while a wake is under way becomes one more."""
        if self._waker is not None and not self._waker.done():
            self._wake_again = True
        elif self.is_up:
            self._waker = self._spawn(self._send_wake())

    async def _send_wake(self) -> None:
        again = True
        while again:
            self._wake_again = False
            try:
                await self._wake_script(keys=[WAKE_LIST])
            except REDIS_FAILURES:
                # The relay looks by itself every few seconds; nothing is lost, only later.
                self.mark_down()
                return
            again = self._wake_again

    def mark_down(self) -> None:
        """A command failed: refuse sync work and probe until Redis answers."""
        if self.is_up:
            self.is_up = False
            _log.warning("Redis does not answer; sync requests are refused until it does")
            _ = self._spawn(self._probe())

    async def _probe(self) -> None:
        for wait in backoff_seconds(0.05, 1.0):
            try:
                # At once: often a single connection was lost, and the server is well.
                await cast(Any, self._client).ping()
                break
            except REDIS_FAILURES:
                await asyncio.sleep(wait)
        _log.warning("Redis answers again")
        self.is_up = True
        self._memory_lost()

    def _memory_lost(self) -> None:
        """Anything may be gone: our epoch, messages, answers."""
        self._epoch = None
        self.wake()
        if self.on_return is not None:
            _ = self._spawn(self._tell(self.on_return))

    async def _tell(self, on_return: Callable[[], Awaitable[None]]) -> None:
        try:
            await on_return()
        except REDIS_FAILURES:
            self.mark_down()

    async def _find_epoch(self) -> str:
        """The current epoch; begins one when there is none. A relay that finds a new one publishes everything again."""
        await self._client.set(EPOCH_KEY, new_epoch(), nx=True)
        found: Any = await self._client.get(EPOCH_KEY)
        if found is None:
            raise UnavailableError("Redis lost the epoch while it was read")
        epoch: str = found.decode()
        self._epoch = epoch
        return epoch

    def _spawn(self, work: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
