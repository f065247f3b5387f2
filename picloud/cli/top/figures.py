"""The figures of ``picloud top``: read from the control API, look by look.

Throughput is counted by the server over the seconds since the last look, so no event is counted twice, and a
server that was restarted in between needs no care. Counting the last hour and grouping dead letters costs the
database more than the rest: that is asked for every ten seconds only.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from picloud.cli.client import Client
from picloud.errors import PermissionDeniedError

Row = Mapping[str, Any]

#: Looks whose throughput is drawn beside the newest.
HISTORY = 60
RATES = ("accepted", "completed", "failed")
_SLOW_SECONDS = 10.0
#: What the server counts at least and at most.
_SHORTEST_SECONDS, _LONGEST_SECONDS = 0.1, 3_600.0
#: The server lists the most frequent first, and the newest are shown.
_GROUPS, _GROUPS_SHOWN = 100, 10


@dataclass(frozen=True, slots=True)
class Figures:
    """What one look found.

    Attributes:
        per_second: what was accepted, completed and failed for good; None: the key may not read it.
        workers: empty also when the key may not see them.
        last_hour: executions that ended, by status; None: the key may not read it.
        failures: groups of open dead letters, what failed last first.
    """

    at: datetime
    per_second: Mapping[str, float] | None
    queues: tuple[Row, ...]
    broker: Row
    workers: tuple[Row, ...]
    last_hour: Mapping[str, int] | None
    unresolved: int | None
    failures: tuple[Row, ...]

    def to_data(self) -> dict[str, Any]:
        """As ``--json`` prints it."""
        return {
            "at": self.at.isoformat().replace("+00:00", "Z"),
            "per_second": self.per_second,
            "queues": list(self.queues),
            "broker": self.broker,
            "workers": list(self.workers),
            "last_hour": self.last_hour,
            "unresolved_dead_letters": self.unresolved,
            "failures": list(self.failures),
        }


@dataclass(slots=True)
class Reader:
    """Looks at a server again and again.

    Attributes:
        interval: seconds between looks; the first one counts so many.
        clock: monotonic seconds.
        history: what each of the last looks found per second, by name, oldest first.
    """

    client: Client
    interval: float
    clock: Callable[[], float]
    history: dict[str, deque[float]] = field(default_factory=lambda: {name: deque(maxlen=HISTORY) for name in RATES})
    _looked_at: float | None = None
    _slow: tuple[float, Row | None, tuple[Row, ...]] | None = None

    def read(self) -> Figures:
        """Look now. Raises: PiCloudError: there is no answer."""
        now = self.clock()
        since = self.interval if self._looked_at is None else now - self._looked_at
        counted = self._if_allowed("/system/throughput", seconds=min(max(since, _SHORTEST_SECONDS), _LONGEST_SECONDS))
        self._looked_at = now
        queues = self.client.get("/queues")
        stats, failures = self._read_slow(now)
        per_second = None if counted is None else _per_second(counted)
        for name, value in (per_second or {}).items():
            self.history[name].append(value)
        return Figures(
            at=datetime.now(UTC),
            per_second=per_second,
            queues=tuple(queues["apps"]),
            broker=queues["broker"],
            workers=tuple(queues["workers"]),
            last_hour=None if stats is None else stats["last_hour"],
            unresolved=None if stats is None else stats["unresolved_dead_letters"],
            failures=failures,
        )

    def _read_slow(self, now: float) -> tuple[Row | None, tuple[Row, ...]]:
        if self._slow is None or now - self._slow[0] >= _SLOW_SECONDS:
            groups = self._if_allowed("/dead-letters/groups", limit=_GROUPS)
            newest = sorted(
                [] if groups is None else groups["items"], key=lambda each: each["last_died_at"], reverse=True
            )
            self._slow = (now, self._if_allowed("/system/stats"), tuple(newest[:_GROUPS_SHOWN]))
        return self._slow[1:]

    def _if_allowed(self, path: str, **filters: object) -> dict[str, Any] | None:
        """What a key of one app may not read is left out, and the rest is shown."""
        try:
            found: dict[str, Any] = self.client.get(path, **filters)
        except PermissionDeniedError:
            return None
        return found


def _per_second(counted: Row) -> dict[str, float]:
    """Failed is what nobody will run again: sync runs that failed, and what died."""
    totals = {**counted, "failed": counted["failed"] + counted["dead"] + counted["depth_exceeded"]}
    return {name: round(totals[name] / counted["seconds"], 3) for name in RATES}
