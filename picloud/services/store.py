"""What running scripts read from PostgreSQL: ``KvStore`` over a pool of connections."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from psycopg import Connection
from psycopg_pool import ConnectionPool

from picloud.queries import Queries
from picloud.services.effects import KeyId
from picloud.services.kv import ABSENT, KvLimits, Stored, Usage
from picloud.services.reading import Reader

_SQL = Queries("services")

#: How long a usage that is far from its quota is believed.
_USAGE_SECONDS = 5.0
#: And how far that is: below this share of the quota.
_FAR = 0.8


@dataclass(slots=True)
class _KnownUsage:
    usage: Usage
    read_at: float


class PostgresKvStore:
    """Thread-safe. Each read is a statement of its own: what a run read is checked when it ends."""

    def __init__(
        self, pool: ConnectionPool[Connection[Any]], limits: KvLimits, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._reader = Reader(pool, clock)
        self._limits = limits
        self._clock = clock
        self._lock = threading.Lock()
        self._usage: dict[int, _KnownUsage] = {}

    def read(self, key: KeyId) -> Stored:
        """See ``KvStore.read``."""
        rows = self._reader.ask(_SQL.kv_read, key._asdict())
        return Stored(rows[0].value, rows[0].version, rows[0].expires_at) if rows else ABSENT

    def page(
        self, app_id: int, collection: str, prefix: str, after: str | None, limit: int
    ) -> list[tuple[str, Stored]]:
        """See ``KvStore.page``."""
        parameters = {
            "app_id": app_id,
            "collection": collection,
            "prefix": prefix,
            "after": after or "",
            "limit": limit,
        }
        rows = self._reader.ask(_SQL.kv_page, parameters)
        return [(row.key, Stored(row.value, row.version, row.expires_at)) for row in rows]

    def usage(self, app_id: int) -> Usage:
        """See ``KvStore.usage``: read anew for every question once four fifths of the quota are used."""
        now = self._clock()
        with self._lock:
            known = self._usage.get(app_id)
        if known and now - known.read_at < _USAGE_SECONDS and self._is_far(known.usage):
            return known.usage
        (row,) = self._reader.ask(_SQL.kv_usage, {"app_id": app_id})
        usage = Usage(row.keys, row.bytes)
        with self._lock:
            self._usage[app_id] = _KnownUsage(usage, now)
        return usage

    def _is_far(self, usage: Usage) -> bool:
        return usage.keys < self._limits.max_keys * _FAR and usage.bytes < self._limits.max_bytes * _FAR
