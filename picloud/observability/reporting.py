"""Brings the counts of all processes together: each adds what it has counted to one hash in Redis.

So one scrape of any web process shows the whole platform, workers on other machines need no port to be
scraped at, and what a process counted outlives it. Redis may lose its memory: counters then begin at 0
again, which Prometheus knows as a reset; what a process could not report it keeps until it can. The figures that
must be right come from PostgreSQL.

A process that counts nothing is not woken; one that does reports once a second.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import Any, cast

import redis
from redis.exceptions import RedisError

from picloud import broker
from picloud.observability.tally import TALLY, Tally

_LOG = logging.getLogger("picloud.metrics")

_PERIOD_SECONDS = 1.0
#: While Redis is away.
_OUTAGE_SECONDS = 10.0
_SOCKET_SECONDS = 2.0


class Reporter:
    """Reports one process' tally. Start it after the last fork: it has a thread."""

    def __init__(self, redis_url: str, tally: Tally = TALLY) -> None:
        self._redis_url = redis_url
        self._tally = tally
        self._client: redis.Redis | None = None
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to report; may be called again."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Report what is left, if Redis takes it now."""
        self._stopping.set()
        self._tally.wake()
        if self._thread is not None:
            self._thread.join()
        self.report()
        if self._client is not None:
            self._client.close()

    def report(self) -> bool:
        """Report now.

        Returns:
            Whether Redis has it; else it is kept.
        """
        with self._lock:
            counts = self._tally.take()
            if not counts:
                return True
            try:
                self._client = self._client or broker.connect(
                    self._redis_url, name="metrics", socket_timeout_seconds=_SOCKET_SECONDS
                )
                add_counts(self._client, counts)
            except RedisError as error:
                _LOG.debug("Redis did not take the counts: %s", error)
                self._tally.put_back(counts)
                return False
            return True

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._tally.wait()
            if not self._stopping.wait(_PERIOD_SECONDS) and not self.report():
                self._stopping.wait(_OUTAGE_SECONDS)


def add_counts(client: redis.Redis, counts: Mapping[str, float]) -> None:
    """Add counts to those of the other processes, all or none."""
    with client.pipeline(transaction=True) as pipeline:
        for field, value in counts.items():
            pipeline.hincrbyfloat(broker.METRICS_KEY, field, value)
        pipeline.execute()


def decode_counts(stored: Mapping[bytes, bytes]) -> dict[str, float]:
    """The hash as Redis gives it back."""
    return {field.decode(): float(cast(Any, value)) for field, value in stored.items()}
