"""Dry runs of dead letters: what a worker is asked, and what it answers.

``picloud.services.dry_run`` says what they are.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec

from picloud.broker import Reply
from picloud.control.dead_letters import unknown
from picloud.control.events import stored_event
from picloud.control.records import Connection, fetch_row
from picloud.control.resolutions import VersionChoice, script_is_gone
from picloud.errors import CapacityError
from picloud.outbox.accept import ONE_ATTEMPT, Arrival
from picloud.queries import Queries
from picloud.services.dry_run import DRY_RUN, DryRunReport, encode_event, failed_report, report_of

_SQL = Queries("dead_letters")


class DryRun(DryRunReport, frozen=True, kw_only=True):
    """What a replay would do, with the id of the execution that found out."""

    execution_id: UUID


async def arrival_of(
    connection: Connection,
    letter_id: UUID,
    execution_id: UUID,
    *,
    version: VersionChoice,
    event: dict[str, Any] | None,
    with_calls: bool,
    app_ids: list[int] | None,
) -> tuple[Arrival, int]:
    """The row that runs a letter dry: as a replay would run it, by the same principal and under the same root.

    Resolved letters may be tried too.

    Args:
        event: instead of the letter's own; the letter is not changed.

    Returns:
        The row, and milliseconds its script may run.

    Raises:
        NotFoundError: there is no such letter.
        ConflictError: its script is no longer there.
        InvalidInputError: the body in the event cannot be read.
        CapacityError: the app is paused.
    """
    parameters = {"id": letter_id, "app_ids": app_ids, "is_original": version == "original"}
    row = await fetch_row(connection, _SQL.rehearsed, parameters)
    if row is None:
        raise unknown(letter_id)
    if row.script_id is None:
        raise script_is_gone(row.app, row.script, version)
    if row.is_paused:
        raise CapacityError(f"{row.app} is paused", retry_after_seconds=30, code="app_paused")
    content, body = (row.event, row.body) if event is None else stored_event(row.source, event, row.body)
    arrival = Arrival(
        id=execution_id,
        app_id=row.app_id,
        app_revision=row.revision,
        script_id=row.script_id,
        script_version=row.script_version,
        source=DRY_RUN,
        principal_id=row.principal_id,
        event=encode_event(row.source, row.trigger, content, with_calls=with_calls),
        body=body,
        retry=ONE_ATTEMPT,
        root_execution_id=row.root_execution_id,
        trigger_depth=row.trigger_depth,
    )
    return arrival, row.timeout_ms


def answer_of(reply: Reply) -> DryRun:
    """What a worker found out."""
    if reply.status == "completed" and reply.data is not None:
        report = report_of(reply.data)
    else:
        report = failed_report(reply.error)
    return DryRun(execution_id=reply.execution_id, **msgspec.structs.asdict(report))
