"""What a worker process has read of scripts and triggers: sources by version, labels by revision of the app.

A version never changes, and every change of an app raises its revision: nothing here grows stale.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from psycopg import Connection

from picloud.engine import ScriptLimits, parse_limits
from picloud.outbox.run_rows import BegunRow, read_label, read_sources

_MOST_SOURCES = 1_024
_MOST_LABELS = 4_096

#: Source, id of the route or trigger, revision of its app.
_TriggerKey = tuple[str, int, int]


def _trigger_key(row: BegunRow) -> _TriggerKey:
    assert row.trigger_id is not None, "only asked for rows that something fired"
    return row.source, row.trigger_id, row.app_revision


class ScriptSources:
    """A least-recently-used cache of (source, limits). Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[int, int], tuple[str, ScriptLimits]] = OrderedDict()
        self._labels: OrderedDict[_TriggerKey, str | None] = OrderedDict()

    def load(self, connection: Connection[Any], rows: Sequence[BegunRow]) -> None:
        """Read what these rows need and is not known yet."""
        with self._lock:
            missing = {(row.script_id, row.version) for row in rows} - self._known.keys()
            unnamed = {_trigger_key(row) for row in rows if row.trigger_id is not None} - self._labels.keys()
        sources = read_sources(connection, missing) if missing else {}
        labels = {key: read_label(connection, key[0], key[1]) for key in unnamed}
        with self._lock:
            for version, (source, limits) in sources.items():
                self._known[version] = (source, parse_limits(limits))
            self._labels |= labels
            while len(self._known) > _MOST_SOURCES:
                self._known.popitem(last=False)
            while len(self._labels) > _MOST_LABELS:
                self._labels.popitem(last=False)

    def label(self, row: BegunRow) -> str | None:
        """What fired a row, as people name it: ``GET /orders``, the name of a trigger; None where nothing did."""
        with self._lock:
            return None if row.trigger_id is None else self._labels.get(_trigger_key(row))

    def get(self, key: tuple[int, int]) -> tuple[str, ScriptLimits] | None:
        """Source and limits of a version; None when it does not exist (or was pushed out by a thousand others)."""
        with self._lock:
            found = self._known.get(key)
            if found:
                self._known.move_to_end(key)
            return found
