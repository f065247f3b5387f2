"""A request's trace through real processes: kept with rows, seen by scripts, sent to a collector, named in logs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from picloud.local.master_key import ensure_master_key
from picloud.observability.traceparent import span_of_request, span_of_run
from tests.faults.clients import post
from tests.faults.cluster import Cluster
from tests.faults.collector import Span, collector
from tests.faults.other_machine import other_machine
from tests.faults.processes import Process

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE_ID}-{CALLER}-01"

#: Each run causes another one, until the chain is too deep.
CAUSES_ANOTHER = "functions::invoke(ctx.script, 1); ctx.traceparent"


def chain(cluster: Cluster, root: str, length: int) -> list[tuple[UUID, str, str]]:
    """Executions of a chain with their status and result, the first cause first."""
    query = (
        "select id, status, convert_from(coalesce(result, ''), 'UTF8') from executions where root_execution_id = %s"
        " order by trigger_depth"
    )
    cluster.wait_until(lambda: len(cluster.rows(query, UUID(root))) == length, 20, "the chain ends")
    return [(row[0], row[1], row[2]) for row in cluster.rows(query, UUID(root))]


def lines_about(process: Process, execution_id: UUID) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in process.log.read_text().splitlines()]
    return [line for line in lines if line.get("execution_id") == str(execution_id)]


def test_a_chain_is_one_trace_whose_spans_hang_together(cluster: Cluster) -> None:
    with collector() as collected:
        otel: dict[str, Any] = {"OTEL_EXPORTER_OTLP_ENDPOINT": collected.endpoint, "OTEL_BSP_SCHEDULE_DELAY": "100"}
        settings: dict[str, Any] = {"PICLOUD_LOG_FORMAT": "json", "PICLOUD_MAX_TRIGGER_DEPTH": "1", **otel}
        _, url = cluster.web(**settings)
        path, _ = cluster.route("async", CAUSES_ANOTHER)
        cluster.relay(PICLOUD_LOG_FORMAT="json")
        worker = cluster.worker(**settings)
        cluster.ready(4)
        answer = post(f"{url}{path}", headers={"traceparent": TRACEPARENT})
        assert answer.headers["traceparent"] == TRACEPARENT
        ended = chain(cluster, answer.json()["execution_id"], 3)
        assert [status for _, status, _ in ended] == ["completed", "completed", "depth_exceeded"]
        ids = [identifier for identifier, _, _ in ended]

        expected = {span_of_request(ids[0]), *(span_of_run(each) for each in ids)}
        cluster.wait_until(lambda: {each.span_id for each in collected.spans()} >= expected, 20, "spans arrive")
        spans = {each.span_id: each for each in collected.spans()}

    assert len(collected.spans()) == len(expected)
    assert {each.trace_id for each in spans.values()} == {TRACE_ID}
    request = spans[span_of_request(ids[0])]
    assert (request.service, request.parent_id, request.kind) == ("picloud-web", CALLER, 2)
    above = request.span_id
    for identifier, status, result in ended:
        run = spans[span_of_run(identifier)]
        assert (run.service, run.parent_id, run.kind) == ("picloud-worker", above, 5)
        assert run.attributes["picloud.outcome"] == status
        assert run.is_error == (status != "completed")
        assert result == ("" if run.is_error else f"00-{TRACE_ID}-{run.span_id}-01")
        above = run.span_id

    (line,) = lines_about(worker, ids[2])
    assert line["root_execution_id"] == str(ids[0])
    assert (line["process"], line["app"], line["level"]) == ("worker", cluster.app.name, "warning")
    assert str(UUID(line["worker_id"])) == line["worker_id"]


def test_without_a_trace_brought_or_a_collector_the_root_execution_is_the_trace(cluster: Cluster) -> None:
    _, url = cluster.web()
    path, _ = cluster.route("async", CAUSES_ANOTHER)
    cluster.relay()
    cluster.worker(PICLOUD_MAX_TRIGGER_DEPTH="1")
    cluster.ready(4)
    answer = post(f"{url}{path}", headers={"traceparent": "00-not-valid-01"})
    assert "traceparent" not in answer.headers
    ended = chain(cluster, answer.json()["execution_id"], 3)
    root = ended[0][0]
    assert [result for _, _, result in ended[:2]] == [
        f"00-{root.hex}-{span_of_run(identifier)}-01" for identifier, _, _ in ended[:2]
    ]


def test_a_trace_its_caller_does_not_record_is_not_recorded_and_goes_on_unrecorded(cluster: Cluster) -> None:
    with collector() as collected:
        otel: dict[str, Any] = {"OTEL_EXPORTER_OTLP_ENDPOINT": collected.endpoint, "OTEL_BSP_SCHEDULE_DELAY": "100"}
        _, url = cluster.web(**otel)
        path, _ = cluster.route("sync", "ctx.traceparent")
        cluster.relay()
        worker = cluster.worker(**otel)
        cluster.ready(4)
        quiet = post(f"{url}{path}", headers={"traceparent": TRACEPARENT[:-1] + "0"})
        assert quiet.body.decode().startswith(f"00-{TRACE_ID}-")
        assert quiet.body.decode().endswith("-00")
        loud = post(f"{url}{path}")
        root = UUID(loud.headers["x-execution-id"])
        cluster.wait_until(lambda: len(collected.spans()) >= 2, 20, "spans arrive")
        worker.terminate()
        spans: dict[str, Span] = {each.span_id: each for each in collected.spans()}
    assert {each.trace_id for each in spans.values()} == {root.hex}
    assert spans[span_of_run(root)].parent_id == span_of_request(root)
    assert spans[span_of_request(root)].parent_id == ""


@pytest.mark.parametrize("own", ["", "00-11111111111111111111111111111111-2222222222222222-01"])
def test_a_call_of_a_script_carries_the_trace_unless_the_script_says_another(
    cluster: Cluster, tmp_path: Path, own: str
) -> None:
    ensure_master_key(tmp_path / "master.key")
    with other_machine() as other, collector() as collected:
        otel: dict[str, Any] = {"OTEL_EXPORTER_OTLP_ENDPOINT": collected.endpoint, "OTEL_BSP_SCHEDULE_DELAY": "100"}
        cluster.relay()
        cluster.worker(PICLOUD_MASTER_KEY_FILE=str(tmp_path / "master.key"), **otel)
        cluster.ready(4)
        cluster.execute(
            "update apps set http_allowed = %s, revision = revision + 1 where id = %s", [other.address], cluster.app.id
        )
        headers = f'traceparent: "{own}"' if own else ""
        script = cluster.script(f'http::get("{other.url()}", #{{ headers: #{{ {headers} }} }}).status')
        (execution_id,) = cluster.accept(1, script, traceparent=TRACEPARENT)
        cluster.settle([execution_id], 20, as_status="completed")
        (seen,) = other.seen()
        cluster.wait_until(lambda: len(collected.spans()) == 2, 20, "spans arrive")
        call, run = sorted(collected.spans(), key=lambda span: span.kind)
    assert (call.kind, call.name, call.parent_id) == (3, "GET", run.span_id)
    assert run.parent_id == CALLER
    assert call.attributes["http.response.status_code"] == 200
    sent = {name.lower(): value for name, value in dict(seen["headers"]).items()}["traceparent"]
    assert sent == (own or f"00-{TRACE_ID}-{call.span_id}-01")
