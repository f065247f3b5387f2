"""The audit log: who did what to which object, what was there before and after, and why.

An entry is written in the transaction of the change, so that neither is there without the other.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from dataclasses import dataclass
from typing import Any

import msgspec

from picloud.access import Caller
from picloud.control.pages import Page, int_cursor, page_of
from picloud.control.records import Connection, fetch_rows, stored_json
from picloud.errors import NotFoundError
from picloud.queries import Queries

_SQL = Queries("audit")

#: Of a value before or after; what is larger is named by its size and hash.
_MOST_BYTES = 16_384


@dataclass(slots=True)
class Entry:
    """What an entry will say besides who and when.

    Attributes:
        action: the operation of the control API.
        object: what it was done to, in the app when there is one.
        before: what was there, as JSON can hold it; None: nothing, or not worth telling.
        reason: given by who did it.
        is_void: nothing was changed: there is nothing to write.
    """

    action: str
    app: str | None = None
    object: str = ""
    before: Any = None
    after: Any = None
    reason: str | None = None
    is_void: bool = False


async def write_entry(connection: Connection, entry: Entry, caller: Caller, request_id: str | None) -> None:
    """Write an entry, in the transaction of what it tells of."""
    await connection.execute(
        _SQL.insert_entry,
        {
            "principal_id": caller.principal.id or None,
            "principal": caller.principal.name,
            "credential": caller.credential,
            "request_id": request_id,
            "action": entry.action,
            "app": entry.app,
            "object": entry.object.replace("\0", "\ufffd"),
            "before": _stored(entry.before),
            "after": _stored(entry.after),
            "reason": entry.reason,
        },
    )


def _stored(value: Any) -> bytes | None:
    if value is None:
        return None
    data = msgspec.json.encode(value)
    if len(data) <= _MOST_BYTES:
        return data
    return msgspec.json.encode({"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()})


# Reading


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that somebody did.

    Attributes:
        principal: who; as they were called then.
        credential: ``session``, or ``key …wxyz``.
        action: the operation of the control API.
        object: what it was done to: a name, an id, a path; in the app when there is one.
        before: what was there, as far as that is told; what was larger than 16 KiB is named by size and hash.
        after: what is there now.
        reason: given by who did it.
    """

    id: int
    at: dt.datetime
    principal: str
    credential: str
    request_id: str | None
    action: str
    app: str | None
    object: str
    before: Any
    after: Any
    reason: str | None


class AuditFilters(msgspec.Struct, frozen=True, kw_only=True):
    """What the log is narrowed to; None: not at all."""

    apps: list[str] | None = None
    principal: str | None = None
    action: str | None = None
    object: str | None = None
    since: dt.datetime | None = None


async def list_entries(
    connection: Connection, filters: AuditFilters, *, limit: int, after: str | None
) -> Page[AuditEntry]:
    """Newest first."""
    wanted = msgspec.structs.asdict(filters) | {"id": None, "cursor": int_cursor(after), "limit": limit + 1}
    rows = await fetch_rows(connection, _SQL.entries, wanted)
    return page_of([_entry(row) for row in rows], limit, lambda entry: entry.id)


async def read_entry(connection: Connection, entry_id: int, *, apps: list[str] | None = None) -> AuditEntry:
    """Raises: NotFoundError."""
    wanted = msgspec.structs.asdict(AuditFilters(apps=apps)) | {"id": entry_id, "cursor": None, "limit": 1}
    rows = await fetch_rows(connection, _SQL.entries, wanted)
    if not rows:
        raise NotFoundError(f"there is no entry {entry_id} in the audit log")
    return _entry(rows[0])


def _entry(row: Any) -> AuditEntry:
    values = row._asdict()
    return AuditEntry(**values | {"before": stored_json(row.before), "after": stored_json(row.after)})
