"""The actor: runs the scripts of one assignment. It never raises; every run is settled in PostgreSQL."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import UUID

from psycopg_pool import ConnectionPool

from picloud.broker import Reply
from picloud.engine import Run, RunFailure, RunResult, ScriptRunner
from picloud.engine.runner import new_cancel_token
from picloud.failpoints import failpoint
from picloud.logs import about_lazily
from picloud.observability.spans import SPANS
from picloud.outbox.run_rows import BegunRow, Settlement, read_payload
from picloud.services.desk import Desk, RunOf, RunServices
from picloud.services.dry_run import DRY_RUN
from picloud.services.effects import NO_EFFECTS, Effects
from picloud.services.kv import Overlay
from picloud.services.listeners import read_listeners
from picloud.services.scrub import Scrubber
from picloud_actors.board import Board
from picloud_actors.dry_runs import DryRun
from picloud_actors.flusher import Flusher
from picloud_actors.postman import Postman
from picloud_actors.scripts import ScriptSources
from picloud_actors.settling import Finished
from picloud_actors.tracing import TracedCalls, ids_of, trace_of, traceparent_of
from picloud_actors.workload import Assignment, Workload

_LOG = logging.getLogger("picloud.worker")

_DISABLED = RunFailure("principal_disabled", "the principal this runs as is disabled", retryable=False)
_TOO_DEEP = RunFailure(
    "depth_exceeded", "more hops from cause to effect than PICLOUD_MAX_TRIGGER_DEPTH allows", retryable=False
)
_NO_SCRIPT = RunFailure("script_not_found", "this version of the script no longer exists", retryable=False)
_NO_SECRETS = Scrubber(())
_NO_PAYLOAD = RunFailure("internal_error", "the payload of this execution is missing", retryable=False)


class Executor:
    """Shared by all worker threads of the process."""

    def __init__(
        self,
        *,
        workload: Workload,
        board: Board,
        sources: ScriptSources,
        runner: ScriptRunner,
        flusher: Flusher,
        desk: Desk,
        postman: Postman,
        reads: ConnectionPool[Any],
        max_trigger_depth: int,
    ) -> None:
        self._workload = workload
        self._board = board
        self._sources = sources
        self._runner = runner
        self._flusher = flusher
        self._desk = replace(desk, call=TracedCalls(desk.call))
        self._postman = postman
        self._reads = reads
        self._max_trigger_depth = max_trigger_depth
        self._threads = threading.local()
        self._thread_count = 0
        self._lock = threading.Lock()
        self._cancels: dict[tuple[UUID, int], Any] = {}
        self._cancelled: frozenset[tuple[UUID, int]] = frozenset()
        self._is_aborting = False

    def execute(self, key: str) -> None:
        """The actor's body: run the assignment this thread was handed, and what follows it."""
        if not key:
            return
        identifier = UUID(hex=key)
        while following := self._run_assignment(identifier):
            identifier = following.key

    def _run_assignment(self, key: UUID) -> Assignment | None:
        try:
            while row := self._workload.next_row(key):
                self._flusher.put(self._finish(row))
        except BaseException:
            self._workload.done(key, goes_on=False)
            raise
        return self._workload.done(key)

    def run_again(self, row: BegunRow, overlay: Overlay | None) -> Finished:
        """Run a row that was overtaken; the flusher does not get it.

        Args:
            overlay: what runs before it in a chain have written.
        """
        return self._finish(row, overlay)

    def _finish(self, row: BegunRow, overlay: Overlay | None = None) -> Finished:
        with about_lazily(lambda: ids_of(row)):
            if not SPANS.is_on:
                return self._end_of(row, overlay)
            started_ns = time.time_ns()
            finished = self._end_of(row, overlay)
            return replace(finished, times=(started_ns, time.time_ns()))

    def _end_of(self, row: BegunRow, overlay: Overlay | None) -> Finished:
        if self._is_aborting and not row.is_sync:
            return Finished(row, Settlement(row.id, row.token, "handed_back"))
        if row.is_principal_disabled:
            return _finished(row, RunResult(failure=_DISABLED))
        if row.trigger_depth > self._max_trigger_depth:
            _LOG.warning("execution %s is %d hops deep and was not run", row.id, row.trigger_depth)
            return _finished(row, RunResult(failure=_TOO_DEEP))
        if row.source == DRY_RUN:
            # Nothing leaves a dry run but its report: no effects are passed on here.
            return _finished(row, self._guarded(row, lambda: self._run_dry(row)))
        services = self._desk.for_run(_identity_of(row), overlay)
        result = self._guarded(row, lambda: self._run(row, services))
        if result.failure and result.failure.code == "cancelled" and self._is_aborting and not row.is_sync:
            # Stopped by us, not by its author: another process runs it from the start.
            return Finished(row, Settlement(row.id, row.token, "handed_back"))
        return _finished(row, result, services.effects(completed=result.failure is None), Scrubber(services.secrets))

    def _guarded(self, row: BegunRow, run: Callable[[], RunResult]) -> RunResult:
        """The edge of the thread: one run's surprise must not take the worker with it."""
        try:
            return run()
        except Exception as error:  # noqa: BLE001  # as said above
            _LOG.exception("execution %s failed inside PiCloud", row.id)
            return RunResult(
                failure=RunFailure("internal_error", f"{type(error).__name__} inside PiCloud; see the worker's log")
            )

    def _run_dry(self, row: BegunRow) -> RunResult:
        payload = self._payload(row)
        if payload is None:
            return RunResult(failure=_NO_PAYLOAD)
        trial = DryRun(row, *payload, self._desk, _identity_of(row))
        result = RunResult("unit") if trial.is_mail else self._run(trial.row, trial.services, trial.trigger)
        return trial.report(result, lambda app_id: read_listeners(self._reads, app_id))

    def _run(self, row: BegunRow, services: RunServices, trigger: str | None = None) -> RunResult:
        """Run a row.

        Args:
            trigger: what fired it, where the row itself does not say.
        """
        payload = self._payload(row)
        if payload is None:
            return RunResult(failure=_NO_PAYLOAD)
        if row.source == "send_email":
            return self._deliver(row, payload[0])
        version = (row.script_id, row.version)
        found = self._sources.get(version)
        if found is None:
            return RunResult(failure=_NO_SCRIPT)
        source, limits = found
        if not self._runner.knows(version):
            self._runner.prepare(version, row.script_name, source)
        cancel = self._started(row)
        try:
            failpoint("worker.running", row.id)
            run = _run_of(row, payload[0], payload[1], trigger or self._sources.label(row))
            return self._runner.run(version, run, limits, cancel, services)
        finally:
            self._ended(row)

    def _deliver(self, row: BegunRow, mail: bytes) -> RunResult:
        self._started(row)
        try:
            return self._postman.deliver(row, mail)
        finally:
            self._ended(row)

    def _payload(self, row: BegunRow) -> tuple[bytes, bytes | None] | None:
        if row.event is not None:
            return row.event, row.body
        with self._reads.connection() as connection:
            return read_payload(connection, row)

    def _started(self, row: BegunRow) -> Any:
        cancel = new_cancel_token()
        with self._lock:
            self._cancels[row.id, row.token] = cancel
            if (row.id, row.token) in self._cancelled:
                cancel.cancel()
        self._board.thread_runs(self._thread_number(), row.id, row.timeout_ms)
        return cancel

    def _ended(self, row: BegunRow) -> None:
        self._board.thread_is_idle(self._thread_number())
        with self._lock:
            self._cancels.pop((row.id, row.token), None)

    def _thread_number(self) -> int:
        number: int | None = getattr(self._threads, "number", None)
        if number is None:
            with self._lock:
                number = self._threads.number = self._thread_count
                self._thread_count += 1
        return number

    def cancel(self, pairs: frozenset[tuple[UUID, int]]) -> None:
        """Stop runs that are no longer ours: cancelled, or taken over.

        By id and token: a run that failed a moment ago may be begun here again under a new one.

        Args:
            pairs: all that the last heartbeat heard of; what it heard before is forgotten.
        """
        with self._lock:
            self._cancelled = pairs
            for pair in pairs:
                if cancel := self._cancels.get(pair):
                    cancel.cancel()

    def abort(self) -> None:
        """Stop everything that runs; async rows go back unspent."""
        with self._lock:
            self._is_aborting = True
            for cancel in self._cancels.values():
                cancel.cancel()

    def resume(self) -> None:
        """Run again after an abort that turned out not to be the end."""
        with self._lock:
            self._is_aborting = False


