"""Where an address leads, and the rows of a mail that is taken: what ``MailListener`` asks.

Nothing is remembered between two questions: a trigger that is added, removed or
disabled counts from the next ``RCPT`` on, and once more when the mail has arrived.

Rows are written whether their app runs or is paused: they wait for its return. To refuse
would make every sender queue the mail, and give up on it after some days.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg.rows import namedtuple_row

from picloud.errors import UnavailableError
from picloud.failpoints import failpoint
from picloud.ids import new_id
from picloud.mail.listener import Delivery
from picloud.mailroom.line import Connection, Line
from picloud.observability.metrics import MAILS
from picloud.observability.tally import TALLY
from picloud.queries import Queries

_SQL = Queries("mail")

#: How long an outage is waited out before a sender is told to come back. It still holds its mail.
LOOK_UP_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Target:
    """The trigger that mail for an address goes to.

    Attributes:
        address: the trigger's own, as it was found.
    """

    trigger_id: int
    address: str


class Reception:
    """Answers the listener.

    Args:
        lookups: apart from ``rows``, so that a look-up does not wait for a large mail.
        written: called after each commit.
    """

    def __init__(
        self,
        lookups: Line,
        rows: Line,
        written: Callable[[], None],
        *,
        look_up_seconds: float = LOOK_UP_SECONDS,
    ) -> None:
        self._lookups = lookups
        self._rows = rows
        self._written = written
        self._look_up_seconds = look_up_seconds

    async def resolve(self, address: str) -> Target | None:
        """The enabled trigger that ``address`` leads to.

        Raises:
            UnavailableError: PostgreSQL does not answer.
        """
        # Before lower(): there are letters beyond ASCII whose small letter is in it, and triggers have none of them.
        if not address.isascii():
            return None
        address = address.lower()
        parameters = {"address": address, "local_part": address.rpartition("@")[0]}
        try:
            async with asyncio.timeout(self._look_up_seconds):
                found = await self._lookups.insist(
                    lambda connection: _first_row(connection, _SQL.find_trigger, parameters)
                )
        except TimeoutError:
            raise UnavailableError("PostgreSQL does not answer") from None
        return Target(found.id, found.address) if found is not None and found.is_enabled else None

    async def accept(self, deliveries: Sequence[Delivery[Target]]) -> None:
        """Commit a row for each delivery, all or none; tries until it is cancelled while PostgreSQL is away.

        Raises:
            UnavailableError: a trigger has changed since it was found: ask for it again.
        """
        # Made once: when the answer to a commit was lost the same rows are sent again, and change nothing.
        parameters = _parameters(deliveries, [new_id() for _ in deliveries])
        failpoint("mail.received")
        outcome = await self._rows.insist(lambda connection: _first_row(connection, _SQL.accept, parameters))
        if not outcome.is_whole:
            raise UnavailableError("an email trigger changed while its mail arrived")
        failpoint("mail.accepted")
        TALLY.add(MAILS, amount=len(deliveries))
        self._written()


def _parameters(deliveries: Sequence[Delivery[Target]], ids: Sequence[UUID]) -> dict[str, object]:
    """Who sent a mail from within a run is its cause: what it starts is one deeper, under the same root."""
    return {
        "ids": list(ids),
        "trigger_ids": [each.target.trigger_id for each in deliveries],
        "addresses": [each.target.address for each in deliveries],
        "events": [each.event for each in deliveries],
        "roots": [each.hops[0] if each.hops else None for each in deliveries],
        "depths": [each.hops[1] + 1 if each.hops else 0 for each in deliveries],
    }


async def _first_row(connection: Connection, statement: Any, parameters: Mapping[str, object]) -> Any:
    async with connection.cursor(row_factory=namedtuple_row) as cursor:
        await cursor.execute(statement, parameters)
        return await cursor.fetchone()
