"""What waits to run, what a run came to, and what died, as data."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from picloud.engine import RunResult
from picloud.retries import RetryPolicy

#: Of a run: retrying: it failed and waits to be tried again; dead: it became a dead letter.
Status = Literal["completed", "failed", "retrying", "dead", "depth_exceeded"]

#: Why a run is among the failures.
Reason = Literal["retries_exhausted", "not_retryable", "depth_exceeded", "handler_failed"]


@dataclass(slots=True)
class Row:
    """One execution, as the outbox would hold it.

    Attributes:
        script: None: a message in a queue that nobody consumes.
        event: JSON object without its source.
        queue: the one a message is in.
        order_key: messages of one queue and key run one after another.
        letter: what a handler of dead letters handles.
    """

    id: UUID
    root_id: UUID
    seq: int
    source: str
    script: str | None
    trigger: str | None
    event: bytes
    available_at: datetime
    retry: RetryPolicy
    depth: int = 0
    body: bytes | None = None
    attempt: int = 1
    principal: str = "test"
    is_sync: bool = False
    queue: str | None = None
    order_key: str | None = None
    letter: Failure | None = None
    first_attempt_at: str = ""


@dataclass(frozen=True, slots=True)
class Ended:
    """A run and what became of it."""

    row: Row
    attempt: int
    status: Status
    result: RunResult
    error: dict[str, Any] | None


@dataclass(slots=True)
class Failure:
    """A run that failed for good."""

    row: Row
    reason: Reason
    attempts: int
    error: dict[str, Any]
    #: A script has handled it, or a test has looked at it: what is neither fails the test.
    is_handled: bool = False
    is_seen: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the log of a test: of a script, of the test itself, or about a run that failed."""

    script: str
    level: str
    message: str
    fields: Any = None
    #: Written by a script of the app: neither by the test nor by PiCloud.
    is_of_app: bool = False
