"""What a run did and has not yet done: its effects, which commit with its end or never happen.

The types here are those of ``commit_executions_v1``, field by field. Messages
and values are JSON already, as bytes: nothing on the way decodes them.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Literal, NamedTuple
from uuid import UUID

from picloud.retries import RetryPolicy

#: What one run may read and write: the keys are locked when it ends, and locks are finite.
MOST_KEYS = 1_000
#: What one run may send.
MOST_SENT = 1_000
#: Messages and values of one run, in bytes.
MOST_BYTES = 8 * 1024 * 1024

SentKind = Literal["queue", "publish", "invoke", "send_email"]


class KeyId(NamedTuple):
    """Names a key among those of all apps."""

    app_id: int
    collection: str
    key: str


class KvWrite(NamedTuple):
    """What a run leaves under a key.

    Attributes:
        value: JSON; None: the key is deleted.
        ttl_ms: milliseconds from the commit on; None with no ``expires_at``: for ever.
        expires_at: a time that was there before and is kept.
    """

    value: bytes | None
    ttl_ms: int | None = None
    expires_at: dt.datetime | None = None


class Sent(NamedTuple):
    """A message, a mail or an invocation.

    Attributes:
        name: of the queue or topic; of the script that is invoked.
        message: JSON; the event itself for ``invoke`` and ``send_email``.
        retry: for rows that no trigger gives a policy of its own.
    """

    id: UUID
    app_id: int
    kind: SentKind
    name: str
    message: bytes
    principal_id: int
    retry: RetryPolicy
    script_id: int | None = None
    delay_ms: int = 0
    order_key: str | None = None


class Effects(NamedTuple):
    """All of one run.

    Attributes:
        reads: the version each key had in the database; 0: it was absent.
    """

    reads: dict[KeyId, int]
    writes: dict[KeyId, KvWrite]
    sent: tuple[Sent, ...]

    def keys(self) -> set[KeyId]:
        """Every key that is locked when these commit."""
        return self.reads.keys() | self.writes.keys()

    def size_bytes(self) -> int:
        return sum(len(write.value or b"") for write in self.writes.values()) + sum(len(s.message) for s in self.sent)


#: Of a run that did nothing but compute.
NO_EFFECTS = Effects({}, {}, ())


class EffectRecords(NamedTuple):
    """Effects of many runs as the records of the statement; ``data`` goes on where the caller's ended."""

    reads: list[tuple[object, ...]]
    writes: list[tuple[object, ...]]
    sent: list[tuple[object, ...]]


def to_records(runs: Iterable[tuple[UUID, Effects]], data: list[bytes], first_byte: int) -> EffectRecords:
    """Lay out the effects of runs, in their order.

    Args:
        data: the slices are appended here.
        first_byte: where the next slice begins, counted from one.
    """
    records = EffectRecords([], [], [])
    for run, effects in runs:
        for key, version in effects.reads.items():
            records.reads.append((run, *key, version))
        for key, write in effects.writes.items():
            size = None if write.value is None else len(write.value)
            records.writes.append((run, *key, first_byte, size, write.ttl_ms, write.expires_at))
            if write.value is not None:
                data.append(write.value)
                first_byte += len(write.value)
        for sent in effects.sent:
            records.sent.append(_sent_record(run, sent, first_byte))
            data.append(sent.message)
            first_byte += len(sent.message)
    return records


def _sent_record(run: UUID | None, sent: Sent, first_byte: int) -> tuple[object, ...]:
    """The columns of the type ``sent``, in their order."""
    retry = sent.retry
    return (
        run,
        sent.id,
        sent.app_id,
        sent.kind,
        sent.name,
        sent.script_id,
        sent.principal_id,
        first_byte,
        len(sent.message),
        sent.delay_ms,
        sent.order_key,
        retry.max_attempts,
        retry.backoff,
        retry.base_ms,
        retry.max_ms,
        retry.jitter_pct,
    )
