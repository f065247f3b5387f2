"""What a worker process does with rows: begin them, beat while it holds them, settle them.

All of it is set-based: one statement for everything a fetch brought, one for
everything that has finished. What is made for every run is a msgspec struct:
a frozen dataclass sets its fields one call at a time.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

import msgspec
from psycopg import Connection
from psycopg.rows import args_row

from picloud.database import fetch, record_array
from picloud.queries import Queries
from picloud.retries import Backoff, RetryPolicy
from picloud.services.effects import NO_EFFECTS, Effects, KeyId, to_records

_SQL = Queries("worker")

#: The protocol this release speaks; ``installation.oldest_worker_protocol`` may refuse it.
WORKER_PROTOCOL = 1

#: Payloads up to this size come with the begin; larger ones are fetched by the thread that runs them.
INLINE_PAYLOAD_BYTES = 16 * 1024

#: How far past its timeout a run may live before anybody else may take its row.
DEADLINE_GRACE = dt.timedelta(seconds=15)

Outcome = Literal["completed", "failed", "rejected", "depth_exceeded", "handed_back", "crashed", "suspected", "lost"]
Verdict = Literal["done", "dead", "retried", "handed_back", "already", "lost", "conflict"]


@dataclass(frozen=True, slots=True)
class WorkerProcess:
    """Who begins rows: one process, with an id never used before."""

    id: UUID
    host: str
    pid: int
    parent_id: UUID
    threads: int
    takes_sync: bool
    release: str

    def parameters(self) -> dict[str, object]:
        return {
            "id": self.id,
            "worker_id": self.id,
            "host": self.host,
            "pid": self.pid,
            "parent_id": self.parent_id,
            "threads": self.threads,
            "takes_sync": self.takes_sync,
            "release": self.release,
            "protocol": WORKER_PROTOCOL,
        }


class BegunRow(msgspec.Struct, frozen=True):
    """A row this process owns, under ``token``, until it settles it or its deadline passes.

    The columns of ``begin_executions_v1``, in their order.

    Attributes:
        event: None when the payload is above the inline size: see ``read_payload``.
        traceparent: what the first request of the chain came with (``picloud.observability.traceparent``).
    """

    id: UUID
    token: int
    app_id: int
    app_name: str
    script_id: int
    script_name: str
    version: int
    timeout_ms: int
    source: str
    trigger_id: int | None
    attempt: int
    max_attempts: int
    backoff: Backoff
    backoff_base_ms: int
    backoff_max_ms: int
    backoff_jitter_pct: int
    is_sync: bool
    reply_to: str | None
    is_suspect: bool
    root_execution_id: UUID
    trigger_depth: int
    payload_day: dt.date
    payload_bytes: int
    principal_id: int
    principal_name: str
    is_principal_disabled: bool
    is_handler: bool
    app_revision: int
    event: bytes | None
    body: bytes | None
    traceparent: str | None = None
    parent_execution_id: UUID | None = None

    @property
    def retry(self) -> RetryPolicy:
        """How often and how soon it is tried again."""
        return RetryPolicy(
            self.max_attempts, self.backoff, self.backoff_base_ms, self.backoff_max_ms, self.backoff_jitter_pct
        )


def register(connection: Connection[Any], worker: WorkerProcess) -> None:
    """Make the process known: the relay counts its threads."""
    connection.execute(_SQL.register, worker.parameters())


def begin(
    connection: Connection[Any],
    worker: WorkerProcess,
    pairs: Sequence[tuple[UUID, int]],
    run_ms: float,
    *,
    beats: bool = True,
) -> list[BegunRow]:
    """Own as many of these rows as their tokens still allow; the rest is somebody else's or gone.

    Args:
        run_ms: measured time of one run, for the relay.
        beats: write the heartbeat too; False when this process has beaten a moment ago.
    """
    parameters = worker.parameters() | {
        # Array literals: the driver would dump them element by element, at ten times the cost.
        "ids": "{" + ",".join([identifier.hex for identifier, _ in pairs]) + "}",
        "tokens": "{" + ",".join([str(token) for _, token in pairs]) + "}",
        "run_ms": run_ms,
        "beats": beats,
        "grace": DEADLINE_GRACE,
        "inline_bytes": INLINE_PAYLOAD_BYTES,
    }
    with connection.cursor(row_factory=args_row(BegunRow), binary=True) as cursor:
        cursor.execute(_SQL.begin, parameters)
        return cursor.fetchall()


@dataclass(frozen=True, slots=True)
class Standing:
    """Whether this process may begin rows at all."""

    is_draining: bool
    is_too_old: bool

    @property
    def reason_to_stand_aside(self) -> str | None:
        """Why it may not, for the log; None: it may."""
        if self.is_too_old:
            return "the database wants newer workers; upgrade this one"
        return "it was told to drain" if self.is_draining else None


def read_standing(connection: Connection[Any], worker_id: UUID) -> Standing:
    """Ask after a begin that brought less than expected."""
    (row,) = fetch(connection, _SQL.may_begin, {"worker_id": worker_id})
    return Standing(row.is_draining, row.oldest_worker_protocol > WORKER_PROTOCOL)


def read_payload(connection: Connection[Any], row: BegunRow) -> tuple[bytes, bytes | None] | None:
    """Event and body of a row whose payload did not come inline; None when it is gone."""
    with connection.cursor(binary=True) as cursor:
        cursor.execute(_SQL.payload, {"id": row.id, "day": row.payload_day})
        return cursor.fetchone()


def read_sources(
    connection: Connection[Any], versions: Iterable[tuple[int, int]]
) -> dict[tuple[int, int], tuple[str, str]]:
    """Source and limits (JSON) of script versions, by (script id, version)."""
    wanted = list(versions)
    parameters = {"script_ids": [each[0] for each in wanted], "versions": [each[1] for each in wanted]}
    rows = fetch(connection, _SQL.script_versions, parameters)
    return {(row.script_id, row.version): (row.source, row.limits) for row in rows}


def read_label(connection: Connection[Any], source: str, trigger_id: int) -> str | None:
    """What fired rows of this source and trigger, as people name it; None when it is gone."""
    rows = fetch(connection, _SQL.trigger_label, {"source": source, "trigger_id": trigger_id})
    return rows[0].label if rows else None


@dataclass(frozen=True, slots=True)
class BeatAnswer:
    """What a heartbeat learned.

    Attributes:
        is_known: False: the workers row is gone, others may take the rows at any moment.
        standing: whether it may go on beginning rows.
        lost: rows this process holds no longer owns: cancelled, or taken over.
    """

    is_known: bool
    standing: Standing
    lost: frozenset[UUID]


def beat(connection: Connection[Any], worker_id: UUID, held: Sequence[tuple[UUID, int]], run_ms: float) -> BeatAnswer:
    """Say that this process lives."""
    parameters = {
        "worker_id": worker_id,
        "ids": [identifier for identifier, _ in held],
        "tokens": [token for _, token in held],
        "run_ms": run_ms,
    }
    (row,) = fetch(connection, _SQL.beat, parameters)
    return BeatAnswer(
        is_known=row.is_draining is not None,
        standing=Standing(bool(row.is_draining), row.oldest_worker_protocol > WORKER_PROTOCOL),
        lost=frozenset(row.lost),
    )


def extend_leases(connection: Connection[Any], rows: Sequence[BegunRow]) -> None:
    """Count the deadlines of these rows from now: their runs are made again."""
    parameters = {
        "ids": [row.id for row in rows],
        "tokens": [row.token for row in rows],
        "timeouts_ms": [row.timeout_ms for row in rows],
        "grace": DEADLINE_GRACE,
    }
    connection.execute(_SQL.extend_leases, parameters)


class Settlement(msgspec.Struct, frozen=True):
    """How one run ended, ready to be written."""

    id: UUID
    token: int
    outcome: Outcome
    reason: str | None = None
    result_kind: str | None = None
    result: bytes | None = None
    http_status: int | None = None
    http_headers: bytes | None = None
    error: bytes | None = None
    logs: bytes | None = None
    run_us: int | None = None
    operations: int | None = None
    delay_ms: int | None = None
    version: int | None = None
    is_handler: bool = False
    conflicts: int = 0
    effects: Effects = NO_EFFECTS

    def size_bytes(self) -> int:
        """Of what is stored with the end itself, effects left out."""
        return sum(len(part) for part in (self.result, self.error, self.logs, self.http_headers) if part)


class Settled(msgspec.Struct, frozen=True):
    """What became of a settlement once its transaction has committed."""

    id: UUID
    verdict: Verdict
    reply_to: str | None
    is_abandoned: bool
    freed_slot: bool
    fired: bool

    @property
    def wakes_relay(self) -> bool:
        """Whether there may be something to publish that was not there before."""
        return self.verdict in ("retried", "handed_back") or self.freed_slot or self.fired


def settle(
    connection: Connection[Any], batch: Sequence[Settlement], *, may_lag: bool = False, is_chain: bool = False
) -> list[Settled]:
    """Settle many runs in one transaction, with their effects.

    Args:
        may_lag: the commit need not wait for the disk: only sync runs without effects.
        is_chain: each run has read through the writes of those before it: all of them commit or none.
    """
    runs: list[tuple[object, ...]] = []
    data: list[bytes] = []
    first_byte = 1
    for each in batch:
        runs.append(_run_end(each, first_byte))
        data += [part for part in (each.result, each.http_headers, each.error, each.logs) if part]
        first_byte += each.size_bytes()
    parameters: dict[str, object] = {"runs": record_array(runs), "may_lag": may_lag}
    statement = _SQL.complete
    if is_chain or any(each.effects is not NO_EFFECTS for each in batch):
        effects = to_records(((each.id, each.effects) for each in batch), data, first_byte)
        parameters |= {name: record_array(records) for name, records in effects._asdict().items()}
        parameters["is_chain"] = is_chain
        statement = _SQL.commit
    settled = fetch(connection, statement, parameters | {"data": b"".join(data)})
    return [Settled(row.id, row.verdict, row.reply_to, row.is_abandoned, row.freed_slot, row.fired) for row in settled]


def lock_keys(connection: Connection[Any], keys: Iterable[KeyId]) -> None:
    """Hold keys until the transaction ends, in the order in which everybody takes them."""
    connection.execute(_SQL.lock_keys, {"reads": record_array((None, *key, 0) for key in keys)})


def _run_end(settlement: Settlement, first_byte: int) -> tuple[object, ...]:
    """The columns of the type ``run_end``, in their order."""
    return (
        settlement.id,
        settlement.token,
        settlement.outcome,
        settlement.reason,
        settlement.result_kind,
        settlement.http_status,
        settlement.run_us,
        settlement.operations,
        settlement.delay_ms,
        settlement.version,
        first_byte,
        _length(settlement.result),
        _length(settlement.http_headers),
        _length(settlement.error),
        _length(settlement.logs),
        settlement.is_handler,
        settlement.conflicts,
    )


def _length(part: bytes | None) -> int | None:
    return None if part is None else len(part)


def mark_abandoned(connection: Connection[Any], ids: Sequence[UUID]) -> None:
    """Runs whose answers reached nobody although they came in time."""
    connection.execute(_SQL.abandon, {"ids": list(ids)})


def unpublish(connection: Connection[Any], pairs: Sequence[tuple[UUID, int]]) -> list[UUID]:
    """Give back rows that were popped and never begun."""
    parameters = {"ids": [identifier for identifier, _ in pairs], "tokens": [token for _, token in pairs]}
    return [row[0] for row in connection.execute(_SQL.unpublish, parameters).fetchall()]


@dataclass(frozen=True, slots=True)
class HeldRow:
    """A row that a process which ended still owns."""

    id: UUID
    token: int
    is_sync: bool
    crashes: int


def held_by(connection: Connection[Any], worker_id: UUID) -> list[HeldRow]:
    """What this worker process still owns."""
    with connection.cursor(binary=True) as cursor:
        cursor.execute(_SQL.held_by, {"worker_id": worker_id})
        return [HeldRow(*row) for row in cursor.fetchall()]


def forget(connection: Connection[Any], worker_id: UUID) -> None:
    """Strike a worker process that has ended off the list."""
    connection.execute(_SQL.forget, {"worker_id": worker_id})
