"""Settles finished runs: whatever waits, in one transaction, then the answers.

Worker threads never wait for a commit; one flusher serves the process. It never
sleeps to fill a batch. Replies go out after their commit. Runs that lost a key
they read to somebody else, here or elsewhere, go to the ``Rerunner``.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence

from picloud.database import Reconnecting, is_outage
from picloud.failpoints import failpoint
from picloud.outbox.run_rows import BegunRow, Settlement
from picloud.services.effects import MOST_KEYS, KeyId
from picloud_actors.board import Board
from picloud_actors.settling import Finished, Settler
from picloud_actors.workload import Workload

_LOG = logging.getLogger("picloud.worker")

MOST_ROWS = 256
MOST_BYTES = 4 * 1024 * 1024


class Flusher(threading.Thread):
    """One thread."""

    def __init__(
        self,
        workload: Workload,
        board: Board,
        database: Reconnecting,
        redis_url: str,
        rerun: Callable[[list[Finished]], None],
    ) -> None:
        super().__init__(name="flusher", daemon=True)
        self._workload = workload
        self._board = board
        self._settler = Settler(database, redis_url)
        self._rerun = rerun
        self._queue: deque[Finished] = deque()
        self._changed = threading.Condition()
        self._is_stopping = False

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
            self._settler.stop()
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
            size = keys = 0
            while self._queue and len(batch) < MOST_ROWS:
                settlement = self._queue[0].settlement
                size += settlement.size_bytes() + settlement.effects.size_bytes()
                keys += len(settlement.effects.keys())
                if batch and (size > MOST_BYTES or keys > MOST_KEYS):
                    break
                batch.append(self._queue.popleft())
            return batch

    def _flush(self, batch: list[Finished]) -> None:
        batch, losers = part_overtaken(batch)
        ids = [finished.row.id for finished in batch]
        self._board.flushing(ids)
        failpoint("worker.flushing")
        verdicts, batch = self._settler.settle(batch)
        failpoint("worker.flushed")
        self._board.flushing(())
        losers += [each for each in batch if (v := verdicts.get(each.row.id)) and v.verdict == "conflict"]
        lost = {each.row.id for each in losers}
        self._workload.settled(identifier for identifier in ids if identifier not in lost)
        self._settler.tell(batch, verdicts)
        if losers:
            self._rerun([each.having_lost(each.losses + 1) for each in losers])

    def close(self) -> None:
        """Close the connections; after the thread has ended."""
        self._settler.close()


def part_overtaken(batch: list[Finished]) -> tuple[list[Finished], list[Finished]]:
    """Those that can commit together, and those that read what one before them in the batch writes."""
    written: set[KeyId] = set()
    together: list[Finished] = []
    overtaken: list[Finished] = []
    for finished in batch:
        effects = finished.settlement.effects
        if written.isdisjoint(effects.reads):
            together.append(finished)
            if finished.settlement.outcome == "completed":
                written |= effects.writes.keys()
        else:
            overtaken.append(finished)
    return together, overtaken
