"""Dead letters: what keeps failing, with all that is known of it; replayed, edited, ignored.

A replay makes a new execution of the same event. It never touches what died: the
letter keeps its attempts and says as which execution it was replayed.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias
from uuid import UUID

import msgspec

from picloud.control.events import shown_event, stored_event
from picloud.control.executions import Filters
from picloud.control.identity import Principal
from picloud.control.logs import shown_lines
from picloud.control.pages import Page, id_cursor, page_of
from picloud.control.records import Connection, fetch_all, fetch_row, fetch_rows, stored_json
from picloud.errors import ConflictError, NotFoundError
from picloud.ids import day_of, new_id
from picloud.queries import Queries

_SQL = Queries("dead_letters")

Resolution: TypeAlias = Literal["unresolved", "replayed", "ignored", "handled_by_script", "handler_failed"]
_OPEN = frozenset({"unresolved", "handler_failed"})


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A dead letter in a list. Its id is the id of the execution that died.

    Attributes:
        reason: ``retries_exhausted``, ``not_retryable``, ``worker_crash``, …
        attempt_count: runs it had.
        replayed_as: the execution its last replay made.
    """

    id: UUID
    execution_id: UUID
    app: str | None
    script: str | None
    version: int | None
    source: str
    trigger: str | None
    principal: str | None
    reason: str
    last_error: Any
    attempt_count: int
    resolution: Resolution
    resolved_at: dt.datetime | None
    resolved_by: str | None
    resolution_note: str | None
    replayed_as: UUID | None
    root_execution_id: UUID
    trigger_depth: int
    accepted_at: dt.datetime
    died_at: dt.datetime
    is_edited: bool


class Attempt(msgspec.Struct, frozen=True):
    """One run that failed; ``logs`` is the end of what it logged."""

    attempt: int
    error: Any
    started_at: dt.datetime | None
    finished_at: dt.datetime
    logs: list[Any]


class DeadLetterDetail(DeadLetter, frozen=True, kw_only=True):
    """A dead letter with its event and every attempt.

    Attributes:
        event: with ``body`` when it is an HTTP request: a JSON value, else text, else ``{"base64"}``.
        edited_from: the event as it died, once somebody has edited it.
    """

    event: Any
    edited_from: Any
    attempts: list[Attempt]


class Replayed(msgspec.Struct, frozen=True):
    """A letter, and the execution that now runs its event."""

    id: UUID
    execution_id: UUID


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """Which open letters a replay of many means; None: not narrowed."""

    app_id: int | None = None
    script: str | None = None
    source: str | None = None
    resolution: str | None = None
    since: dt.datetime | None = None
    ids: list[UUID] | None = None


async def list_dead_letters(
    connection: Connection, filters: Filters, *, limit: int, after: str | None
) -> Page[DeadLetter]:
    """Newest first; ``filters.status`` is the resolution."""
    rows = await _read(connection, filters, limit=limit + 1, after=id_cursor(after))
    return page_of([DeadLetter(**_summary(row)) for row in rows], limit, lambda letter: letter.id)


async def read_dead_letter(connection: Connection, letter_id: UUID, *, app_id: int | None = None) -> DeadLetterDetail:
    """Raises: NotFoundError."""
    rows = await _read(connection, Filters(app_id=app_id), letter_id=letter_id, limit=1)
    if not rows:
        raise _unknown(letter_id)
    row = rows[0]
    attempts = await fetch_rows(connection, _SQL.attempts, {"id": letter_id})
    return DeadLetterDetail(
        **_summary(row),
        event=shown_event(row.source, row.event, row.body),
        edited_from=stored_json(row.edited_from),
        attempts=[_attempt(attempt) for attempt in attempts],
    )


async def replay_one(
    connection: Connection, principal: Principal, letter_id: UUID, *, app_id: int | None = None
) -> Replayed:
    """Run the event again, as a new execution.

    Raises:
        NotFoundError: there is no such letter.
        ConflictError: it is resolved already, or its script is no longer there.
    """
    done = await replay(connection, principal, [letter_id], app_id=app_id)
    if done:
        return done[0]
    letter = await read_dead_letter(connection, letter_id, app_id=app_id)
    if letter.resolution in _OPEN:
        raise ConflictError(f"{letter.app} has no script {letter.script!r} any more", hint="deploy it, then replay")
    raise _resolved(letter.id, letter.resolution)


