"""The run a host function serves: what it may write to and work with.

Modules are built once and serve every run of the process, so whatever belongs to
one run reaches a function as its first parameter, a ``RunContext``.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field
from typing import Any

import msgspec

from picloud.engine.limits import MAX_LOG_BYTES
from picloud.errors import PiCloudError
from picloud.services.desk import RunServices

_CHANCE = random.SystemRandom()

#: A log line longer than this is cut: one line must not eat the whole budget.
_MAX_LINE_CHARACTERS = 8 * 1024


class RunLog:
    """What one run wrote to its log, up to ``MAX_LOG_BYTES``; then one line says that it was cut."""

    __slots__ = ("_budget", "_lines", "_started_ns")

    def __init__(self) -> None:
        self._lines: list[dict[str, Any]] = []
        self._budget = MAX_LOG_BYTES
        self._started_ns = time.monotonic_ns()

    def write(self, level: str, message: str, fields: Any = None) -> None:
        if self._budget <= 0:
            return
        line: dict[str, Any] = {
            "at_us": (time.monotonic_ns() - self._started_ns) // 1_000,
            "level": level,
            "message": message[:_MAX_LINE_CHARACTERS],
        }
        if fields is not None:
            line["fields"] = fields
        self._budget -= len(line["message"]) + 64 + (len(str(fields)) if fields is not None else 0)
        if self._budget <= 0:
            line = {"at_us": line["at_us"], "level": "warn", "message": f"log cut at {MAX_LOG_BYTES} bytes"}
        self._lines.append(line)

    def to_json(self) -> bytes | None:
        """The lines as a JSON array, None when nothing was written."""
        if not self._lines:
            return None
        # Fields may hold what JSON cannot: a blob becomes Base64, NaN null, a closure its description. A line in a log
        # must never be why a run fails.
        return msgspec.json.encode(self._lines, enc_hook=repr)


@dataclass(frozen=True, slots=True)
class RunContext:
    """What belongs to one run.

    Attributes:
        log: what the script writes for people.
    """

    _services: RunServices | None = None
    log: RunLog = field(default_factory=RunLog)

    @property
    def now_ns(self) -> int:
        """This moment, in nanoseconds since 1970; tests of apps have a clock of their own."""
        return time.time_ns()

    @property
    def chance(self) -> random.Random:
        """Where ``random`` and ``uuid`` draw from: the operating system; tests of apps have a seed."""
        return _CHANCE

    @property
    def services(self) -> RunServices:
        """PiCloud's own services for this run's app.

        Raises:
            PiCloudError: there are none here.
        """
        if self._services is None:
            raise PiCloudError("PiCloud's services are not here", code="no_services")
        return self._services
