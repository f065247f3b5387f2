"""Settles finished runs: whatever waits, in one transaction, then the answers.

Worker threads never wait for a commit; one flusher serves the process. It never
sleeps to fill a batch. Replies go out after their commit.

When a flush fails: an outage says nothing about the rows, so the whole batch is
sent again under the same tokens, with back-off, nothing charged. Any other error
is about a row: the batch is halved until that row is found, and its run fails
with ``effects_rejected``, so that one run's bad value never fails its neighbours.
"""

from __future__ import annotations

import json
import logging
import math
import threading
import time
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast
from uuid import UUID

import psycopg

from picloud import broker
from picloud.broker import Reply
from picloud.database import Reconnecting, backoff_seconds, is_outage
from picloud.failpoints import failpoint
from picloud.outbox.run_rows import BegunRow, Settled, Settlement, mark_abandoned, settle
from picloud_actors.board import Board
from picloud_actors.workload import Workload

_LOG = logging.getLogger("picloud.worker")

MOST_ROWS = 256
MOST_BYTES = 4 * 1024 * 1024

#: How often the measured times of scripts are reported, so that the relay can bundle quick ones.
_REPORT_SECONDS = 1.0


#: How long a flusher that was told to stop waits for a PostgreSQL that is away.
_STOPPING_SECONDS = 5.0

_REJECTED = "effects_rejected"


@dataclass(frozen=True, slots=True)
class Finished:
    """A run that has ended, with what its caller is told once it is committed."""

    row: BegunRow
    settlement: Settlement
    reply: Reply | None = None


