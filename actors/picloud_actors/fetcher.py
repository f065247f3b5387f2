"""Pops messages from Redis and begins their rows, everything that waits in one go.

The pop is destructive: the lease in PostgreSQL is the truth, so a pop that is
lost with its process is published again. What was popped and not yet begun
stands on the board until the begin is committed.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Any, cast

import psycopg
from redis.exceptions import RedisError

from picloud import broker
from picloud.database import Reconnecting, backoff_seconds, is_outage
from picloud.failpoints import failpoint
from picloud.outbox.run_rows import (
    BegunRow,
    Settlement,
    WorkerProcess,
    begin,
    held_by,
    read_standing,
    settle,
    unpublish,
)
from picloud_actors.board import Board
from picloud_actors.scripts import ScriptSources
from picloud_actors.workload import Assignment, Budget, Workload

_LOG = logging.getLogger("picloud.worker")

#: How long an idle fetch blocks; also how often an idle process says that it is there.
IDLE_BLOCK_SECONDS = 30
#: A begin writes the heartbeat along unless one was written this lately: it costs as much as beginning two rows.
_BEAT_SECONDS = 2.0
#: How long the fetcher waits for room before it looks again by itself.
_ROOM_SECONDS = 1.0


class Fetcher(threading.Thread):
    """One thread; owns the connection for begin, and the blocking Redis connection."""

    def __init__(
        self,
        worker: WorkerProcess,
        workload: Workload,
        board: Board,
        sources: ScriptSources,
        database: Reconnecting,
        redis_url: str,
    ) -> None:
        super().__init__(name="fetcher", daemon=True)
        self._worker = worker
        self._workload = workload
        self._board = board
        self._sources = sources
        self._database = database
        self._client = broker.connect(redis_url, name="worker")
        self._blocking = broker.connect(redis_url, name="worker-fetch", socket_timeout_seconds=IDLE_BLOCK_SECONDS + 10)
        self._pop_script = self._client.register_script(broker.script("pop"))
        self._wake_script = self._client.register_script(broker.script("wake"))
        self._is_stopping = threading.Event()
        self._is_busy = False
        self._said_alive_at = -float(IDLE_BLOCK_SECONDS)
        self._beaten_at = -_BEAT_SECONDS

    def kick(self) -> None:
        """Wake the fetcher out of its blocking pop; called from other threads."""
        try:
            with self._client.pipeline(transaction=False) as pipeline:
                pipeline.rpush(broker.kick_key(self._worker.id), "1")
                pipeline.expire(broker.kick_key(self._worker.id), 60)
                pipeline.execute()
        except broker.OUTAGES:
            return  # then the fetcher is not blocked in Redis either

    def stop(self) -> None:
        """Stop after the fetch under way."""
        self._is_stopping.set()
        self._workload.stop()

    def run(self) -> None:
        waits = backoff_seconds()
        is_down = False
        while not self._is_stopping.is_set():
            try:
                self._fetch_once()
                if is_down:
                    _LOG.info("Redis answers again")
                is_down, waits = False, backoff_seconds()
            except broker.OUTAGES as error:
                if not is_down:
                    _LOG.warning("waiting for Redis: %s", error)
                is_down = True
                self._is_stopping.wait(next(waits))
            except Exception:  # noqa: BLE001  # the edge of the thread
                # The edge of the thread: whatever it was, the process must go on fetching.
                _LOG.exception("a fetch failed")
                self._is_stopping.wait(next(waits))

    def _fetch_once(self) -> None:
        budget = self._workload.budget()
        if budget.is_empty():
            self._workload.wait_for_room(_ROOM_SECONDS)
            return
        messages = self._pop(budget)
        if messages:
            failpoint("worker.popped")
            self._begin(messages)

    def _pop(self, budget: Budget) -> list[bytes]:
        """Everything that waits and fits; blocks while there is nothing."""
        # After a fetch that brought several there are probably more: one command instead of two.
        messages = self._take(budget) if self._is_busy else []
        if not messages:
            first = self._wait_for_message(budget)
            if first is None:
                self._is_busy = False
                return []
            try:
                messages = [first, *self._take(budget, self._rows_in(first))]
            except broker.OUTAGES:
                messages = [first]  # it is ours already; what else waits is found by the next fetch
        self._is_busy = len(messages) > 1
        return messages

    def _wait_for_message(self, budget: Budget) -> bytes | None:
        lists = self._lists(budget)
        self._say_alive()
        self._workload.fetcher_blocks(on_sync_only=broker.ASYNC_LIST not in lists)
        popped = cast("tuple[bytes, bytes] | None", self._blocking.blpop(lists, timeout=IDLE_BLOCK_SECONDS))
        self._workload.fetcher_blocks(on_sync_only=False)
        if popped is None or popped[0].decode() == broker.kick_key(self._worker.id):
            return None
        return popped[1]

    def _take(self, budget: Budget, already: int = 0) -> list[bytes]:
        """Pop without blocking; ``already`` rows were popped under this budget."""
        arguments = [budget.sync_rows - already, budget.async_rows - already, budget.ms, budget.payload_bytes]
        keys = [broker.SYNC_LIST, broker.ASYNC_LIST, broker.AWAIT_ROOM_KEY, broker.WAKE_LIST]
        return cast("list[bytes]", self._pop_script(keys=keys, args=cast(Any, arguments)))

    def _say_alive(self) -> None:
        """Keep the presence key of a process that may be idle for long."""
        now = time.monotonic()
        if now - self._said_alive_at >= IDLE_BLOCK_SECONDS / 2:
            self._said_alive_at = now
            self._client.set(broker.worker_alive_key(self._worker.id), "1", ex=IDLE_BLOCK_SECONDS * 2 + 15)

    def _lists(self, budget: Budget) -> list[str]:
        lists = []
        if budget.sync_rows > 0:
            lists.append(broker.SYNC_LIST)
        if budget.async_rows > 0:
            lists.append(broker.ASYNC_LIST)
        return [*lists, broker.kick_key(self._worker.id)]

    @staticmethod
    def _rows_in(message: bytes) -> int:
        try:
            return len(broker.decode_message(message).pairs)
        except ValueError:
            return 0

    def _begin(self, messages: list[bytes]) -> None:
        contents: list[tuple[bytes, broker.MessageContent]] = []
        for message in messages:
            try:
                contents.append((message, broker.decode_message(message)))
            except ValueError as error:
                # Its row, if there is one, comes back by its lease; the others must not suffer.
                _LOG.warning("dropped a message: %s", error)
        pairs = [pair for _, content in contents for pair in content.pairs]
        if not pairs:
            return
        self._board.popped(pairs)
        failpoint("worker.noted")
        rows = {row.id: row for row in self._begin_rows(pairs)}
        failpoint("worker.begun")
        now = self._workload.clock()
        assignments = [
            Assignment(begun, message, now)
            for message, content in contents
            if (begun := [rows[identifier] for identifier, _ in content.pairs if identifier in rows])
        ]
        self._workload.add(_suspects_apart(assignments))
        self._board.popped(())

    def _begin_rows(self, pairs: list[tuple[Any, int]]) -> list[BegunRow]:
        """Begin until PostgreSQL answers; what others got meanwhile matches no token any more."""
        waits = backoff_seconds()
        was_down = False
        while not self._is_stopping.is_set():
            try:
                connection = self._database.get()
                now = time.monotonic()
                beats = now - self._beaten_at >= _BEAT_SECONDS
                rows = begin(connection, self._worker, pairs, self._workload.speed.run_ms, beats=beats)
                if beats:
                    self._beaten_at = now
                if was_down:
                    self._hand_back_strays(connection, rows)
                if len(rows) < len(pairs):
                    self._look_at_standing(connection, pairs)
                self._sources.load(connection, rows)
                return rows
            except psycopg.Error as error:
                if not is_outage(error):
                    raise
                was_down = True
                self._database.close()
                _LOG.warning("waiting for PostgreSQL: %s", str(error).strip())
                self._is_stopping.wait(next(waits))
        return []

    def _look_at_standing(self, connection: psycopg.Connection[Any], pairs: list[tuple[Any, int]]) -> None:
        """A begin that brought too little: stale copies, or this process may not begin rows any more."""
        reason = read_standing(connection, self._worker.id).reason_to_stand_aside
        if reason:
            self._workload.stand_aside(reason)
            unpublish(connection, pairs)
            self._wake_relay()

    def _wake_relay(self) -> None:
        try:
            self._wake_script(keys=[broker.WAKE_LIST])
        except broker.OUTAGES:
            return  # the relay looks by itself

    def _hand_back_strays(self, connection: psycopg.Connection[Any], begun: list[BegunRow]) -> None:
        """A begin whose answer was lost may have committed: such rows are ours and we never knew.

        Looked for after the begin that did answer: its row locks waited for the other one's end.
        """
        held = {identifier for identifier, _ in self._workload.held()} | {row.id for row in begun}
        strays = [row for row in held_by(connection, self._worker.id) if row.id not in held]
        if strays:
            settle(connection, [Settlement(row.id, row.token, "handed_back") for row in strays])
            _LOG.info("handed back %d rows whose begin was never answered", len(strays))

    def close(self) -> None:
        """Close the connections; after the thread has ended."""
        try:
            self._client.delete(broker.worker_alive_key(self._worker.id), broker.kick_key(self._worker.id))
        except RedisError:
            _LOG.debug("Redis did not answer while closing")
        self._client.close()
        self._blocking.close()
        self._database.close()


def _suspects_apart(assignments: list[Assignment]) -> list[Assignment]:
    """A suspect never shares a message with others: it runs with nothing beside or before it."""
    result: list[Assignment] = []
    for assignment in assignments:
        if len(assignment.rows) > 1 and assignment.is_suspect:
            result += [Assignment([row], assignment.message, assignment.ready_at) for row in assignment.rows]
        else:
            result.append(assignment)
    return result
