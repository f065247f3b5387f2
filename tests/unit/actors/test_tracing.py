from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from picloud.ids import new_id
from picloud.observability.tally import TALLY
from picloud.observability.traceparent import TraceContext
from picloud.outbox.run_rows import BegunRow, Settlement, Verdict
from picloud.services.desk import RunOf
from picloud.services.outbound import OutboundRequest, OutboundResponse
from picloud.services.outbound.errors import ConnectionFailedError
from picloud_actors.tracing import TracedCalls, count_runs, outcome_of, trace_of, traceparent_of

BROUGHT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"


def begun(**changes: Any) -> BegunRow:
    identifier = new_id()
    values: dict[str, Any] = dict.fromkeys(BegunRow.__struct_fields__)
    values |= {"id": identifier, "root_execution_id": identifier, "attempt": 1, "source": "http"}
    return BegunRow(**(values | {"app_name": "shop", "script_name": "s"} | changes))


@pytest.mark.parametrize("attempt", [1, 2, 7])
@pytest.mark.parametrize("brought", [None, BROUGHT])
def test_a_script_is_told_the_span_its_run_has(attempt: int, brought: str | None) -> None:
    row = begun(attempt=attempt, traceparent=brought, root_execution_id=new_id(), parent_execution_id=new_id())
    assert traceparent_of(row) == trace_of(row).context.header


@pytest.mark.parametrize(
    ("outcome", "verdict", "counted"),
    [
        ("completed", "done", "completed"),
        ("completed", "already", "completed"),
        ("completed", "conflict", "conflict"),
        ("completed", "lost", "lost"),
        ("failed", "done", "failed"),
        ("rejected", "done", "failed"),
        ("failed", "retried", "retried"),
        ("rejected", "dead", "dead"),
        ("depth_exceeded", "done", "depth_exceeded"),
        ("handed_back", "handed_back", "handed_back"),
    ],
)
def test_how_a_run_ended_is_counted_in_the_words_of_the_books(outcome: Any, verdict: Verdict, counted: str) -> None:
    assert outcome_of(Settlement(new_id(), 1, outcome), verdict) == counted


def test_runs_are_counted_by_app_source_and_outcome() -> None:
    TALLY.take()
    quick = Settlement(new_id(), 1, "completed", run_us=1_000)
    runs: list[tuple[BegunRow, Settlement, Verdict]] = [(begun(), quick, "done"), (begun(), quick, "conflict")]
    count_runs([*runs, runs[0]])
    counts = {tuple(json.loads(field)): value for field, value in TALLY.take().items()}
    assert counts["picloud_runs_total", "", "shop", "http", "completed"] == 2
    assert counts["picloud_runs_total", "", "shop", "http", "conflict"] == 1
    assert counts["picloud_run_seconds", "sum", "http"] == pytest.approx(0.003)


def traced(answer: Callable[[], OutboundResponse]) -> tuple[TracedCalls, list[OutboundRequest]]:
    sent: list[OutboundRequest] = []

    def call(_run: RunOf, _ordinal: int, request: OutboundRequest) -> OutboundResponse:
        sent.append(request)
        return answer()

    return TracedCalls(call), sent


def run_of(context: TraceContext) -> RunOf:
    return RunOf(UUID(int=1), UUID(int=1), 0, 1, 1, 1, 1, trace=lambda: context)


def test_a_call_carries_the_runs_span_unless_its_script_names_one() -> None:
    calls, sent = traced(lambda: OutboundResponse(204, (), b"", "http://x"))
    context = TraceContext("1" * 32, "2" * 16)
    calls(run_of(context), 1, OutboundRequest("GET", "http://x"))
    calls(run_of(context), 2, OutboundRequest("GET", "http://x", (("TraceParent", "own"),)))
    assert [request.headers for request in sent] == [(("traceparent", context.header),), (("TraceParent", "own"),)]


def test_calls_are_counted_by_the_class_of_their_answer() -> None:
    TALLY.take()
    calls, _ = traced(lambda: OutboundResponse(404, (), b"", "http://x"))
    calls(run_of(TraceContext("1" * 32, "2" * 16)), 1, OutboundRequest("GET", "http://x"))

    def fail() -> OutboundResponse:
        raise ConnectionFailedError("nobody listens")

    failing, _ = traced(fail)
    with pytest.raises(ConnectionFailedError):
        failing(run_of(TraceContext("1" * 32, "2" * 16)), 1, OutboundRequest("GET", "http://x"))
    assert TALLY.take() == {
        '["picloud_outbound_calls_total","","4xx"]': 1,
        '["picloud_outbound_calls_total","","error"]': 1,
    }