class Flusher(threading.Thread):
    """One thread; owns the connection that settles and the Redis connection that answers."""

    def __init__(self, workload: Workload, board: Board, database: Reconnecting, redis_url: str) -> None:
        super().__init__(name="flusher", daemon=True)
        self._workload = workload
        self._board = board
        self._database = database
        self._client = broker.connect(redis_url, name="worker-reply")
        self._reply_script = self._client.register_script(broker.script("reply"))
        self._wake_script = self._client.register_script(broker.script("wake"))
        self._queue: deque[Finished] = deque()
        self._changed = threading.Condition()
        self._is_stopping = False
        self._give_up_at = math.inf
        self._run_ms: dict[int, float] = {}
        self._reported_at = 0.0

    def put(self, finished: Finished) -> None:
        """Hand over a finished run; returns at once."""
        with self._changed:
            self._queue.append(finished)
            if len(self._queue) == 1:
                self._changed.notify()

    def hand_back(self, rows: Sequence[BegunRow]) -> None:
        """Give rows back unspent: their scripts never started."""
        for row in rows:
            self.put(Finished(row, Settlement(row.id, row.token, "handed_back")))

    def stop(self) -> None:
        """End once everything handed over is settled, or PostgreSQL has not answered for a while."""
        with self._changed:
            self._is_stopping = True
            self._give_up_at = time.monotonic() + _STOPPING_SECONDS
            self._changed.notify()

    def run(self) -> None:
        while batch := self._next_batch():
            try:
                self._flush(batch)
            except Exception as error:  # noqa: BLE001  # the edge of the thread
                if self._is_stopping and is_outage(error):
                    _LOG.warning("%d runs could not be settled: %s", len(batch), str(error).strip())
                    return  # still held: whoever settles this process' rows finds them
                # The edge of the thread. The rows stay ours until their deadline; the process must
                # go on settling the others.
                _LOG.exception("a flush of %d runs failed", len(batch))
                self._board.flushing(())
                self._workload.settled(finished.row.id for finished in batch)

    def _next_batch(self) -> list[Finished]:
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._is_stopping)
            batch: list[Finished] = []
            size = 0
            while self._queue and len(batch) < MOST_ROWS:
                size += self._queue[0].settlement.size_bytes()
                if batch and size > MOST_BYTES:
                    break
                batch.append(self._queue.popleft())
            return batch

    def _flush(self, batch: list[Finished]) -> None:
        ids = [finished.row.id for finished in batch]
        self._board.flushing(ids)
        failpoint("worker.flushing")
        verdicts, batch = self._settle(batch)
        failpoint("worker.flushed")
        self._board.flushing(())
        self._workload.settled(ids)
        self._tell(batch, verdicts)

    def _settle(self, batch: list[Finished]) -> tuple[dict[UUID, Settled], list[Finished]]:
        """Settle until it is done; the batch comes back with rejected runs replaced by their failures."""
        waits = backoff_seconds()
        is_down = False
        while True:
            try:
                # Nobody was promised that a sync run without effects is durable: a read-only GET
                # must not wait for the disk to make its own row's deletion permanent.
                may_lag = all(finished.row.is_sync for finished in batch)
                settled = self._database.run(
                    lambda connection, may_lag=may_lag: settle(  # type: ignore[misc]
                        connection, [finished.settlement for finished in batch], may_lag=may_lag
                    )
                )
                return {each.id: each for each in settled}, batch
            except psycopg.Error as error:
                if not is_outage(error):
                    return self._settle_halves(batch, error)
                if not is_down:
                    _LOG.warning("waiting for PostgreSQL to settle %d runs: %s", len(batch), str(error).strip())
                is_down = True
                if time.monotonic() > self._give_up_at:
                    raise
                time.sleep(next(waits))

    def _settle_halves(self, batch: list[Finished], error: psycopg.Error) -> tuple[dict[UUID, Settled], list[Finished]]:
        if len(batch) == 1:
            if batch[0].settlement.reason == _REJECTED:
                _LOG.error("execution %s cannot even be stored as refused: %s", batch[0].row.id, str(error).strip())
                return {}, batch  # its deadline ends it
            return self._settle([_rejected(batch[0], error)])
        middle = len(batch) // 2
        first, first_batch = self._settle(batch[:middle])
        second, second_batch = self._settle(batch[middle:])
        return first | second, first_batch + second_batch

    def _tell(self, batch: list[Finished], verdicts: dict[UUID, Settled]) -> None:
        """Answers, the wake token and measured times: Redis may be away, then the record speaks."""
        unheard: list[UUID] = []
        try:
            unheard = self._answer(batch, verdicts)
            if any(v.verdict in ("retried", "handed_back") or v.freed_slot or v.fired for v in verdicts.values()):
                self._wake_script(keys=[broker.WAKE_LIST])
            self._report_times(batch)
        except broker.OUTAGES as error:
            _LOG.debug("Redis did not take the answers: %s", error)
        if unheard:
            try:
                self._database.run(lambda connection: mark_abandoned(connection, unheard))
            except psycopg.Error as error:
                _LOG.warning("could not mark %d abandoned runs: %s", len(unheard), error)

    def _answer(self, batch: list[Finished], verdicts: dict[UUID, Settled]) -> list[UUID]:
        """Push replies, one command an inbox; the runs whose inbox is gone come back."""
        by_inbox: dict[str, list[Reply]] = defaultdict(list)
        for finished in batch:
            verdict = verdicts.get(finished.row.id)
            if finished.reply and finished.row.reply_to and verdict and verdict.verdict in ("done", "already"):
                by_inbox[finished.row.reply_to].append(finished.reply)
        unheard: list[UUID] = []
        for inbox, replies in by_inbox.items():
            keys = [broker.inbox_key(inbox), broker.inbox_alive_key(inbox)]
            arguments = [2 * broker.INBOX_ALIVE_SECONDS, *(reply.encode() for reply in replies)]
            if not self._reply_script(keys=keys, args=cast(Any, arguments)):
                unheard += [reply.execution_id for reply in replies if reply.status == "completed"]
        return unheard

    def _report_times(self, batch: list[Finished]) -> None:
        for finished in batch:
            if finished.settlement.run_us is not None:
                known = self._run_ms.get(finished.row.script_id)
                measured = finished.settlement.run_us / 1_000
                self._run_ms[finished.row.script_id] = measured if known is None else known * 0.9 + measured * 0.1
        now = time.monotonic()
        if self._run_ms and now - self._reported_at >= _REPORT_SECONDS:
            self._reported_at = now
            times = {str(script): f"{run_ms:.3f}" for script, run_ms in self._run_ms.items()}
            self._client.hset(broker.RUN_TIMES_KEY, mapping=cast(Any, times))

    def close(self) -> None:
        """Close the connections; after the thread has ended."""
        self._client.close()
        self._database.close()


def _rejected(finished: Finished, error: psycopg.Error) -> Finished:
    """The failure of a run whose outcome PostgreSQL refuses to store."""
    _LOG.error("the effects of execution %s were refused: %s", finished.row.id, str(error).strip())
    document = {"code": _REJECTED, "message": "what this run did cannot be stored", "sqlstate": error.sqlstate}
    settlement = Settlement(
        finished.row.id,
        finished.row.token,
        "rejected",
        reason=_REJECTED,
        error=json.dumps(document).encode(),
        run_us=finished.settlement.run_us,
        version=finished.row.version,
    )
    reply = Reply(finished.row.id, "failed", error=document)
    return replace(finished, settlement=settlement, reply=reply if finished.row.is_sync else None)
