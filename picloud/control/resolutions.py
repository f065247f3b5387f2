"""What is done about dead letters: replayed, ignored, edited first. Each is resolved once, whoever else tries.

A replay makes a new execution of the same event. It never touches what died: the
letter keeps its attempts and says as which execution it was replayed.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias
from uuid import UUID

import msgspec

from picloud.access import Principal
from picloud.control.dead_letters import OPEN, DeadLetterDetail, LetterFilters, read_dead_letter, resolved, unknown
from picloud.control.events import shown_event, stored_event
from picloud.control.records import Connection, fetch_all, fetch_row, fetch_rows
from picloud.errors import ConflictError
from picloud.ids import new_id
from picloud.queries import Queries

_SQL = Queries("dead_letters")

#: Which version of the script runs: the one that is deployed, or the one that failed.
VersionChoice: TypeAlias = Literal["current", "original"]


class Replayed(msgspec.Struct, frozen=True):
    """A letter, and the execution that runs its event, not before ``available_at``."""

    id: UUID
    execution_id: UUID
    available_at: dt.datetime


class Ignored(msgspec.Struct, frozen=True):
    """A letter about which nothing is done."""

    id: UUID


@dataclass(frozen=True, slots=True)
class Pace:
    """When replayed rows may run: the first at ``first_at`` (None: now), each of the others ``interval_ms`` later."""

    interval_ms: float = 0.0
    first_at: dt.datetime | None = None

    def after(self, replayed: Sequence[Replayed]) -> Pace:
        """The pace of those that follow these."""
        if not replayed or not self.interval_ms:
            return self
        return Pace(self.interval_ms, replayed[-1].available_at + dt.timedelta(milliseconds=self.interval_ms))


AT_ONCE = Pace()


async def replay_one(
    connection: Connection,
    principal: Principal,
    letter_id: UUID,
    *,
    app_ids: list[int] | None = None,
    version: VersionChoice = "current",
) -> Replayed:
    """Run the event again, as a new execution.

    Raises:
        NotFoundError: there is no such letter.
        ConflictError: it is resolved already, or its script is no longer there.
    """
    done = await replay(connection, principal, [letter_id], app_ids=app_ids, version=version)
    if done:
        return done[0]
    letter = await read_dead_letter(connection, letter_id, app_ids=app_ids)
    if letter.resolution in OPEN:
        raise script_is_gone(letter.app, letter.script, version)
    raise resolved(letter.id, letter.resolution)


async def replay(
    connection: Connection,
    principal: Principal,
    letter_ids: Sequence[UUID],
    *,
    app_ids: list[int] | None = None,
    version: VersionChoice = "current",
    pace: Pace = AT_ONCE,
) -> list[Replayed]:
    """Run the events of these letters again, in this order; those that are not open are left out."""
    parameters = {
        "ids": list(letter_ids),
        "new_ids": [new_id() for _ in letter_ids],
        "principal_id": principal.id,
        "app_ids": app_ids,
        "is_original": version == "original",
        "first_at": pace.first_at,
        "interval_ms": pace.interval_ms,
    }
    return await fetch_all(connection, _SQL.replay, parameters, Replayed)


def script_is_gone(app: str | None, script: str | None, version: VersionChoice) -> ConflictError:
    """Why a letter that is open cannot run."""
    if version == "original":
        return ConflictError(
            f"the version of {script!r} that failed is not known, or no longer there",
            hint="replay it on the current version",
            code="version_not_found",
        )
    return ConflictError(f"{app} has no script {script!r} any more", hint="deploy it, then replay")


async def count_open(connection: Connection, filters: LetterFilters) -> int:
    """How many open letters are meant."""
    row = await fetch_row(connection, _SQL.count_open, filters.parameters())
    assert row is not None
    return int(row.count)


async def find_open(connection: Connection, filters: LetterFilters, *, limit: int) -> list[UUID]:
    """The open letters that are meant, what died first first."""
    rows = await fetch_rows(connection, _SQL.open, filters.parameters() | {"limit": limit})
    return [row.id for row in rows]


async def ignore_one(
    connection: Connection, principal: Principal, letter_id: UUID, *, note: str | None, app_ids: list[int] | None = None
) -> DeadLetterDetail:
    """Say that nothing is to be done about a letter.

    Raises:
        NotFoundError: there is no such letter.
        ConflictError: it is resolved already.
    """
    done = await ignore(connection, principal, [letter_id], note=note, app_ids=app_ids)
    letter = await read_dead_letter(connection, letter_id, app_ids=app_ids)
    if not done:
        raise resolved(letter.id, letter.resolution)
    return letter


async def ignore(
    connection: Connection,
    principal: Principal,
    letter_ids: Sequence[UUID],
    *,
    note: str | None,
    app_ids: list[int] | None = None,
) -> list[Ignored]:
    """Say that nothing is to be done about these letters; those that are not open are left out."""
    parameters = {"ids": list(letter_ids), "app_ids": app_ids, "principal_id": principal.id, "note": note}
    return await fetch_all(connection, _SQL.ignore, parameters, Ignored)


async def lock_letter(connection: Connection, letter_id: UUID, *, app_ids: list[int] | None = None) -> Any:
    """The event as it is stored, which nobody else edits or replays before this transaction ends.

    Raises:
        NotFoundError: there is no such letter.
    """
    row = await fetch_row(connection, _SQL.lock, {"id": letter_id, "app_ids": app_ids})
    if row is None:
        raise unknown(letter_id)
    return row


async def edit(
    connection: Connection, letter_id: UUID, event: dict[str, Any], *, app_ids: list[int] | None = None
) -> DeadLetterDetail:
    """Change the event that a replay will run; the event as it died is kept.

    Raises:
        NotFoundError: there is no such letter.
        ConflictError: it is resolved already.
        InvalidInputError: the body in the event cannot be read.
    """
    row = await lock_letter(connection, letter_id, app_ids=app_ids)
    if row.resolution not in OPEN:
        raise resolved(row.id, row.resolution)
    new_event, new_body = stored_event(row.source, event, row.body)
    died_with = msgspec.json.encode(shown_event(row.source, row.event, row.body))
    await connection.execute(
        _SQL.edit, {"id": letter_id, "event": new_event, "body": new_body, "edited_from": died_with}
    )
    return await read_dead_letter(connection, letter_id, app_ids=app_ids)
