"""The page of /metrics, read back by Prometheus' own parsers; and docs/observability.md against it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from picloud.control.figures import Figures
from picloud.control.system import Queue
from picloud.observability.metrics import COUNTED, FLUSH_RUNS, HTTP_REQUESTS, RUNS
from picloud.observability.tally import MOST_SERIES, OTHER, Tally
from picloud_web.exposition import FromRedis, Snapshot, render

PAGE = Path(__file__).resolve().parents[3] / "docs" / "observability.md"


def figures(queues: list[Queue]) -> Figures:
    return Figures(accepted=7, apps=2, database_bytes=1_000, queues=queues, unresolved_letters={"shop": 3}, workers=[])


def queue(app: str, source: str = "http", pending: int = 1, oldest: float = 0.0) -> Queue:
    return Queue(app, source, pending, 0, 0, 0, 0, oldest)


def samples(snapshot: Snapshot) -> dict[tuple[str, ...], float]:
    """By name and the labels' values, in the order of the labels' names."""
    page, content_type = render(snapshot, "")
    assert content_type.startswith("text/plain")
    families = text_string_to_metric_families(page.decode())
    return {
        (s.name, *(s.labels[name] for name in sorted(s.labels))): s.value for family in families for s in family.samples
    }


def counted(tally: Tally) -> FromRedis:
    return FromRedis(tally.take(), {"sync": 0, "async": 4})


def test_counts_come_out_as_they_went_in() -> None:
    tally = Tally()
    tally.add(HTTP_REQUESTS, "sync", "2xx", amount=5)
    tally.add(RUNS, 'a "b"\n', "kv", "dead")
    tally.observe(FLUSH_RUNS, [1, 3, 1_000])
    found = samples(Snapshot(None, counted(tally), 0))
    assert found["picloud_http_requests_total", "sync", "2xx"] == 5
    assert found["picloud_runs_total", 'a "b"\n', "dead", "kv"] == 1
    buckets = [found["picloud_flush_runs_bucket", bound] for bound in ("1.0", "2.0", "4.0", "256.0", "+Inf")]
    assert buckets == [1, 1, 2, 2, 3]
    assert (found["picloud_flush_runs_count",], found["picloud_flush_runs_sum",]) == (3, 1_004)
    assert found["picloud_broker_messages", "async"] == 4


def test_what_does_not_answer_is_missing_and_said_to_be_down() -> None:
    found = samples(Snapshot(None, None, 2))
    assert found["picloud_database_up",] == 0
    assert found["picloud_redis_up",] == 0
    assert found["picloud_web_sync_in_flight",] == 2
    assert not any(name.startswith(("picloud_rows", "picloud_runs", "picloud_accepted")) for name, *_ in found)


def test_what_postgresql_knows_is_shown_by_app_and_source() -> None:
    found = samples(Snapshot(figures([queue("shop", pending=4, oldest=1.5)]), None, 0))
    assert found["picloud_accepted_total",] == 7
    assert found["picloud_rows", "shop", "http", "pending"] == 4
    assert found["picloud_oldest_due_seconds", "shop", "http"] == 1.5
    assert found["picloud_dead_letters_unresolved", "shop"] == 3


def test_apps_without_end_are_shown_together() -> None:
    queues = [queue(f"app-{number}", oldest=float(number)) for number in range(MOST_SERIES + 10)]
    found = samples(Snapshot(figures(queues), None, 0))
    assert found["picloud_rows", OTHER, OTHER, "pending"] == 10
    assert found["picloud_oldest_due_seconds", OTHER, OTHER] == MOST_SERIES + 9
    assert len([name for name, *_ in found if name == "picloud_oldest_due_seconds"]) == MOST_SERIES + 1


def test_what_another_release_counted_is_left_out() -> None:
    strange = {'["picloud_unheard_of_total",""]': 1.0, '["picloud_runs_total","","one-label"]': 1.0}
    found = samples(Snapshot(None, FromRedis(strange, {}), 0))
    assert not any(name in ("picloud_unheard_of_total", "picloud_runs_total") for name, *_ in found)


def test_who_asks_for_openmetrics_gets_it() -> None:
    page, content_type = render(
        Snapshot(figures([]), counted(Tally()), 0), "application/openmetrics-text;version=1.0.0"
    )
    assert content_type.startswith("application/openmetrics-text")
    parse: Any = openmetrics.text_string_to_metric_families
    assert "picloud_accepted" in {family.name for family in parse(page.decode())}


@pytest.mark.parametrize("metric", COUNTED, ids=lambda metric: metric.name)
def test_every_metric_is_described_with_its_labels(metric: Any) -> None:
    rows = [line for line in PAGE.read_text().splitlines() if f"`{metric.name}`" in line and line.startswith("|")]
    assert len(rows) == 1
    assert re.findall(r"`(\w+)`", rows[0].split("|")[2]) == list(metric.labels)


def test_every_figure_on_the_page_is_described() -> None:
    page, _ = render(Snapshot(figures([queue("shop")]), counted(Tally()), 0), "")
    shown = set(re.findall(r"^# TYPE (\S+)", page.decode(), re.MULTILINE))
    described = set(re.findall(r"`(picloud_\w+)`", PAGE.read_text()))
    assert shown == described
