"""One worker process: puts the parts together, runs until told to stop, drains."""

from __future__ import annotations

import gc
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import dramatiq
import psycopg
from dramatiq.worker import Worker
from psycopg import Connection
from psycopg_pool import ConnectionPool

from picloud import __version__, broker
from picloud.database import Reconnecting, backoff_seconds, connection_options
from picloud.engine import ScriptRunner
from picloud.engine.limits import stack_bytes
from picloud.failpoints import arm_from_environment
from picloud.local.master_key import MasterKeyFile
from picloud.local.master_key_holders import leave_master_keys, tell_master_keys
from picloud.logs import identify
from picloud.observability.reporting import Reporter
from picloud.observability.spans import SPANS
from picloud.observability.tally import TALLY
from picloud.outbox.run_rows import WorkerProcess, forget, register
from picloud.settings import Settings
from picloud_actors.board import Board
from picloud_actors.consumer import ExecutionBroker
from picloud_actors.executor import Executor
from picloud_actors.fetcher import Fetcher
from picloud_actors.flusher import Flusher
from picloud_actors.heartbeat import Heartbeat
from picloud_actors.postman import Postman
from picloud_actors.rerunner import Rerunner
from picloud_actors.scripts import ScriptSources
from picloud_actors.services import make_desk
from picloud_actors.settling import Finished
from picloud_actors.workload import Workload

_LOG = logging.getLogger("picloud.worker")

#: How long running scripts may finish after SIGTERM before they are stopped.
DRAIN_SECONDS = 20.0
#: And how long what was stopped may take to be settled.
_ABORT_SECONDS = 5.0
#: Dramatiq's own polling interval; only a safety net, stopping wakes the threads.
_THREAD_TIMEOUT_MS = 60_000


