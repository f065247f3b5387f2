"""Connections to PostgreSQL, and which of its errors are outages.

Everything works through PgBouncer in transaction mode: no startup options, no
session ``SET``, no ``LISTEN``, no session locks. An *outage* says nothing about
the work itself: the same batch is sent again, under the same ids and tokens,
and nothing is charged to anybody. Any other error is about a row.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, LiteralString, TypeVar

import psycopg
from psycopg import Connection
from psycopg.rows import namedtuple_row

#: Classes of SQLSTATE that tell of an outage (PostgreSQL, Appendix A): 08 connection,
#: 40 rollback (deadlock), 53 resources (disk full, too many connections), 55 object not
#: in prerequisite state (lock timeout), 57 operator intervention (shutdown, cancel).
_OUTAGE_CLASSES = frozenset({"08", "40", "53", "55", "57"})
#: read_only_sql_transaction: a standby, or a server set read-only.
_READ_ONLY = "25006"

CONNECT_TIMEOUT_SECONDS = 5

#: A dead network is noticed after about 10 s of silence, not after the kernel's two hours.
_KEEPALIVE = {
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
    "connect_timeout": CONNECT_TIMEOUT_SECONDS,
}


def is_outage(error: BaseException) -> bool:
    """True when the statement may simply be sent again, later."""
    if not isinstance(error, psycopg.Error):
        return False
    state = error.sqlstate
    if state is None:
        # Without SQLSTATE the server never answered: a lost connection, unless the
        # driver itself refused a value (DataError, ProgrammingError).
        return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    return state[:2] in _OUTAGE_CLASSES or state == _READ_ONLY


def connect(url: str, *, name: str) -> Connection[Any]:
    """A blocking autocommit connection.

    Args:
        name: shown in pg_stat_activity.

    Raises:
        psycopg.OperationalError: the server does not answer.
    """
    connection: Connection[Any] = psycopg.connect(url, autocommit=True, **connection_options(name))
    return connection


def connection_options(name: str) -> dict[str, Any]:
    """Keyword arguments for ``psycopg.connect``, shared by single connections and pools."""
    return {
        "application_name": f"picloud-{name}",
        # A prepared statement lives in one backend; behind a transaction pooler the next
        # transaction may meet another one.
        "prepare_threshold": None,
        **_KEEPALIVE,
    }


def backoff_seconds(first: float = 0.05, most: float = 0.5) -> Iterator[float]:
    """Waits between tries during an outage: doubling, capped, with jitter so that a fleet does not return as one.

    The cap is short: what waits must run within two seconds once the server answers.
    """
    delay = first
    while True:
        yield delay * random.uniform(0.7, 1.3)
        delay = min(most, delay * 2)


def fetch(
    connection: Connection[Any], statement: LiteralString, parameters: Mapping[str, object] | None = None
) -> list[Any]:
    """All rows of a statement, each with its columns as attributes, values in binary."""
    with connection.cursor(row_factory=namedtuple_row, binary=True) as cursor:
        cursor.execute(statement, parameters)
        rows: list[Any] = cursor.fetchall()
        return rows


def record_array(records: Iterable[Sequence[object]]) -> str:
    """Records as the literal of an array of a composite type (PostgreSQL, "Composite Value Input").

    The server reads it in half the time of JSON, and the driver would take ten times as long.

    Args:
        records: each a sequence of None, bool, int, float, UUID, date or str, in the order of the type's columns.
    """
    elements: list[str] = []
    for record in records:
        text = ",".join([_field(value) for value in record])
        elements.append('"(' + text.replace("\\", "\\\\").replace('"', '\\"') + ')"')
    return "{" + ",".join(elements) + "}"


def _field(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return str(value)


T = TypeVar("T")


class Reconnecting:
    """One connection that is opened when first used and opened again after it was lost.

    Not thread-safe: it belongs to one thread.
    """

    def __init__(self, url: str, *, name: str) -> None:
        self._url = url
        self._name = name
        self._connection: Connection[Any] | None = None
        #: How often a connection was made; a sweeper waits a while after each.
        self.opened = 0

    def get(self) -> Connection[Any]:
        """The connection, made anew when there is none that works.

        Raises:
            psycopg.OperationalError: the server does not answer.
        """
        if self._connection is None or self._connection.closed:
            self._connection = connect(self._url, name=self._name)
            self.opened += 1
        return self._connection

    def run(self, work: Callable[[Connection[Any]], T]) -> T:
        """Do ``work``; on an outage the connection is dropped and the error passed on."""
        try:
            return work(self.get())
        except psycopg.Error as error:
            if is_outage(error):
                self.close()
            raise

    def close(self) -> None:
        """Close it; the next ``get`` opens another one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
