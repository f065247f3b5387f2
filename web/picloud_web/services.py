"""What the web process offers to its handlers: one value, built once by ``picloud_web.composition``.

Handlers never open a connection or read the environment; they are given
``Services`` and use nothing else from outside.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

import redis.asyncio
from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool

from picloud.broker import Reply
from picloud.identity.passwords import Hashing
from picloud.outbox.accept import Arrival
from picloud.services.vault import Vault
from picloud.settings import Settings
from picloud_web.streams import Streams

Database = AsyncConnectionPool[AsyncConnection[TupleRow]]


class Dispatcher(Protocol):
    """Makes something run. The arrival's id is the execution's id: ``picloud.ids.new_id()``."""

    async def accept_async(self, arrival: Arrival) -> dt.datetime:
        """Write ``arrival`` to be run later; committed and durable on return.

        Returns:
            When it was accepted, by PostgreSQL's clock.

        Raises:
            AppChangedError: the app has another revision by now, or is paused.
                Send the same id again after reading the app anew.
            InvalidInputError: PostgreSQL refuses this row.
            UnavailableError: nothing is known to be stored.
        """
        ...

    async def run_sync(self, arrival: Arrival, *, timeout_ms: int) -> Reply:
        """Run ``arrival`` now and wait for its answer, at most ``timeout_ms`` of script time and 2 s.

        The reply's ``data`` is complete, however large. A failed run is a reply
        with ``error``, not an exception.

        Raises:
            AppChangedError: as in ``accept_async``.
            CapacityError: refused before anything was written.
            UnavailableError: not run, or (code ``no_answer``) nobody answered in time.
        """
        ...

    async def give_up(self, execution_id: UUID) -> None:
        """Say that the client of this sync run has left; never raises."""
        ...


@dataclass(frozen=True, slots=True)
class Services:
    """The tools of every handler.

    Attributes:
        settings: as the process was started.
        database: short, autocommitted statements of the control API and of reads.
        redis: not for blocking commands.
        dispatcher: the way into the outbox.
        vault: seals secrets; needs the master key when the first one is set.
        hashing: of passwords, beside the event loop.
        streams: the answers that go on.
    """

    settings: Settings
    database: Database
    redis: redis.asyncio.Redis
    dispatcher: Dispatcher
    vault: Vault
    hashing: Hashing = field(default_factory=Hashing)
    streams: Streams = field(default_factory=Streams)
