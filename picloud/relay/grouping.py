"""Puts claimed rows into messages: several quick rows share one when the backlog is deep.

The cost of a run is per message and per round trip, hardly ever PostgreSQL's or
the script's. Sync rows, restricted rows (of an order key or a limited queue) and
suspects travel alone: the first must not wait behind others, the second keep
their order and number whatever a batch does, the third must not run beside
anything. Nothing here does I/O.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from picloud.broker import encode_message
from picloud.relay.window import UNKNOWN_RUN_MS

MOST_ROWS_PER_MESSAGE = 16
#: Milliseconds of work in one message: a thread that takes it is busy this long.
MOST_MS_PER_MESSAGE = 20.0
MOST_BYTES_PER_MESSAGE = 256 * 1024


@dataclass(frozen=True, slots=True)
class ClaimedRow:
    """A row that was claimed and is to be published under ``token``."""

    id: UUID
    token: int
    script_id: int
    is_sync: bool
    travels_alone: bool
    payload_bytes: int


@dataclass(frozen=True, slots=True)
class Messages:
    """What one publish pushes: messages of sync rows, then of async ones."""

    sync: list[bytes]
    asynchronous: list[bytes]


def group(rows: Sequence[ClaimedRow], run_ms: Mapping[int, float], *, backlog_is_deep: bool) -> Messages:
    """Messages for these rows, their order kept.

    Args:
        run_ms: measured time of a run by script id; a script that is not in it travels alone.
    """
    messages = Messages([], [])
    bundle: list[ClaimedRow] = []
    bundle_ms = 0.0
    bundle_bytes = 0

    def flush() -> None:
        nonlocal bundle, bundle_ms, bundle_bytes
        if bundle:
            messages.asynchronous.append(_message(bundle, bundle_ms, bundle_bytes))
            bundle, bundle_ms, bundle_bytes = [], 0.0, 0

    for row in rows:
        known_ms = run_ms.get(row.script_id)
        if row.travels_alone or not backlog_is_deep or known_ms is None or known_ms > MOST_MS_PER_MESSAGE / 2:
            target = messages.sync if row.is_sync else messages.asynchronous
            target.append(_message([row], known_ms or UNKNOWN_RUN_MS, row.payload_bytes))
            continue
        is_full = (
            len(bundle) == MOST_ROWS_PER_MESSAGE
            or bundle_ms + known_ms > MOST_MS_PER_MESSAGE
            or bundle_bytes + row.payload_bytes > MOST_BYTES_PER_MESSAGE
        )
        if is_full:
            flush()
        bundle.append(row)
        bundle_ms += known_ms
        bundle_bytes += row.payload_bytes
    flush()
    return messages


def _message(rows: Sequence[ClaimedRow], estimated_ms: float, payload_bytes: int) -> bytes:
    pairs = [(row.id, row.token) for row in rows]
    return encode_message(pairs, estimated_ms=max(1, round(estimated_ms)), payload_bytes=payload_bytes)