async def replay(
    connection: Connection, principal: Principal, letter_ids: Sequence[UUID], *, app_id: int | None = None
) -> list[Replayed]:
    """Run the events of these letters again, in this order; those that are not open are left out."""
    new_ids = [new_id() for _ in letter_ids]
    parameters = {
        "ids": list(letter_ids),
        "new_ids": new_ids,
        "new_days": [day_of(identifier) for identifier in new_ids],
        "principal_id": principal.id,
        "app_id": app_id,
    }
    return await fetch_all(connection, _SQL.replay, parameters, Replayed)


async def count_replayable(connection: Connection, selection: Selection) -> int:
    """How many open letters are meant."""
    row = await fetch_row(connection, _SQL.count_replayable, msgspec.structs.asdict(selection))
    assert row is not None
    return int(row.count)


async def find_replayable(connection: Connection, selection: Selection, *, limit: int) -> list[UUID]:
    """The open letters that are meant, what died first first."""
    rows = await fetch_rows(connection, _SQL.replayable, msgspec.structs.asdict(selection) | {"limit": limit})
    return [row.id for row in rows]


async def ignore(
    connection: Connection, principal: Principal, letter_id: UUID, *, note: str | None, app_id: int | None = None
) -> DeadLetterDetail:
    """Say that nothing is to be done about a letter.

    Raises:
        NotFoundError: there is no such letter.
        ConflictError: it is resolved already.
    """
    parameters = {"id": letter_id, "app_id": app_id, "principal_id": principal.id, "note": note}
    ignored = await fetch_row(connection, _SQL.ignore, parameters)
    letter = await read_dead_letter(connection, letter_id, app_id=app_id)
    if ignored is None:
        raise _resolved(letter.id, letter.resolution)
    return letter


async def edit(
    connection: Connection, letter_id: UUID, event: dict[str, Any], *, app_id: int | None = None
) -> DeadLetterDetail:
    """Change the event that a replay will run; the event as it died is kept.

    Raises:
        NotFoundError: there is no such letter.
        ConflictError: it is resolved already.
        InvalidInputError: the body in the event cannot be read.
    """
    row = await fetch_row(connection, _SQL.lock, {"id": letter_id, "app_id": app_id})
    if row is None:
        raise _unknown(letter_id)
    if row.resolution not in _OPEN:
        raise _resolved(row.id, row.resolution)
    new_event, new_body = stored_event(row.source, event, row.body)
    died_with = msgspec.json.encode(shown_event(row.source, row.event, row.body))
    await connection.execute(
        _SQL.edit, {"id": letter_id, "event": new_event, "body": new_body, "edited_from": died_with}
    )
    return await read_dead_letter(connection, letter_id, app_id=app_id)


async def _read(
    connection: Connection, filters: Filters, *, limit: int, letter_id: UUID | None = None, after: UUID | None = None
) -> list[Any]:
    parameters = filters.parameters() | {
        "id": letter_id,
        "after": after,
        "with_event": letter_id is not None,
        "limit": limit,
    }
    return await fetch_rows(connection, _SQL.dead_letters, parameters)


def _summary(row: Any) -> dict[str, Any]:
    values = {name: getattr(row, name) for name in DeadLetter.__struct_fields__}
    return values | {"last_error": stored_json(row.last_error)}


def _attempt(row: Any) -> Attempt:
    logs: list[Any] = [] if row.logs is None else shown_lines(row.logs)
    return Attempt(row.attempt, stored_json(row.error), row.started_at, row.finished_at, logs)


def _unknown(letter_id: UUID) -> NotFoundError:
    return NotFoundError(f"there is no dead letter {letter_id}")


def _resolved(letter_id: UUID, resolution: str) -> ConflictError:
    return ConflictError(f"{letter_id} is {resolution} already", code="already_resolved")
