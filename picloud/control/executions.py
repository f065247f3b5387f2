"""Executions: what runs, what ran, what came of it, and what it caused."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias
from uuid import UUID

import msgspec

from picloud.control.events import blob
from picloud.control.logs import LogLine, read_logs
from picloud.control.pages import Page, id_cursor, page_of
from picloud.control.records import Connection, fetch_row, fetch_rows, stored_json
from picloud.errors import NotFoundError
from picloud.queries import Queries

_SQL = Queries("inspect")

Status: TypeAlias = Literal[
    "pending", "running", "completed", "failed", "dead", "cancelled", "depth_exceeded", "abandoned"
]


class Execution(msgspec.Struct, frozen=True, kw_only=True):
    """One execution; the names of an app or script that is gone are null.

    Attributes:
        version: null while the row waits for whatever version is current when it begins.
        trigger: what fired it; of an HTTP request ``METHOD /path`` of the route.
        attempts: runs so far.
        run_ms: time the script ran, in its last attempt.
        root_execution_id: of the first cause, which is the execution itself when nothing of PiCloud caused it.
        parent_execution_id: of the run whose effect this is; null: no run's.
        error: ``code``, ``message``, and ``line``, ``column``, ``function`` where they are known; of a function that
            refused something, its code as ``reason`` and what to do about it as ``hint``.
    """

    id: UUID
    app: str | None
    script: str | None
    version: int | None
    source: str
    trigger: str | None
    principal: str | None
    status: Status
    attempts: int
    is_sync: bool
    root_execution_id: UUID
    parent_execution_id: UUID | None
    trigger_depth: int
    worker_id: UUID | None
    created_at: dt.datetime
    started_at: dt.datetime | None
    finished_at: dt.datetime | None
    run_ms: float | None
    operations: int | None
    error: Any


class ExecutionDetail(Execution, frozen=True, kw_only=True):
    """One execution with its result and its logs.

    Attributes:
        result: a JSON value; text as a string, bytes as ``{"base64"}``, a response as
            ``{"status", "headers", "body"}``, and null when the script returned nothing.
    """

    result_kind: str | None
    result: Any
    logs: list[LogLine]


class ExecutionStatus(Execution, frozen=True, kw_only=True):
    """One execution as a stream tells of it: its logs come as events of their own.

    Attributes:
        is_final: it has ended; nothing follows.
        result: as in an execution, once it has ended.
    """

    is_final: bool
    result_kind: str | None
    result: Any


class TreeNode(Execution, frozen=True, kw_only=True):
    """One execution among all that go back to one first cause; ``depth`` is how many hops it is away from that."""

    depth: int


class Filters(msgspec.Struct, frozen=True, kw_only=True):
    """What a list is narrowed to; None: not at all."""

    app_ids: list[int] | None = None
    script: str | None = None
    source: str | None = None
    trigger: str | None = None
    status: str | None = None
    since: dt.datetime | None = None

    def parameters(self) -> dict[str, object]:
        return msgspec.structs.asdict(self)


async def list_executions(
    connection: Connection, filters: Filters, *, limit: int, after: str | None
) -> Page[Execution]:
    """Newest first."""
    rows = await _read(connection, filters, limit=limit + 1, after=id_cursor(after))
    return page_of([_execution(row) for row in rows], limit, lambda execution: execution.id)


async def read_execution(
    connection: Connection, execution_id: UUID, *, app_ids: list[int] | None = None
) -> ExecutionDetail:
    """Raises: NotFoundError."""
    rows = await _read(connection, Filters(app_ids=app_ids), ids=[execution_id], limit=1, with_result=True)
    if not rows:
        raise _unknown(execution_id)
    return _detail(rows[0], await read_logs(connection, execution_id))


async def read_status(
    connection: Connection, execution_id: UUID, *, app_ids: list[int] | None = None
) -> ExecutionStatus:
    """Where an execution is; with its result when it has ended. Raises: NotFoundError."""
    rows = await _read(connection, Filters(app_ids=app_ids), ids=[execution_id], limit=1, with_result=True)
    if not rows:
        raise _unknown(execution_id)
    row = rows[0]
    is_final = row.status not in {"pending", "running"}
    return ExecutionStatus(**_summary(row), is_final=is_final, result_kind=row.result_kind, result=result_value(row))


async def require(connection: Connection, execution_id: UUID, *, app_ids: list[int] | None = None) -> Execution:
    """One execution without its result and logs. Raises: NotFoundError."""
    rows = await _read(connection, Filters(app_ids=app_ids), ids=[execution_id], limit=1)
    if not rows:
        raise _unknown(execution_id)
    return _execution(rows[0])


async def read_tree(
    connection: Connection, execution_id: UUID, *, limit: int, after: str | None, app_ids: list[int] | None = None
) -> Page[TreeNode]:
    """Everything that goes back to the same first cause as ``execution_id``, oldest first; of one app, if one is given.

    Raises:
        NotFoundError: there is no such execution.
    """
    own = await require(connection, execution_id, app_ids=app_ids)
    root = {"root": own.root_execution_id, "app_ids": app_ids, "after": id_cursor(after), "limit": limit + 1}
    ids = [row.id for row in await fetch_rows(connection, _SQL.tree, root)]
    rows = await _read(connection, Filters(), ids=ids, limit=limit + 1)
    nodes = [TreeNode(**_summary(row), depth=row.trigger_depth) for row in reversed(rows)]
    return page_of(nodes, limit, lambda node: node.id)


async def has_ended(connection: Connection, execution_id: UUID) -> bool:
    """Is there a record of its end? False also for an id that is not known."""
    return await fetch_row(connection, _SQL.has_ended, {"id": execution_id}) is not None


async def _read(
    connection: Connection,
    filters: Filters,
    *,
    limit: int,
    ids: Sequence[UUID] | None = None,
    after: UUID | None = None,
    with_result: bool = False,
) -> list[Any]:
    parameters = filters.parameters() | {
        "ids": None if ids is None else list(ids),
        "after": after,
        "with_result": with_result,
        "limit": limit,
    }
    return await fetch_rows(connection, _SQL.executions, parameters)


def _summary(row: Any) -> dict[str, Any]:
    values = {name: getattr(row, name) for name in Execution.__struct_fields__ if name not in ("run_ms", "error")}
    return values | {"run_ms": None if row.run_us is None else row.run_us / 1_000, "error": stored_json(row.error)}


def _execution(row: Any) -> Execution:
    return Execution(**_summary(row))


def _detail(row: Any, logs: list[LogLine]) -> ExecutionDetail:
    return ExecutionDetail(**_summary(row), result_kind=row.result_kind, result=result_value(row), logs=logs)


def result_value(row: Any) -> Any:
    """A stored result as JSON shows it."""
    return shown_result(row.result_kind, row.result, row.http_status, row.http_headers)


def shown_result(kind: str | None, data: bytes | None, http_status: int | None, http_headers: bytes | None) -> Any:
    """A result as JSON shows it, by its kind."""
    content = bytes(data or b"")
    match kind:
        case None | "unit":
            return None
        case "json":
            return stored_json(content)
        case "text":
            return content.decode("utf-8", "replace")
        case "response":
            headers = stored_json(http_headers)
            return {
                "status": http_status,
                "headers": [] if headers is None else headers,
                "body": _text_or_blob(content),
            }
        case _:
            return blob(content)


def _text_or_blob(content: bytes) -> Any:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return blob(content)


def _unknown(execution_id: UUID) -> NotFoundError:
    return NotFoundError(f"there is no execution {execution_id}", hint="history is kept for a number of days only")
