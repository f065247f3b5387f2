"""Runs that lost a key they read to somebody else run again, one after the other, and commit together.

Each reads through the writes of those before it, so a key that everybody wants
costs one more run each, not a race without end. A run that keeps losing takes the
locks of the keys it touched last time first, and commits under them: then nobody
can overtake it, and it must end.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace

import psycopg

from picloud.database import Reconnecting, backoff_seconds, is_outage
from picloud.failpoints import failpoint
from picloud.outbox.run_rows import BegunRow, lock_keys, settle
from picloud.services.effects import MOST_KEYS, KeyId
from picloud.services.kv import Overlay
from picloud_actors.settling import Finished, Settler, Verdicts, failed_with, rejected
from picloud_actors.workload import Workload

_LOG = logging.getLogger("picloud.worker")

#: Losses after which a run locks first.
PATIENCE = 3
#: A run that touches other keys whenever it runs cannot be helped by locks.
MOST_LOSSES = 20

#: What one chain may hold: its locks are held together, and those behind it wait.
MOST_RUNS = 256
MOST_SECONDS = 0.25


class Rerunner(threading.Thread):
    """One thread; runs scripts itself, so it needs their stack."""

    def __init__(
        self,
        workload: Workload,
        database: Reconnecting,
        redis_url: str,
        run_again: Callable[[BegunRow, Overlay | None], Finished],
    ) -> None:
        super().__init__(name="rerunner", daemon=True)
        self._workload = workload
        self._settler = Settler(database, redis_url)
        self._run_again = run_again
        self._queue: deque[Finished] = deque()
        self._changed = threading.Condition()
        self._is_stopping = False

    def put(self, losers: Sequence[Finished]) -> None:
        """Hand over runs to be run again; returns at once."""
        with self._changed:
            self._queue.extend(losers)
            self._changed.notify()

    def stop(self) -> None:
        """End once everything handed over is settled."""
        with self._changed:
            self._is_stopping = True
            self._settler.stop()
            self._changed.notify()

    def run(self) -> None:
        while losers := self._next():
            try:
                self._settle(losers)
            except Exception as error:  # noqa: BLE001  # the edge of the thread
                if self._is_stopping and is_outage(error):
                    _LOG.warning("%d runs could not be settled: %s", len(losers), str(error).strip())
                    return
                _LOG.exception("running %d runs again failed", len(losers))
                self._workload.settled(each.row.id for each in losers)

    def _next(self) -> list[Finished]:
        """A run that locks first goes alone; the others form a chain."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._is_stopping)
            losers: list[Finished] = []
            while self._queue and len(losers) < MOST_RUNS:
                if self._queue[0].losses >= PATIENCE and losers:
                    break
                losers.append(self._queue.popleft())
                if losers[0].losses >= PATIENCE:
                    break
            return losers

    def _settle(self, losers: list[Finished]) -> None:
        if losers[0].losses >= PATIENCE:
            self._end(*self._run_locked(losers[0]))
            return
        chain, left = self._run_chain(losers)
        self._put_first(left)
        try:
            verdicts = self._settler.through_outages(chain, is_chain=True)
        except psycopg.Error as error:
            if is_outage(error):
                raise
            # One of them cannot be stored, and what the others read may be its writes: each by itself.
            self._put_first([replace(each, losses=PATIENCE) for each in chain])
            return
        self._end(verdicts, chain)

    def _run_chain(self, losers: list[Finished]) -> tuple[list[Finished], list[Finished]]:
        """Run one after the other, as many as one transaction should hold."""
        overlay = Overlay()
        keys: set[KeyId] = set()
        chain: list[Finished] = []
        started = time.monotonic()
        for place, loser in enumerate(losers):
            finished = replace(self._run_again(loser.row, overlay), losses=loser.losses)
            chain.append(finished)
            effects = finished.settlement.effects
            keys |= effects.keys()
            if finished.settlement.outcome == "completed":
                overlay.writes.update(effects.writes)
            if len(keys) >= MOST_KEYS or time.monotonic() - started > MOST_SECONDS:
                return chain, losers[place + 1 :]
        return chain, []

    def _run_locked(self, loser: Finished) -> tuple[Verdicts, list[Finished]]:
        """Run while holding the keys that it touched last time, and commit under the same locks."""
        waits = backoff_seconds()
        while True:
            keys = loser.settlement.effects.keys()
            try:
                connection = self._settler.database.get()
                with connection.transaction():
                    lock_keys(connection, sorted(keys))
                    failpoint("worker.locked")
                    finished = replace(self._run_again(loser.row, None), losses=loser.losses)
                    settled = {each.id: each for each in settle(connection, [finished.settlement])}
                return settled, [finished]
            except psycopg.Error as error:
                if not is_outage(error):
                    return self._settler.settle([rejected(loser, error)])
                self._settler.database.close()
                if self._is_stopping:
                    raise
                time.sleep(next(waits))

    def _end(self, verdicts: Verdicts, batch: list[Finished]) -> None:
        """Answer those that are settled, put the others back in front."""
        again = [each for each in batch if (v := verdicts.get(each.row.id)) and v.verdict == "conflict"]
        lost = {each.row.id for each in again}
        self._workload.settled(each.row.id for each in batch if each.row.id not in lost)
        self._settler.tell(batch, verdicts)
        hopeless = [each for each in again if each.losses >= MOST_LOSSES]
        for each in hopeless:
            failure = failed_with(each, "conflict", "others changed what this run reads whenever it ran")
            self._end(*self._settler.settle([failure]))
        self._put_first([replace(each, losses=each.losses + 1) for each in again if each.losses < MOST_LOSSES])

    def _put_first(self, runs: Sequence[Finished]) -> None:
        with self._changed:
            self._queue.extendleft(reversed(runs))

    def close(self) -> None:
        """Close the connections; after the thread has ended."""
        self._settler.close()
