"""Figures as Prometheus reads them: text format, or OpenMetrics for who asks for it.

Imports prometheus-client, which takes some megabytes, when the first scrape comes.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from picloud import __version__
from picloud.control.figures import Figures
from picloud.observability.metrics import COUNTED
from picloud.observability.tally import MOST_SERIES, OTHER, SUM, Metric

#: A number for each set of labels' values.
_Samples = dict[tuple[str, ...], float]


@dataclass(frozen=True, slots=True)
class FromRedis:
    """What one look at Redis gave.

    Attributes:
        counts: by field (``picloud.observability.tally.field_of``).
        messages: in the lists of the workers.
    """

    counts: Mapping[str, float]
    messages: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything one scrape shows; what could not be read is None.

    Attributes:
        sync_in_flight: requests that wait for an answer in this very process.
    """

    figures: Figures | None
    redis: FromRedis | None
    sync_in_flight: int


def render(snapshot: Snapshot, accept: str) -> tuple[bytes, str]:
    """The page and its content type, by what the scraper accepts."""
    from prometheus_client import CollectorRegistry
    from prometheus_client.exposition import choose_encoder

    class Families:
        """The collector of this one page."""

        def collect(self) -> Iterator[Any]:
            return _families(snapshot)

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Families())
    encoder, content_type = choose_encoder(accept)
    page: bytes = encoder(registry)
    return page, content_type


def _families(snapshot: Snapshot) -> Iterator[Any]:
    yield _gauge("picloud_info", "The release of the web process that answers.", ("version",), {(__version__,): 1})
    yield _gauge("picloud_database_up", "1 while PostgreSQL answers.", (), {(): int(snapshot.figures is not None)})
    yield _gauge("picloud_redis_up", "1 while Redis answers.", (), {(): int(snapshot.redis is not None)})
    waiting: _Samples = {(): snapshot.sync_in_flight}
    yield _gauge("picloud_web_sync_in_flight", "Requests that wait for an answer, in the process asked.", (), waiting)
    if snapshot.figures is not None:
        yield from _known(snapshot.figures)
    if snapshot.redis is not None:
        messages: _Samples = {(name,): count for name, count in snapshot.redis.messages.items()}
        yield _gauge("picloud_broker_messages", "Messages no worker has fetched yet.", ("list",), messages)
        yield from counted(snapshot.redis.counts)


def _known(figures: Figures) -> Iterator[Any]:
    """What PostgreSQL knows."""
    from prometheus_client.core import CounterMetricFamily

    accepted = "Rows ever accepted, by the sequence that numbers them."
    yield CounterMetricFamily("picloud_accepted", accepted, value=figures.accepted)
    yield _gauge("picloud_apps", "Apps.", (), {(): figures.apps})
    yield _gauge("picloud_database_bytes", "Bytes of the database on disk.", (), {(): figures.database_bytes})
    rows: _Samples = {}
    ages: _Samples = {}
    for queue in figures.queues:
        where = (queue.app or "", queue.source)
        if len(ages) >= MOST_SERIES and where not in ages:
            where = (OTHER, OTHER)
        ages[where] = max(ages.get(where, 0.0), queue.oldest_due_seconds)
        for state in ("pending", "due", "published", "running", "retrying"):
            rows[*where, state] = rows.get((*where, state), 0) + getattr(queue, state)
    meaning = "Rows to run: pending (due and retrying are among them), published, running. What has none is not there."
    yield _gauge("picloud_rows", meaning, ("app", "source", "state"), rows)
    yield _gauge("picloud_oldest_due_seconds", "How long the oldest due row waits.", ("app", "source"), ages)
    letters: _Samples = {}
    for app, count in figures.unresolved_letters.items():
        label = app if len(letters) < MOST_SERIES else OTHER
        letters[label,] = letters.get((label,), 0) + count
    yield _gauge("picloud_dead_letters_unresolved", "Dead letters nobody has dealt with.", ("app",), letters)
    yield from _workers(figures)


def _workers(figures: Figures) -> Iterator[Any]:
    processes = Counter(worker.status for worker in figures.workers)
    threads = sum(worker.threads for worker in figures.workers if worker.status != "lost")
    by_status: _Samples = {(status,): processes[status] for status in ("idle", "busy", "draining", "lost")}
    yield _gauge("picloud_worker_processes", "Worker processes of all machines.", ("status",), by_status)
    yield _gauge("picloud_worker_threads", "Scripts that can run at once.", (), {(): threads})


def counted(counts: Mapping[str, float]) -> Iterator[Any]:
    """Families of what processes counted; what another release counted, and this one does not know, is left out."""
    by_name: dict[str, dict[tuple[str, ...], dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    for field, value in counts.items():
        name, part, *labels = json.loads(field)
        by_name[name][tuple(labels)][part] = value
    for metric in COUNTED:
        series = {labels: parts for labels, parts in by_name[metric.name].items() if len(labels) == len(metric.labels)}
        if metric.kind == "counter":
            yield _counter(metric, series)
        else:
            yield _histogram(metric, series)


def _counter(metric: Metric, series: Mapping[tuple[str, ...], Mapping[str, float]]) -> Any:
    from prometheus_client.core import CounterMetricFamily

    family = CounterMetricFamily(metric.name, metric.meaning, labels=metric.labels)
    for labels, parts in sorted(series.items()):
        family.add_metric(labels, parts.get("", 0))
    return family


def _histogram(metric: Metric, series: Mapping[tuple[str, ...], Mapping[str, float]]) -> Any:
    from prometheus_client.core import HistogramMetricFamily

    family = HistogramMetricFamily(metric.name, metric.meaning, labels=metric.labels)
    for labels, parts in sorted(series.items()):
        family.add_metric(labels, buckets=list(_cumulative(metric, parts)), sum_value=parts.get(SUM, 0))
    return family


def _cumulative(metric: Metric, parts: Mapping[str, float]) -> Iterable[tuple[str, float]]:
    total = 0.0
    for number, bound in enumerate((*metric.buckets, float("inf"))):
        total += parts.get(str(number), 0)
        yield ("+Inf" if bound == float("inf") else str(float(bound))), total


def _gauge(name: str, meaning: str, labels: tuple[str, ...], samples: Mapping[tuple[str, ...], float]) -> Any:
    from prometheus_client.core import GaugeMetricFamily

    family = GaugeMetricFamily(name, meaning, labels=labels)
    for values, value in sorted(samples.items()):
        family.add_metric(values, value)
    return family
