"""Dead letters: what keeps failing, with all that is known of it, and which of it fails alike.

What is done about them is in ``resolutions``, what would happen in ``dry_runs``.
"""

from __future__ import annotations

import datetime as dt
from typing import Any, Literal, TypeAlias
from uuid import UUID

import msgspec

from picloud.control.events import shown_event
from picloud.control.logs import shown_lines
from picloud.control.pages import Page, id_cursor, page_of
from picloud.control.records import Connection, fetch_row, fetch_rows, stored_json
from picloud.errors import ConflictError, NotFoundError
from picloud.queries import Queries

_SQL = Queries("dead_letters")

Resolution: TypeAlias = Literal["unresolved", "replayed", "ignored", "handled_by_script", "handler_failed"]
#: With these something can still be done about a letter.
OPEN = frozenset({"unresolved", "handler_failed"})


class LetterFilters(msgspec.Struct, frozen=True, kw_only=True):
    """Which letters are meant; None: not narrowed.

    Attributes:
        trigger: an id, a trigger's name, or a route as ``METHOD /path``.
        fingerprint: of the error, see ``DeadLetter``.
        since: died then or later.
        until: died before then.
    """

    ids: list[UUID] | None = None
    app_ids: list[int] | None = None
    script: str | None = None
    source: str | None = None
    trigger: str | None = None
    fingerprint: str | None = None
    resolution: str | None = None
    since: dt.datetime | None = None
    until: dt.datetime | None = None

    def parameters(self) -> dict[str, object]:
        return msgspec.structs.asdict(self)


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A dead letter in a list. Its id is the id of the execution that died.

    Attributes:
        fingerprint: the same for errors of one script at one place whose messages differ in ids, numbers and quoted
            values only.
        reason: ``retries_exhausted``, ``not_retryable``, ``worker_crash``, …
        attempt_count: runs it had.
        replayed_as: the execution its replay made.
        root_execution_id: of the first cause.
        parent_execution_id: of the run whose effect it was; null: no run's.
    """

    id: UUID
    execution_id: UUID
    app: str | None
    script: str | None
    version: int | None
    source: str
    trigger: str | None
    principal: str | None
    fingerprint: str
    reason: str
    last_error: Any
    attempt_count: int
    resolution: Resolution
    resolved_at: dt.datetime | None
    resolved_by: str | None
    resolution_note: str | None
    replayed_as: UUID | None
    root_execution_id: UUID
    parent_execution_id: UUID | None
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


class Handler(msgspec.Struct, frozen=True):
    """A run that this letter's death caused, as far as history goes back."""

    execution_id: UUID
    script: str | None
    trigger: str | None
    status: str
    error: Any
    finished_at: dt.datetime | None


class DeadLetterDetail(DeadLetter, frozen=True, kw_only=True):
    """A dead letter with its event, every attempt, and what came of it.

    Attributes:
        queue: that a replay goes back to.
        event: with ``body`` when it is an HTTP request: a JSON value, else text, else ``{"base64"}``.
        edited_from: the event as it died, once somebody has edited it.
        replay_status: of the execution ``replayed_as``; null: not replayed, or longer ago than history goes back.
    """

    queue: str | None
    order_key: str | None
    event: Any
    edited_from: Any
    attempts: list[Attempt]
    handlers: list[Handler]
    replay_status: str | None


class LetterGroup(msgspec.Struct, frozen=True):
    """Letters that died of the same error.

    Attributes:
        count: that fit what was asked for.
        open: among them those with which something can still be done.
        last_error: of ``example_id``, the last that died.
    """

    fingerprint: str
    app: str | None
    script: str | None
    source: str
    count: int
    open: int
    first_died_at: dt.datetime
    last_died_at: dt.datetime
    example_id: UUID
    last_error: Any


async def list_dead_letters(
    connection: Connection, filters: LetterFilters, *, limit: int, after: str | None
) -> Page[DeadLetter]:
    """Newest first."""
    rows = await _read(connection, filters, limit=limit + 1, after=id_cursor(after))
    return page_of([DeadLetter(**_summary(row)) for row in rows], limit, lambda letter: letter.id)


async def group_dead_letters(
    connection: Connection, filters: LetterFilters, *, limit: int, only_open: bool
) -> list[LetterGroup]:
    """The most frequent error first."""
    parameters = filters.parameters() | {"limit": limit, "only_open": only_open}
    rows = await fetch_rows(connection, _SQL.groups, parameters)
    return [LetterGroup(**row._asdict() | {"last_error": stored_json(row.last_error)}) for row in rows]


async def read_dead_letter(
    connection: Connection, letter_id: UUID, *, app_ids: list[int] | None = None
) -> DeadLetterDetail:
    """Raises: NotFoundError."""
    rows = await _read(connection, LetterFilters(ids=[letter_id], app_ids=app_ids), limit=1, with_event=True)
    if not rows:
        raise unknown(letter_id)
    row = rows[0]
    attempts = await fetch_rows(connection, _SQL.attempts, {"id": letter_id})
    handlers = await fetch_rows(connection, _SQL.handlers, {"id": letter_id, "root": row.root_execution_id})
    replay = None
    if row.replayed_as is not None:
        replay = await fetch_row(connection, _SQL.status, {"id": row.replayed_as})
    return DeadLetterDetail(
        **_summary(row),
        queue=row.queue,
        order_key=row.order_key,
        event=shown_event(row.source, row.event, row.body),
        edited_from=stored_json(row.edited_from),
        attempts=[_attempt(attempt) for attempt in attempts],
        handlers=[_handler(handler) for handler in handlers],
        replay_status=None if replay is None else replay.status,
    )


async def _read(
    connection: Connection,
    filters: LetterFilters,
    *,
    limit: int,
    after: UUID | None = None,
    with_event: bool = False,
) -> list[Any]:
    parameters = filters.parameters() | {"after": after, "with_event": with_event, "limit": limit}
    return await fetch_rows(connection, _SQL.dead_letters, parameters)


def _summary(row: Any) -> dict[str, Any]:
    values = {name: getattr(row, name) for name in DeadLetter.__struct_fields__}
    return values | {"last_error": stored_json(row.last_error)}


def _attempt(row: Any) -> Attempt:
    logs: list[Any] = [] if row.logs is None else shown_lines(row.logs)
    return Attempt(row.attempt, stored_json(row.error), row.started_at, row.finished_at, logs)


def _handler(row: Any) -> Handler:
    return Handler(row.id, row.script, row.trigger, row.status, stored_json(row.error), row.finished_at)


def unknown(letter_id: UUID) -> NotFoundError:
    """Nobody has this letter."""
    return NotFoundError(f"there is no dead letter {letter_id}")


def resolved(letter_id: UUID, resolution: str) -> ConflictError:
    """Somebody has done something about it before."""
    return ConflictError(f"{letter_id} is {resolution} already", code="already_resolved")
