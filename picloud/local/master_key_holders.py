"""Which worker processes have which master keys, so that a rotation can refuse to lock one of them out.

A worker tells when it starts. Idle ones write nothing later, so what counts besides is
whether a worker looks at the very file that is being changed: that one needs not tell.
Rows of processes that were killed stay; whether one lives is Redis' to say, as in ``workers ls``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

import redis
from psycopg import Connection
from psycopg.rows import class_row

from picloud import broker
from picloud.errors import ConfigurationError, UnavailableError
from picloud.local.master_key import master_key_source
from picloud.outbox.run_rows import WorkerProcess
from picloud.queries import Queries
from picloud.services.vault import MasterKeys, master_key_id
from picloud.settings import Settings

_SQL = Queries("master_key")


@dataclass(frozen=True, slots=True)
class Holder:
    """A worker process.

    Attributes:
        keys: ids of its master keys, the one that signs first; none: its scripts need none, or it cannot read it.
        source: the file it looks at again before each use (``master_key_source``); None: it has a copy.
    """

    worker_id: UUID
    host: str
    pid: int
    keys: tuple[bytes, ...]
    source: str | None

    def __str__(self) -> str:
        return f"worker {self.worker_id} on {self.host} (process {self.pid})"


def tell_master_keys(connection: Connection[Any], worker: WorkerProcess, settings: Settings, keys: MasterKeys) -> None:
    """Write down what a worker has as it starts."""
    try:
        ids = [master_key_id(key) for key in keys()]
    except ConfigurationError:
        ids = []
    connection.execute(
        _SQL.tell,
        {
            "worker_id": worker.id,
            "host": worker.host,
            "pid": worker.pid,
            "keys": ids,
            "source": master_key_source(settings),
        },
    )


def leave_master_keys(connection: Connection[Any], worker_id: UUID) -> None:
    """The process ends."""
    connection.execute(_SQL.leave, {"worker_id": worker_id})


class _Row(NamedTuple):
    worker_id: UUID
    host: str
    pid: int
    keys: list[bytes]
    source: str | None
    beat_lately: bool


def read_holders(connection: Connection[Any], redis_url: str) -> list[Holder]:
    """Every worker process that lives; forgets those that do not.

    Raises:
        UnavailableError: Redis, which knows, does not answer.
    """
    with connection.cursor(row_factory=class_row(_Row)) as cursor:
        rows = cursor.execute(_SQL.holders).fetchall()
    listening = _listening([row.worker_id for row in rows], redis_url)
    dead = [row.worker_id for row in rows if not row.beat_lately and row.worker_id not in listening]
    if dead:
        connection.execute(_SQL.forget_holders, {"worker_ids": dead})
    return [
        Holder(row.worker_id, row.host, row.pid, tuple(bytes(each) for each in row.keys), row.source)
        for row in rows
        if row.worker_id not in dead
    ]


def _listening(ids: list[UUID], redis_url: str) -> set[UUID]:
    if not ids:
        return set()
    try:
        with broker.connect(redis_url, name="master-key") as client:
            return {each for each in ids if client.exists(broker.worker_alive_key(each))}
    except redis.RedisError as error:
        raise UnavailableError(
            f"Redis does not answer, so nobody knows which workers run: {error}",
            hint="start it, or name it with PICLOUD_REDIS_URL",
        ) from error
