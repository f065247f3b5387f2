"""What a worker tells of its runs: whose a log line is, the trace of each, its span, and what is counted."""

from __future__ import annotations

import secrets
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace
from urllib.parse import urlsplit

from picloud.observability.metrics import CALLS, RUN_SECONDS, RUNS, class_of
from picloud.observability.spans import SPANS
from picloud.observability.tally import TALLY
from picloud.observability.traceparent import HEADER, RunTrace, trace_of_run
from picloud.outbox.run_rows import BegunRow, Settlement, Verdict
from picloud.services.desk import RunOf
from picloud.services.outbound import OutboundError, OutboundRequest, OutboundResponse

Call = Callable[[RunOf, int, OutboundRequest], OutboundResponse]


def trace_of(row: BegunRow) -> RunTrace:
    """Where a run is in its trace."""
    trace = trace_of_run(
        row.id, row.root_execution_id, parent=row.parent_execution_id, brought=row.traceparent, attempt=row.attempt
    )
    if row.traceparent is None and SPANS.is_on and not SPANS.samples(trace.context.trace_id, name_of(row)):
        return trace._replace(context=trace.context._replace(flags=0))
    return trace


def traceparent_of(row: BegunRow) -> str:
    """What a script is told as ``ctx.traceparent``: ``trace_of(row).context.header``.

    PERF: every run has it, few a trace that was brought; written out it takes 2.4 us instead of 6.
    """
    if row.traceparent is None and row.attempt == 1 and not SPANS.is_on:
        return f"00-{row.root_execution_id.hex}-{row.id.hex[16:]}-01"
    return trace_of(row).context.header


def name_of(row: BegunRow) -> str:
    """The name of a run's span."""
    return f"{row.app_name}/{row.script_name}"


def ids_of(row: BegunRow) -> dict[str, object]:
    """What a log line about a run carries."""
    return {
        "app": row.app_name,
        "script": row.script_name,
        "execution_id": row.id,
        "root_execution_id": row.root_execution_id,
        "attempt": row.attempt,
    }


def outcome_of(settlement: Settlement, verdict: Verdict) -> str:
    """How a run ended, in the words of ``picloud_runs_total``."""
    if verdict not in ("done", "already"):
        return verdict
    if settlement.outcome in ("completed", "depth_exceeded"):
        return settlement.outcome
    return "failed"


def count_runs(runs: Iterable[tuple[BegunRow, Settlement, Verdict]]) -> None:
    """Count runs that are settled, or have to be made again.

    PERF: batch by batch, 2 us of each instead of 8.
    """
    ends: Counter[tuple[str, str, str]] = Counter()
    seconds: defaultdict[str, list[float]] = defaultdict(list)
    for row, settlement, verdict in runs:
        ends[row.app_name, row.source, outcome_of(settlement, verdict)] += 1
        if settlement.run_us is not None:
            seconds[row.source].append(settlement.run_us / 1_000_000)
    for (app, source, outcome), count in ends.items():
        TALLY.add(RUNS, app, source, outcome, amount=count)
    for source, measured in seconds.items():
        TALLY.observe(RUN_SECONDS, measured, source)


def record_run(row: BegunRow, settlement: Settlement, verdict: Verdict, times: tuple[int, int]) -> None:
    """The span of a run that is settled: what was run and discarded has none, or it would show twice."""
    if verdict in ("conflict", "lost", "handed_back"):
        return
    trace = trace_of(row)
    outcome = outcome_of(settlement, verdict)
    SPANS.record(
        name_of(row),
        "consumer",
        trace.context,
        trace.parent,
        started_ns=times[0],
        ended_ns=times[1],
        attributes={
            "picloud.execution_id": str(row.id),
            "picloud.root_execution_id": str(row.root_execution_id),
            "picloud.app": row.app_name,
            "picloud.script": row.script_name,
            "picloud.source": row.source,
            "picloud.attempt": row.attempt,
            "picloud.outcome": outcome,
        },
        error=None if outcome == "completed" else outcome,
    )


class TracedCalls:
    """Makes the HTTP calls of scripts part of their traces; called as ``Desk.call`` is."""

    def __init__(self, call: Call) -> None:
        self._call = call

    def __call__(self, run: RunOf, ordinal: int, request: OutboundRequest) -> OutboundResponse:
        started_ns = time.time_ns()
        above = run.trace() if run.trace is not None else None
        own = above.below(secrets.token_hex(8)) if above is not None and SPANS.is_on else above
        if own is not None and not any(name.lower() == HEADER for name, _ in request.headers):
            request = replace(request, headers=(*request.headers, (HEADER, own.header)))
        status, error = "error", None
        attributes: dict[str, str | int | bool] = {}
        try:
            response = self._call(run, ordinal, request)
            status = class_of(response.status)
            attributes["http.response.status_code"] = response.status
            return response
        except OutboundError as failure:
            error = attributes["error.type"] = failure.code
            raise
        finally:
            TALLY.add(CALLS, status)
            if SPANS.is_on and own is not None:
                SPANS.record(
                    request.method,
                    "client",
                    own,
                    above,
                    started_ns=started_ns,
                    ended_ns=time.time_ns(),
                    attributes=attributes | _described(request),
                    error=error,
                )


def _described(request: OutboundRequest) -> dict[str, str | int | bool]:
    """Where a call went; not its whole URL, which may hold secrets."""
    described: dict[str, str | int | bool] = {"http.request.method": request.method}
    try:
        described["server.address"] = urlsplit(request.url).hostname or ""
    except ValueError:
        pass  # the call has failed for it
    return described