def _identity_of(row: BegunRow) -> RunOf:
    return RunOf(
        execution_id=row.id,
        root_execution_id=row.root_execution_id,
        trigger_depth=row.trigger_depth,
        app_id=row.app_id,
        app_revision=row.app_revision,
        script_id=row.script_id,
        principal_id=row.principal_id,
        trace=lambda: trace_of(row).context,
    )


def _run_of(row: BegunRow, event: bytes, body: bytes | None, trigger: str | None) -> Run:
    return Run(
        execution_id=row.id,
        root_execution_id=row.root_execution_id,
        app=row.app_name,
        script=row.script_name,
        version=row.version,
        source=row.source,
        trigger=trigger,
        principal=row.principal_name,
        trigger_depth=row.trigger_depth,
        attempt=row.attempt,
        is_sync=row.is_sync,
        event=event,
        body=body,
        traceparent=traceparent_of(row),
    )


def _finished(
    row: BegunRow, result: RunResult, effects: Effects = NO_EFFECTS, scrubber: Scrubber = _NO_SECRETS
) -> Finished:
    """What has to be written, and what the caller of a sync run is told."""
    if result.failure is None:
        settlement = Settlement(
            row.id,
            row.token,
            "completed",
            result_kind=result.kind,
            result=result.data,
            http_status=result.http_status,
            http_headers=json.dumps(result.headers).encode() if result.headers else None,
            logs=scrubber.log(result.logs),
            run_us=result.run_us,
            operations=result.operations,
            version=row.version,
            is_handler=row.is_handler,
            effects=effects,
        )
        reply = Reply(row.id, "completed", result.kind, result.http_status, result.headers, result.data)
        return Finished(row, settlement, reply if row.is_sync else None)
    return _failed(row, result, result.failure, effects, scrubber)


def _failed(row: BegunRow, result: RunResult, failure: RunFailure, effects: Effects, scrubber: Scrubber) -> Finished:
    error = scrubber.error(failure.to_json())
    if failure.code == "depth_exceeded":
        outcome, reason = "depth_exceeded", None
    elif failure.retryable:
        outcome, reason = "failed", None
    else:
        outcome, reason = "rejected", failure.code if failure.code == "principal_disabled" else "not_retryable"
    delay_ms = failure.retry_after_ms if failure.retry_after_ms is not None else row.retry.delay_ms(row.attempt)
    settlement = Settlement(
        row.id,
        row.token,
        outcome,  # type: ignore[arg-type]  # one of three literals, chosen above
        reason=reason,
        error=error,
        logs=scrubber.log(result.logs),
        run_us=result.run_us,
        operations=result.operations,
        delay_ms=delay_ms,
        version=row.version,
        is_handler=row.is_handler,
        effects=effects,
    )
    reply = Reply(row.id, "failed", error=json.loads(error))
    return Finished(row, settlement, reply if row.is_sync else None)
