"""What an app consists of, as its running scripts see it: scripts that can be imported or invoked, and queues.

Kept by revision: every change of an app raises it, and each row brings the one
it began under, so nothing here grows stale.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from psycopg import Connection
from psycopg_pool import ConnectionPool

from picloud.queries import Queries
from picloud.services.reading import Reader

_SQL = Queries("services")

_MOST_APPS = 256


@dataclass(frozen=True, slots=True)
class Catalog:
    """One app at one revision.

    Attributes:
        scripts: name -> (script id, deployed version).
        allowed_private: private addresses its scripts may call, set by an instance admin.
    """

    scripts: dict[str, tuple[int, int]]
    queues: frozenset[str]
    allowed_private: tuple[str, ...]


class Catalogs:
    """A cache of catalogs. Thread-safe."""

    def __init__(self, pool: ConnectionPool[Connection[Any]]) -> None:
        self._reader = Reader(pool)
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[int, int], Catalog] = OrderedDict()

    def get(self, app_id: int, revision: int) -> Catalog:
        """The catalog of an app; read when this revision is new here.

        A deploy between the begin of the row and this read shows already: it was deployed, after all.
        """
        with self._lock:
            known = self._known.get((app_id, revision))
        if known is not None:
            return known
        scripts = self._reader.ask(_SQL.app_scripts, {"app_id": app_id})
        queues = self._reader.ask(_SQL.app_queues, {"app_id": app_id})
        allowed = self._reader.ask(_SQL.app_allowed, {"app_id": app_id})
        catalog = Catalog(
            {row.name: (row.id, row.version) for row in scripts},
            frozenset(row.name for row in queues),
            tuple(allowed[0].http_allowed) if allowed else (),
        )
        with self._lock:
            self._known[app_id, revision] = catalog
            while len(self._known) > _MOST_APPS:
                self._known.popitem(last=False)
        return catalog
