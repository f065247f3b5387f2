"""Counts what this process does, until somebody takes the counts away.

One tally for a process, as there is one tree of loggers: whatever counts would have to be handed one
through every layer otherwise. Counting takes a lock and a dictionary, no system call.
"""

from __future__ import annotations

import bisect
import json
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

#: Series of one metric in one process; what comes later is counted under ``OTHER``: people make apps without end.
MOST_SERIES = 500
OTHER = "_other"

#: The end of a field of a histogram that holds the sum of what was observed.
SUM = "sum"


@dataclass(frozen=True, slots=True)
class Metric:
    """Something that is counted.

    Attributes:
        name: as Prometheus knows it; a counter's ends in ``_total``.
        labels: their names.
        buckets: of a histogram: the upper bounds, rising, without infinity.
    """

    name: str
    kind: Literal["counter", "histogram"]
    meaning: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


Series = tuple[str, ...]


class Tally:
    """Counts of one process since they were last taken. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._changed = threading.Event()
        self._counts: dict[str, dict[Series, float]] = {}
        self._known: dict[str, set[Series]] = {}

    def add(self, metric: Metric, *labels: str, amount: float = 1, is_news: bool = True) -> None:
        """Count something.

        Args:
            labels: values, in the order of the metric's labels.
            is_news: False: it is no reason to report; it goes along with the next that is.
        """
        with self._lock:
            self._add(metric, labels, "", amount)
        if is_news and not self._changed.is_set():
            self._changed.set()

    def observe(self, metric: Metric, values: Iterable[float], *labels: str) -> None:
        """Count each value in its bucket, and add it to the sum."""
        total = 0.0
        buckets: dict[int, int] = {}
        for value in values:
            total += value
            bucket = bisect.bisect_left(metric.buckets, value)
            buckets[bucket] = buckets.get(bucket, 0) + 1
        with self._lock:
            for bucket, count in buckets.items():
                self._add(metric, labels, str(bucket), count)
            self._add(metric, labels, SUM, total)
        if not self._changed.is_set():
            self._changed.set()

    def _add(self, metric: Metric, labels: Series, part: str, amount: float) -> None:
        known = self._known.setdefault(metric.name, set())
        if labels not in known:
            if len(known) >= MOST_SERIES:
                labels = (OTHER,) * len(labels)
            known.add(labels)
        counts = self._counts.setdefault(metric.name, {})
        series = (part, *labels)
        counts[series] = counts.get(series, 0) + amount

    def wait(self) -> None:
        """Block until there is something to report."""
        self._changed.wait()

    def wake(self) -> None:
        """Let go of whoever waits."""
        self._changed.set()

    def take(self) -> dict[str, float]:
        """Everything counted since the last time, by field (``field_of``); nothing is left."""
        self._changed.clear()
        with self._lock:
            taken, self._counts = self._counts, {}
        return {field_of(name, series): value for name, counts in taken.items() for series, value in counts.items()}

    def put_back(self, counts: Mapping[str, float]) -> None:
        """Counts that were taken and could not be reported."""
        with self._lock:
            for field, value in counts.items():
                name, *series = json.loads(field)
                mine = self._counts.setdefault(name, {})
                mine[tuple(series)] = mine.get(tuple(series), 0) + value
        self._changed.set()


def field_of(name: str, series: Series) -> str:
    """A series as one text: the metric, its part (a bucket's number, ``sum`` or nothing), the labels' values."""
    return json.dumps([name, *series], separators=(",", ":"))


#: What this process counts.
TALLY = Tally()