class WorkerRuntime:
    """The parts of one worker process and the order in which they start and stop."""

    def __init__(self, settings: Settings, worker: WorkerProcess, board_path: Path) -> None:
        self._settings = settings
        self._worker = worker
        self._workload = Workload(worker.threads, worker.takes_sync)
        # The rerunner runs scripts too: one more thread that can be to blame.
        self._board = Board(board_path, worker.id, worker.threads + 1)
        sources = ScriptSources()
        self._flusher = Flusher(
            self._workload,
            self._board,
            self._database("worker-flush"),
            settings.redis_url,
            rerun=self._run_again,
        )
        self._reads: ConnectionPool[Any] = ConnectionPool(
            settings.database_url,
            min_size=0,
            max_size=worker.threads + 1,
            max_idle=30.0,
            open=False,
            kwargs=connection_options("worker-read") | {"autocommit": True},
        )
        self._master_keys = MasterKeyFile(settings)
        self._executor = Executor(
            workload=self._workload,
            board=self._board,
            sources=sources,
            runner=ScriptRunner(settings.sandbox),
            flusher=self._flusher,
            desk=make_desk(settings, self._reads, self._master_keys),
            postman=Postman(settings, self._master_keys),
            reads=self._reads,
            max_trigger_depth=settings.max_trigger_depth,
        )
        self._rerunner = Rerunner(
            self._workload, self._database("worker-rerun"), settings.redis_url, self._executor.run_again
        )
        self._fetcher = Fetcher(
            worker, self._workload, self._board, sources, self._database("worker"), settings.redis_url
        )
        self._workload.on_room = self._fetcher.kick
        self._heartbeat = Heartbeat(
            worker, self._workload, self._executor, self._flusher, self._rerunner, self._database("worker-beat")
        )
        transport = ExecutionBroker(settings.redis_url, self._workload)
        declare = dramatiq.actor(broker=transport, queue_name=broker.QUEUE_NAME, actor_name=broker.ACTOR_NAME)
        declare(self._executor.execute)
        self._transport = Worker(transport, worker_timeout=_THREAD_TIMEOUT_MS, worker_threads=worker.threads)

    def _run_again(self, losers: list[Finished]) -> None:
        self._rerunner.put(losers)

    def _database(self, name: str) -> Reconnecting:
        return Reconnecting(self._settings.database_url, name=name)

    def start(self, should_stop: Callable[[], bool]) -> None:
        """Register, then begin to work; waits for PostgreSQL as long as it takes."""
        self._register(should_stop)
        self._reads.open()
        self._flusher.start()
        # Scripts recurse natively, on drop and comparison too: their threads need the stack
        # that their memory budget implies. It is reserved, not used.
        previous = threading.stack_size(stack_bytes(self._settings.sandbox))
        self._transport.start()
        self._rerunner.start()
        threading.stack_size(previous)
        self._heartbeat.start()
        self._fetcher.start()

    def _register(self, should_stop: Callable[[], bool]) -> None:
        database = self._database("worker")
        for wait in backoff_seconds():
            if should_stop():
                return
            try:
                database.run(self._announce)
                break
            except psycopg.Error as error:
                _LOG.warning("waiting for PostgreSQL: %s", str(error).strip())
                threading.Event().wait(wait)
        database.close()
        self._wake_relay()

    def _announce(self, connection: Connection[Any]) -> None:
        register(connection, self._worker)
        tell_master_keys(connection, self._worker, self._settings, self._master_keys)

    def _sign_off(self, connection: Connection[Any]) -> None:
        forget(connection, self._worker.id)
        leave_master_keys(connection, self._worker.id)

    def _wake_relay(self) -> None:
        """There is room now: rows may have waited for a worker."""
        client = broker.connect(self._settings.redis_url, name="worker")
        try:
            client.register_script(broker.script("wake"))(keys=[broker.WAKE_LIST])
        except broker.OUTAGES:
            _LOG.warning("Redis does not answer yet")
        finally:
            client.close()

    def stop(self) -> None:
        """Hand back what has not started, let running scripts finish, settle, leave nothing behind."""
        self._fetcher.stop()
        self._fetcher.join()
        self._flusher.hand_back(self._workload.take_back_ready())
        if not self._workload.wait_until_idle(DRAIN_SECONDS):
            _LOG.warning("stopping scripts that still run after %.0f s", DRAIN_SECONDS)
            self._executor.abort()
            self._workload.wait_until_idle(_ABORT_SECONDS)
        self._stop_threads()
        self._flusher.stop()
        self._flusher.join()
        self._rerunner.stop()
        self._rerunner.join()
        self._heartbeat.stop()
        self._say_goodbye()
        self._fetcher.close()
        self._flusher.close()
        self._rerunner.close()
        self._reads.close()
        if self._workload.is_idle():
            self._board.remove()
        else:
            # Left for the parent, who hands back what is still held. Scripts that would not stop
            # killed nobody: they are not charged.
            self._board.nothing_runs()

    def _stop_threads(self) -> None:
        for thread in self._transport.workers:
            thread.stop()
        self._workload.release()
        self._transport.stop(timeout=2_000)

    def _say_goodbye(self) -> None:
        if not self._workload.is_idle():
            return
        database = self._database("worker")
        try:
            database.run(self._sign_off)
        except psycopg.Error as error:
            _LOG.warning("could not sign off: %s", str(error).strip())
        finally:
            database.close()


def run_process(settings: Settings, worker_id: UUID, parent_id: UUID, board_path: Path, takes_sync: bool) -> int:
    """The life of one worker process, from fork to exit."""
    arm_from_environment()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stop.set())
    worker = WorkerProcess(
        id=worker_id,
        host=socket.gethostname(),
        pid=os.getpid(),
        parent_id=parent_id,
        threads=settings.worker_threads,
        takes_sync=takes_sync,
        release=__version__,
    )
    identify(worker_id=worker_id)
    TALLY.take()  # what the parent had counted when it forked is the parent's to report
    SPANS.start("worker")
    reporter = Reporter(settings.redis_url)
    reporter.start()
    runtime = WorkerRuntime(settings, worker, board_path)
    runtime.start(stop.is_set)
    # What was built at start stays for good: spare every collection the walk over it. And what a run makes is gone
    # with it, without cycles: the default threshold would look for some every few runs.
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    stop.wait()
    runtime.stop()
    reporter.stop()
    SPANS.stop()
    return 0
