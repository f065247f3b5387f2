"""How much may be on its way to the workers, and how long the relay waits.

The window holds what the workers run in about 200 ms: long enough that they
never starve, short enough that priority, pause, fairness and cancel, which all
act in PostgreSQL, take effect at once. (A fixed four times the slots was
measured at a third of the speed.) Nothing here does I/O.
"""

from __future__ import annotations

from dataclasses import dataclass

WINDOW_MS = 200.0
MOST_ROWS = 1_024
MOST_PAYLOAD_BYTES = 4 * 1024 * 1024
#: However slow the scripts are, each thread has a row waiting behind the one it runs.
LEAST_ROWS_PER_SLOT = 2

#: What a run is taken to cost before any was measured.
UNKNOWN_RUN_MS = 5.0


@dataclass(frozen=True, slots=True)
class Capacity:
    """What the workers table and the outbox say now.

    Attributes:
        published: rows on their way.
        running: rows begun and not settled.
        slots: threads of all worker processes.
        run_ms: measured time of a run, settlement included; 0: nothing measured.
    """

    published: int
    running: int
    slots: int
    run_ms: float

    def window(self) -> int:
        """Rows that may be on their way at once; 0 when there is no worker at all."""
        if self.slots == 0:
            return 0
        wanted = self.slots * WINDOW_MS / (self.run_ms or UNKNOWN_RUN_MS)
        return round(min(MOST_ROWS, max(self.slots * LEAST_ROWS_PER_SLOT, wanted)))

    def room(self) -> int:
        return max(0, self.window() - self.published)


#: Longest silence. A writer may die between its commit and its wake: its row runs within five seconds.
LONGEST_WAIT_SECONDS = 4.5
#: While anything is published its loss in Redis must be noticed within two seconds.
PUBLISHED_WAIT_SECONDS = 1.0
#: While anything runs its worker may be lost: fifteen seconds without a beat, found soon after.
RUNNING_WAIT_SECONDS = 2.0
#: For Redis a timeout of 0 is for ever; and due rows that wait for room must not spin.
SHORTEST_WAIT_SECONDS = 0.05


def wait_seconds(capacity: Capacity, until_next_event: float | None) -> float:
    """How long the relay may block when it has nothing to claim.

    Args:
        until_next_event: seconds until a row falls due or a lease ends; negative: a row
            is due already and waits for room or for an earlier one of its key.
    """
    if capacity.published:
        most = PUBLISHED_WAIT_SECONDS
    else:
        most = RUNNING_WAIT_SECONDS if capacity.running else LONGEST_WAIT_SECONDS
    if until_next_event is None:
        return most
    if until_next_event <= 0:
        return PUBLISHED_WAIT_SECONDS / 2
    return max(SHORTEST_WAIT_SECONDS, min(most, until_next_event))
