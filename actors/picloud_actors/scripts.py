"""Script sources a worker process has read, by version. A version never changes, so nothing here grows stale."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any

from psycopg import Connection

from picloud.engine import ScriptLimits, parse_limits
from picloud.outbox.run_rows import read_sources

_MOST_SOURCES = 1_024


class ScriptSources:
    """A least-recently-used cache of (source, limits). Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[int, int], tuple[str, ScriptLimits]] = OrderedDict()

    def load(self, connection: Connection[Any], wanted: set[tuple[int, int]]) -> None:
        """Read the versions that are not known yet, in one query."""
        with self._lock:
            missing = wanted - self._known.keys()
        if not missing:
            return
        found = read_sources(connection, missing)
        with self._lock:
            for key, (source, limits) in found.items():
                self._known[key] = (source, parse_limits(limits))
            while len(self._known) > _MOST_SOURCES:
                self._known.popitem(last=False)

    def get(self, key: tuple[int, int]) -> tuple[str, ScriptLimits] | None:
        """Source and limits of a version; None when it does not exist (or was pushed out by a thousand others)."""
        with self._lock:
            found = self._known.get(key)
            if found:
                self._known.move_to_end(key)
            return found
