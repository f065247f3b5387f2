"""Which triggers of an app the effects of a run would fire, for those who want to know before it happens.

What does fire is decided where effects are committed (``kv_apply`` and ``send_rows`` in
``migrations``), by the same rules.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from psycopg import Connection
from psycopg_pool import ConnectionPool

from picloud.database import fetch
from picloud.queries import Queries

_SQL = Queries("services")


class Listener(NamedTuple):
    """An enabled trigger.

    Attributes:
        kind: kv, pubsub or queue.
        is_prefix: ``literal`` is how names begin; else it is the name.
        ops: of keys, that fire it; empty for the other kinds.
    """

    name: str
    kind: str
    script: str
    is_prefix: bool
    literal: str
    ops: frozenset[str]

    def hears(self, kind: str, name: str, op: str | None = None) -> bool:
        """Whether it fires for a collection, topic or queue of this name.

        Args:
            op: what happened to a key.
        """
        if kind != self.kind or (op is not None and op not in self.ops):
            return False
        return name.startswith(self.literal) if self.is_prefix else name == self.literal


def read_listeners(pool: ConnectionPool[Connection[Any]], app_id: int) -> list[Listener]:
    """Those of an app, in the order in which they fire."""
    with pool.connection() as connection:
        rows = fetch(connection, _SQL.listeners, {"app_id": app_id})
    return [
        Listener(row.name, row.kind, row.script, row.is_prefix, row.literal, frozenset(row.ops or ())) for row in rows
    ]
