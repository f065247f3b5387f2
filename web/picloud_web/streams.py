"""The answers that go on, of one process: how many there are, and the one look at PostgreSQL that serves them all.

Whoever streams watches something: an execution, or the logs of some apps. While anybody watches, one task asks
PostgreSQL a few times a second what of all that has changed, and wakes those whom it concerns; they read the
rest themselves. While nobody watches, nothing runs.

Places and watches are held weakly: a stream whose client left is gone as soon as its server lets go of it, also when it
never came to run.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Collection
from typing import Any, TypeAlias
from uuid import UUID

import psycopg
from psycopg_pool import AsyncConnectionPool

from picloud.control import changes
from picloud.errors import CapacityError

#: What differs when there is something new to read.
Mark: TypeAlias = object
Database: TypeAlias = AsyncConnectionPool[Any]

_LOOK_EVERY_SECONDS = 0.3
_RETRY_AFTER_SECONDS = 10


class Watch:
    """Somebody's interest in one execution, or in the logs of some apps.

    Attributes:
        execution_id: None: in logs.
        app_ids: in the logs of these apps; None: of all.
    """

    def __init__(self, execution_id: UUID | None = None, app_ids: Collection[int] | None = None) -> None:
        self.execution_id = execution_id
        self.app_ids = app_ids
        self._mark: Mark = None
        self._changed = asyncio.Event()

    def show(self, mark: Mark) -> None:
        """Wake who waits, unless this is what was shown last."""
        if mark != self._mark:
            self._mark = mark
            self._changed.set()

    async def changed(self, within_seconds: float) -> bool:
        """Whether there may be something new; waits for it at most so long."""
        try:
            await asyncio.wait_for(self._changed.wait(), within_seconds)
        except TimeoutError:
            return False
        self._changed.clear()
        return True

    def wake(self) -> None:
        """Let who waits look for itself."""
        self._changed.set()


class Place:
    """One of the streams a process may have open; given back when nobody holds it any more."""

    __slots__ = ("__weakref__",)


class Streams:
    """The open streams of a process.

    Args:
        most: at once; each costs a connection, and a look at its credential every second.
        longest_seconds: after which a stream ends, and its client comes again.
    """

    def __init__(self, *, most: int = 64, longest_seconds: float = 3_600) -> None:
        self.longest_seconds = longest_seconds
        self.is_ending = False
        self._most = most
        self._places: weakref.WeakSet[Place] = weakref.WeakSet()
        self._watches: weakref.WeakSet[Watch] = weakref.WeakSet()
        self._looking: asyncio.Task[None] | None = None

    @property
    def open(self) -> int:
        """Streams that are open now."""
        return len(self._places)

    @property
    def is_looking(self) -> bool:
        """Whether PostgreSQL is being asked again and again: only while somebody watches."""
        return self._looking is not None and not self._looking.done()

    def take_place(self) -> Place:
        """A place for one more stream; it is taken for as long as the caller holds it.

        Raises:
            CapacityError: there is none.
        """
        if self.is_ending or self.open >= self._most:
            raise CapacityError(
                "this process is stopping" if self.is_ending else f"{self._most} streams are open, and no more may be",
                retry_after_seconds=_RETRY_AFTER_SECONDS,
            )
        place = Place()
        self._places.add(place)
        return place

    def watch(self, database: Database, watch: Watch) -> Watch:
        """Look for changes of what ``watch`` is about, for as long as the caller holds it."""
        self._watches.add(watch)
        if not self.is_looking:
            self._looking = asyncio.get_running_loop().create_task(self._look_again_and_again(database))
        return watch

    def leave(self, place: Place, watch: Watch) -> None:
        """Give both back now, whoever still holds them."""
        self._places.discard(place)
        self._watches.discard(watch)

    def end(self) -> None:
        """Let every stream end, because the process stops; no other begins."""
        self.is_ending = True
        for watch in self._watches:
            watch.wake()

    async def _look_again_and_again(self, database: Database) -> None:
        while self._watches:
            try:
                await self._look(database)
            except psycopg.Error:
                # An outage: whoever streams finds out by itself, and may wait for its end.
                pass
            await asyncio.sleep(_LOOK_EVERY_SECONDS)

    async def _look(self, database: Database) -> None:
        watches = list(self._watches)
        executions = {watch.execution_id for watch in watches if watch.execution_id is not None}
        async with database.connection() as connection:
            marks = await changes.read_execution_marks(connection, list(executions)) if executions else {}
            is_log_watched = any(watch.execution_id is None for watch in watches)
            logged = await changes.read_last_logged(connection) if is_log_watched else {}
        for watch in watches:
            if watch.execution_id is not None:
                watch.show(marks.get(watch.execution_id))
            else:
                wanted = logged if watch.app_ids is None else watch.app_ids
                watch.show(tuple(logged.get(app_id) for app_id in sorted(wanted)))
