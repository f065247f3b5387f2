"""Which rows a claim looks at: lanes, their floors, and the order in which they are served.

A lane is one app's sync or async rows, or one queue that runs only so many
messages at once (it must not stand in the way of the app's other rows while
it is busy). The *floor* is a time below which the
lane holds nothing pending: a claim that starts there never walks over the dead
index entries of rows that have left (19 ms become 0.4 ms under a long snapshot).
Floors live in memory only; a lane that is not known is found by discovery.
Nothing here does I/O.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass, field

#: The longest transaction that may insert a row: its available_at is the time it began,
#: so it can become visible this much below the newest row.
LONGEST_INSERT = dt.timedelta(seconds=10)


@dataclass(frozen=True, slots=True, order=True)
class Lane:
    """One app's sync (served first) or async rows, or those of one limited queue of the app."""

    app_id: int
    is_sync: bool
    queue_id: int = 0


@dataclass(slots=True)
class LaneBook:
    """The lanes this relay knows, and where each begins."""

    floors: dict[Lane, dt.datetime] = field(default_factory=dict[Lane, dt.datetime])
    _turn: int = 0

    def discovered(self, found: Iterable[tuple[Lane, dt.datetime]], now: dt.datetime) -> None:
        """Replace what is known by what a discovery saw: lane and its earliest pending row."""
        self.floors = {lane: min(earliest, now) - LONGEST_INSERT for lane, earliest in found}

    def in_turn(self) -> list[Lane]:
        """Sync lanes before async ones; within each kind another app begins every time."""
        self._turn += 1
        sync = sorted(lane for lane in self.floors if lane.is_sync)
        others = sorted(lane for lane in self.floors if not lane.is_sync)
        return _rotated(sync, self._turn) + _rotated(others, self._turn)

    def claimed(self, newest: dict[Lane, dt.datetime]) -> None:
        """Raise the floors of lanes after a claim took their oldest rows.

        Args:
            newest: the latest ``available_at`` taken from each lane.
        """
        for lane, available_at in newest.items():
            raised = available_at - LONGEST_INSERT
            if lane in self.floors and raised > self.floors[lane]:
                self.floors[lane] = raised

    def share(self, limit: int) -> int:
        """How many rows one lane may take of a claim of ``limit``: a noisy app leaves room for the quiet."""
        return max(1, -(-limit // max(1, len(self.floors))))


def _rotated(lanes: list[Lane], turn: int) -> list[Lane]:
    if not lanes:
        return lanes
    start = turn % len(lanes)
    return lanes[start:] + lanes[:start]
