"""Says that this process lives, while it holds work; hears which of its runs are no longer its own.

Idle, it says nothing: no write to PostgreSQL, no wake-up. A process that cannot
say it for ten seconds fences itself: it begins nothing more and stops its
scripts. The tokens would protect the data anyway; this spares the work.
"""

from __future__ import annotations

import logging
import threading
import time

import psycopg

from picloud.database import Reconnecting, is_outage
from picloud.outbox.run_rows import WorkerProcess, beat, extend_leases, register
from picloud_actors.executor import Executor
from picloud_actors.flusher import Flusher
from picloud_actors.rerunner import Rerunner
from picloud_actors.workload import STALE_SECONDS, Workload

_LOG = logging.getLogger("picloud.worker")

BEAT_SECONDS = 5.0
#: Without a beat for this long the process must assume that others take its rows (at 15 s).
FENCE_SECONDS = 10.0
_LOOK_SECONDS = 1.0
_IDLE_SECONDS = 3_600.0


class Heartbeat(threading.Thread):
    """One thread; owns the connection for beats."""

    def __init__(
        self,
        worker: WorkerProcess,
        workload: Workload,
        executor: Executor,
        flusher: Flusher,
        rerunner: Rerunner,
        database: Reconnecting,
    ) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self._worker = worker
        self._workload = workload
        self._executor = executor
        self._flusher = flusher
        self._rerunner = rerunner
        self._database = database
        self._is_stopping = threading.Event()
        self._beaten_at = time.monotonic()
        self._is_fenced = False

    def stop(self) -> None:
        """End; called once nothing is held any more."""
        self._is_stopping.set()

    def run(self) -> None:
        while not self._is_stopping.is_set():
            if self._workload.is_idle():
                self._unfence()
                self._workload.wait_until_held(_IDLE_SECONDS)
                self._beaten_at = time.monotonic()  # begin itself wrote the beat
                if self._is_stopping.is_set():
                    return
            self._is_stopping.wait(_LOOK_SECONDS)
            self._look()

    def _look(self) -> None:
        """Once a second while something is held."""
        stale = self._workload.take_back_ready(older_than_seconds=STALE_SECONDS)
        self._flusher.hand_back(stale)
        now = time.monotonic()
        if now - self._beaten_at >= BEAT_SECONDS:
            self._beat()
        if now - self._beaten_at >= FENCE_SECONDS and not self._is_fenced:
            _LOG.warning(
                "no heartbeat reached PostgreSQL for %.0f s: this process stops its work", now - self._beaten_at
            )
            self._is_fenced = True
            self._workload.fence(True)
            self._executor.abort()

    def _beat(self) -> None:
        held = self._workload.held()
        try:
            answer = self._database.run(
                lambda connection: beat(connection, self._worker.id, held, self._workload.speed.run_ms)
            )
            if again := self._rerunner.waiting():
                self._database.run(lambda connection: extend_leases(connection, again))
            if not answer.is_known:
                self._database.run(lambda connection: register(connection, self._worker))
        except psycopg.Error as error:
            if not is_outage(error):
                _LOG.exception("a heartbeat failed")
            return
        self._beaten_at = time.monotonic()
        self._executor.cancel(frozenset(pair for pair in held if pair[0] in answer.lost))
        if reason := answer.standing.reason_to_stand_aside:
            self._workload.stand_aside(reason)
            self._flusher.hand_back(self._workload.take_back_ready())
        self._unfence()

    def _unfence(self) -> None:
        if self._is_fenced:
            self._is_fenced = False
            self._executor.resume()
            self._workload.fence(False)
