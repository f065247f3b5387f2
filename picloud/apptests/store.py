"""Keys and values in memory, with versions as PostgreSQL keeps them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from picloud.services.effects import KeyId, KvWrite
from picloud.services.kv import ABSENT, Stored, Usage
from picloud.triggers import KvOp


class Change(NamedTuple):
    """A write that changed something; ``old_value`` and ``value`` are JSON, None where the key is absent."""

    key: KeyId
    op: KvOp
    value: bytes | None
    old_value: bytes | None
    version: int


def _system_now() -> datetime:
    return datetime.now(UTC)


@dataclass(slots=True)
class MemoryStore:
    """``KvStore`` without a database."""

    rows: dict[KeyId, Stored] = field(default_factory=dict[KeyId, Stored])
    versions: int = 0
    now: Callable[[], datetime] = _system_now

    def read(self, key: KeyId) -> Stored:
        """The key; one whose time has passed keeps its version and has no value."""
        stored = self.rows.get(key, ABSENT)
        return stored if self._lives(stored) else Stored(None, stored.version)

    def page(
        self, app_id: int, collection: str, prefix: str, after: str | None, limit: int
    ) -> list[tuple[str, Stored]]:
        """See ``KvStore.page``."""
        names = sorted(
            (
                name.key
                for name, stored in self.rows.items()
                if (name.app_id, name.collection) == (app_id, collection)
                and name.key.startswith(prefix)
                and (after is None or name.key > after)
                and self._lives(stored)
            ),
            key=lambda key: key.encode(),
        )
        return [(key, self.rows[KeyId(app_id, collection, key)]) for key in names[:limit]]

    def usage(self, app_id: int) -> Usage:
        """See ``KvStore.usage``."""
        rows = [(name, stored) for name, stored in self.rows.items() if name.app_id == app_id]
        return Usage(len(rows), sum(len(name.key.encode()) + len(stored.value or b"") for name, stored in rows))

    def apply(self, writes: dict[KeyId, KvWrite]) -> list[Change]:
        """Do what a run has left to be written, in its order; what fires triggers."""
        changes: list[Change] = []
        for key, write in writes.items():
            old_value = self.read(key).value
            self.versions += 1
            if write.value is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = Stored(write.value, self.versions, self._end(write))
            if write.value is not None or old_value is not None:
                op: KvOp = "insert" if old_value is None else "delete" if write.value is None else "update"
                changes.append(Change(key, op, write.value, old_value, self.versions))
        return changes

    def _end(self, write: KvWrite) -> datetime | None:
        if write.expires_at is not None or write.ttl_ms is None:
            return write.expires_at
        return self.now() + timedelta(milliseconds=write.ttl_ms)

    def _lives(self, stored: Stored) -> bool:
        return stored.value is not None and (stored.expires_at is None or stored.expires_at > self.now())
