"""Dramatiq as it comes: an actor that does nothing but count itself. What PiCloud's drain is compared with."""

from __future__ import annotations

import os

import dramatiq
import redis
from dramatiq.brokers.redis import RedisBroker

URL = os.environ["BENCH_REDIS_URL"]
COUNTER = "bench:done"

broker = RedisBroker(url=URL)  # type: ignore[no-untyped-call]
dramatiq.set_broker(broker)
client = redis.Redis.from_url(URL)


@dramatiq.actor
def noop() -> None:
    client.incr(COUNTER)
