"""Runs that lost a key they read to somebody else run again, one after the other, and commit together.

Each reads through the writes of those before it, so a key that everybody wants
costs one more run each, not a race without end. Quick ones take the locks of the
keys they touched last time first, run, and commit under them: nobody can overtake
them. Locks are not held while slow scripts run; those try their luck a few times
before they lock too, each by itself, so that every run ends.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

import psycopg

from picloud.database import Reconnecting, backoff_seconds, is_outage
from picloud.failpoints import failpoint
from picloud.outbox.run_rows import BegunRow, lock_keys, settle
from picloud.services.effects import MOST_KEYS, KeyId
from picloud.services.kv import Overlay
from picloud_actors.settling import Finished, Settler, Verdicts, failed_with, rejected
from picloud_actors.workload import Workload

_LOG = logging.getLogger("picloud.worker")

#: Losses after which a slow run locks first, too.
PATIENCE = 3
#: A run that touches other keys whenever it runs cannot be helped by locks.
MOST_LOSSES = 20

#: How long runs that hold locks may take together, by what they took last time.
LOCKED_US = 50_000
#: What a chain without locks may hold, and how long it may grow.
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
        self._in_hand: list[Finished] = []
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

    def waiting(self) -> list[BegunRow]:
        """What is to be run again or is: its deadlines, which count from the begin, have to be put off."""
        with self._changed:
            return [each.row for each in (*self._in_hand, *self._queue)]

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
        """Runs that go together: those that lock have to be quick together, patient ones go alone."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._is_stopping)
            losers: list[Finished] = []
            keys: set[KeyId] = set()
            while self._queue and len(losers) < MOST_RUNS:
                following = self._queue[0]
                keys |= following.settlement.effects.keys()
                if losers and (
                    _goes_alone(following)
                    or _goes_alone(losers[0])
                    or _locks(following) != _locks(losers[0])
                    or len(keys) > MOST_KEYS
                    or (_locks(following) and _run_us([*losers, following]) > LOCKED_US)
                ):
                    break
                losers.append(self._queue.popleft())
            self._in_hand = losers
            return losers

    def _settle(self, losers: list[Finished]) -> None:
        if _locks(losers[0]):
            self._end(*self._run_locked(losers))
            return
        chain, left = self._run_chain(losers)
        self._put_first(left)
        try:
            verdicts = self._settler.through_outages(chain, is_chain=True)
        except psycopg.Error as error:
            if is_outage(error):
                raise
            self._part(chain)
            return
        self._end(verdicts, chain)

    def _run_chain(self, losers: list[Finished]) -> tuple[list[Finished], list[Finished]]:
        """Run one after the other, as many as one transaction should hold; what was run, and what was not."""
        overlay = Overlay()
        keys: set[KeyId] = set()
        chain: list[Finished] = []
        started = time.monotonic()
        for place, loser in enumerate(losers):
            finished = self._run_again(loser.row, overlay).having_lost(loser.losses)
            chain.append(finished)
            effects = finished.settlement.effects
            keys |= effects.keys()
            if finished.settlement.outcome == "completed":
                overlay.writes.update(effects.writes)
            if len(keys) >= MOST_KEYS or time.monotonic() - started > MOST_SECONDS:
                return chain, losers[place + 1 :]
        return chain, []

    def _run_locked(self, losers: list[Finished]) -> tuple[Verdicts, list[Finished]]:
        """Run while holding the keys that these touched last time, and commit under the same locks."""
        waits = backoff_seconds()
        keys: set[KeyId] = set()
        for each in losers:
            keys |= each.settlement.effects.keys()
        while True:
            try:
                connection = self._settler.database.get()
                with connection.transaction():
                    lock_keys(connection, sorted(keys))
                    failpoint("worker.locked")
                    chain, left = self._run_chain(losers)
                    settled = settle(connection, [each.settlement for each in chain], is_chain=True)
            except psycopg.Error as error:
                if is_outage(error):
                    self._settler.database.close()
                    if self._is_stopping:
                        raise
                    time.sleep(next(waits))
                    continue
                if len(losers) == 1:
                    return self._settler.settle([rejected(losers[0], error)])
                self._part(losers)
                return {}, []
            self._put_first(left)
            return {each.id: each for each in settled}, chain

    def _part(self, chain: list[Finished]) -> None:
        """One of them cannot be stored, and what the others read may be its writes: each by itself."""
        self._put_first([each.having_lost(max(each.losses, PATIENCE)) for each in chain])

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
        self._put_first([each.having_lost(each.losses + 1) for each in again if each.losses < MOST_LOSSES])

    def _put_first(self, runs: Sequence[Finished]) -> None:
        with self._changed:
            self._queue.extendleft(reversed(runs))

    def close(self) -> None:
        """Close the connections; after the thread has ended."""
        self._settler.close()


def _goes_alone(run: Finished) -> bool:
    return run.losses >= PATIENCE


def _locks(run: Finished) -> bool:
    """Whether it is quick, or has lost often enough, to hold its keys while it runs."""
    return _goes_alone(run) or _run_us([run]) <= LOCKED_US


def _run_us(runs: Sequence[Finished]) -> int:
    return sum(run.settlement.run_us or 0 for run in runs)
