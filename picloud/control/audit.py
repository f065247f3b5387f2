"""The audit log: who did what to which object, what was there before and after, and why.

An entry is written in the transaction of the change, so that neither is there without the other.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import msgspec

from picloud.access import Caller
from picloud.control.records import Connection
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
