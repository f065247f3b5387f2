"""What one worker process holds: who may run next, and how much more may come.

Held means begun, running, or finished and not yet committed; that is what the
budget bounds, in rows, milliseconds and bytes. One slot in four never takes
async work, so that slow async scripts cannot starve HTTP. A suspect (it ran
beside others when its process died) runs with nothing beside it: not even what
ended before and is being settled, or a crash would have two suspects again.

One lock; a condition for each kind of waiter, because waking a thread that has
nothing to do costs as much as running a small script. Nothing here does I/O but
``on_room``, the callback that wakes a fetcher blocked on Redis.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from picloud.outbox.run_rows import BegunRow

_LOG = logging.getLogger("picloud.worker")

#: How much work a process may hold: what it runs in about this time.
BUDGET_MS = 100.0
MOST_HELD_ROWS = 512
MOST_HELD_BYTES = 16 * 1024 * 1024

#: Rows begun and not started for this long go back: somebody else may be idle.
STALE_SECONDS = 1.0
#: When every async slot has been busy with its run for this long, scripts are slow: fetch no more of them.
_SLOW_SECONDS = 0.1


@dataclass(slots=True, eq=False)
class Assignment:
    """The rows of one message, run one after the other by one thread."""

    rows: list[BegunRow]
    message: bytes
    ready_at: float
    started_at: float = 0.0
    key: UUID = field(init=False)
    is_sync: bool = field(init=False)
    is_suspect: bool = field(init=False)
    #: What has not started yet.
    waiting: deque[BegunRow] = field(init=False)

    def __post_init__(self) -> None:
        self.key = self.rows[0].id
        self.is_sync = self.rows[0].is_sync
        self.is_suspect = any(row.is_suspect for row in self.rows)
        self.waiting = deque(self.rows)


@dataclass(frozen=True, slots=True)
class Budget:
    """What a fetch may bring."""

    sync_rows: int
    async_rows: int
    ms: int
    payload_bytes: int

    def is_empty(self) -> bool:
        return self.sync_rows <= 0 and self.async_rows <= 0


@dataclass(slots=True)
class _Held:
    token: int
    payload_bytes: int


@dataclass(slots=True)
class Speed:
    """The time one run takes a thread, hand-over and all: an exponential average."""

    run_ms: float = 0.0

    def observe(self, seconds: float, rows: int) -> None:
        measured = seconds * 1_000 / rows
        # Moves quickly: scripts change from one deploy to the next.
        self.run_ms = measured if self.run_ms == 0.0 else self.run_ms * 0.9 + measured * 0.1


@dataclass
class Workload:
    """Thread-safe. Worker threads, the fetcher, the flusher and the heartbeat meet here."""

    threads: int
    takes_sync: bool = True
    clock: Callable[[], float] = time.monotonic
    on_room: Callable[[], None] = lambda: None
    speed: Speed = field(default_factory=Speed)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)
        self._room = threading.Condition(self._lock)
        self._holding = threading.Condition(self._lock)
        self._held: dict[UUID, _Held] = {}
        self._held_bytes = 0
        self._ready: dict[bool, deque[Assignment]] = {True: deque(), False: deque()}
        self._handed_out: dict[UUID, Assignment] = {}
        self._running: dict[bool, set[UUID]] = {True: set(), False: set()}
        self._alone: UUID | None = None
        self._is_stopping = False
        self._is_released = False
        self._is_fenced = False
        self._stands_aside = False
        self._fetcher_waits_for_async = False

    @property
    def reserve(self) -> int:
        """Slots that never take async work."""
        return max(1, self.threads // 4) if self.takes_sync and self.threads > 1 else 0

    # What the fetcher asks.

    def budget(self) -> Budget:
        """What a fetch may bring now."""
        with self._lock:
            return self._budget()

    def _budget(self) -> Budget:
        if self._is_stopping or self._is_fenced or self._stands_aside or self._held_bytes >= MOST_HELD_BYTES:
            return Budget(0, 0, 0, 0)
        busy = len(self._running[True]) + len(self._running[False])
        affordable = self.threads * BUDGET_MS / (self.speed.run_ms or BUDGET_MS)
        room = round(min(MOST_HELD_ROWS, max(self.threads, affordable))) - len(self._held)
        idle = self.threads - busy - len(self._ready[True])
        idle_async = self.threads - self.reserve - len(self._running[False]) - len(self._ready[False])
        async_rows = max(room if not self._async_is_slow() else 0, min(idle, idle_async), 0)
        sync_rows = max(room, idle, 0) if self.takes_sync else 0
        if self._alone is not None or self._waiting_suspect() is not None:
            sync_rows = async_rows = 0  # it would only wait for the suspect
        return Budget(sync_rows, async_rows, round(BUDGET_MS * self.threads), MOST_HELD_BYTES - self._held_bytes)

    def _async_is_slow(self) -> bool:
        if len(self._running[False]) < self.threads - self.reserve:
            return False
        now = self.clock()
        return all(now - self._handed_out[key].started_at > _SLOW_SECONDS for key in self._running[False])

    def wait_for_room(self, seconds: float) -> None:
        """Block the fetcher until a fetch may bring something, or ``seconds`` have passed."""
        with self._lock:
            self._room.wait_for(lambda: self._is_stopping or not self._budget().is_empty(), seconds)

    def fetcher_blocks(self, *, on_sync_only: bool) -> None:
        """The fetcher is about to block on Redis; without async room it must be woken when there is some."""
        with self._lock:
            self._fetcher_waits_for_async = on_sync_only

    def add(self, assignments: Sequence[Assignment]) -> None:
        """Rows that were begun."""
        with self._lock:
            for assignment in assignments:
                self._ready[assignment.is_sync].append(assignment)
                for row in assignment.rows:
                    self._held[row.id] = _Held(row.token, row.payload_bytes)
                    self._held_bytes += row.payload_bytes
            self._work.notify()
            self._holding.notify_all()

    # What the worker threads ask.

    def next_assignment(self, seconds: float) -> Assignment | None:
        """The next work for an idle thread; None after ``seconds`` or once the threads are released."""
        with self._lock:
            self._work.wait_for(lambda: self._is_released or self._pick() is not None, seconds)
            return self._hand_out()

    def _hand_out(self) -> Assignment | None:
        assignment = self._pick()
        if assignment is None:
            return None
        self._ready[assignment.is_sync].remove(assignment)
        assignment.started_at = self.clock()
        self._running[assignment.is_sync].add(assignment.key)
        self._handed_out[assignment.key] = assignment
        if assignment.is_suspect:
            self._alone = assignment.key
        return assignment

    def _pick(self) -> Assignment | None:
        busy = len(self._running[True]) + len(self._running[False])
        if self._is_stopping or busy >= self.threads or self._alone is not None:
            return None
        suspect = self._waiting_suspect()
        if suspect is not None and self.clock() - suspect.ready_at > STALE_SECONDS:
            return suspect if self._does_nothing() else None  # nothing may overtake it for ever
        for is_sync in (True, False):
            if not self._ready[is_sync]:
                continue
            if not is_sync and len(self._running[False]) >= self.threads - self.reserve:
                continue
            first = self._ready[is_sync][0]
            return first if not first.is_suspect or self._does_nothing() else None
        return None

    def _waiting_suspect(self) -> Assignment | None:
        """A suspect whose turn it is, and who waits until this process does nothing else."""
        for queue in self._ready.values():
            if queue and queue[0].is_suspect:
                return queue[0]
        return None

    def _does_nothing(self) -> bool:
        """Nothing runs and nothing is being settled: a process that died now would have died of nobody."""
        return len(self._held) == sum(len(each.waiting) for queue in self._ready.values() for each in queue)

    def next_row(self, key: UUID) -> BegunRow | None:
        """The next row of the work a thread was handed, by the id of its first row; None: that was the last."""
        with self._lock:
            waiting = self._handed_out[key].waiting
            return waiting.popleft() if waiting else None

    def done(self, key: UUID, *, goes_on: bool = True) -> Assignment | None:
        """A thread has run its rows; they stay held until they are committed.

        Args:
            goes_on: False: the thread takes nothing more now.

        Returns:
            What this very thread is to run next: handing it over to another one would take longer than a
            small script. None: the thread is idle.
        """
        with self._lock:
            assignment = self._handed_out.pop(key, None)
            if assignment is None:
                return None
            self._running[assignment.is_sync].discard(key)
            if self._alone == key:
                self._alone = None
            self.speed.observe(self.clock() - assignment.started_at, max(1, len(assignment.rows)))
            following = self._hand_out() if goes_on else None
            if following is None and any(self._ready.values()):
                self._work.notify()
            self._room.notify_all()
        self._wake_fetcher()
        return following

    # What the flusher and the heartbeat say.

    def settled(self, ids: Iterable[UUID]) -> None:
        """Rows that are committed, or no longer ours."""
        with self._lock:
            for identifier in ids:
                held = self._held.pop(identifier, None)
                if held:
                    self._held_bytes -= held.payload_bytes
            self._room.notify_all()
            if self._waiting_suspect() is not None:
                self._work.notify()  # it waits for this
            if not self._held:
                self._holding.notify_all()
        self._wake_fetcher()

    def _wake_fetcher(self) -> None:
        with self._lock:
            wanted = self._fetcher_waits_for_async and self._budget().async_rows > 0
            if wanted:
                self._fetcher_waits_for_async = False
        if wanted:
            self.on_room()

    def held(self) -> list[tuple[UUID, int]]:
        """Every row this process owns, with its token."""
        with self._lock:
            return [(identifier, held.token) for identifier, held in self._held.items()]

    def is_idle(self) -> bool:
        """True when nothing is held."""
        with self._lock:
            return not self._held

    def wait_until_held(self, seconds: float) -> bool:
        """Block until something is held or the process stops."""
        with self._lock:
            return self._holding.wait_for(lambda: bool(self._held) or self._is_stopping, seconds)

    def wait_until_idle(self, seconds: float) -> bool:
        """Block until nothing is held."""
        with self._lock:
            return self._holding.wait_for(lambda: not self._held, seconds)

    def take_back_ready(self, *, older_than_seconds: float = 0.0) -> list[BegunRow]:
        """Rows begun and not started, to be handed back unspent."""
        with self._lock:
            limit = self.clock() - older_than_seconds
            is_stopping = self._is_stopping
            taken: list[BegunRow] = []
            for queue in self._ready.values():
                # A suspect goes nowhere else: there too it would have to wait until nothing else runs.
                stale = [each for each in queue if each.ready_at <= limit and (is_stopping or not each.is_suspect)]
                for assignment in stale:
                    queue.remove(assignment)
                    taken += assignment.rows
            # Rows that share a message with one that turned out slow.
            for assignment in self._handed_out.values():
                if assignment.started_at <= limit:
                    taken += assignment.waiting
                    assignment.rows = [row for row in assignment.rows if row not in assignment.waiting]
                    assignment.waiting.clear()
            return taken

    def fence(self, is_fenced: bool) -> None:
        """Stop (or go on) taking work: this process cannot tell PostgreSQL that it lives."""
        with self._lock:
            self._is_fenced = is_fenced
            self._room.notify_all()

    def stand_aside(self, why: str) -> None:
        """Take no more work as long as this process lives; said once in the log."""
        with self._lock:
            was_said, self._stands_aside = self._stands_aside, True
        if not was_said:
            _LOG.warning("this worker process begins nothing more: %s", why)

    def stop(self) -> None:
        """No more work is handed out or fetched."""
        with self._lock:
            self._is_stopping = True
            self._room.notify_all()
            self._holding.notify_all()
        self.on_room()

    def release(self) -> None:
        """Let go of threads that wait for work: the process ends."""
        with self._lock:
            self._is_released = True
            self._work.notify_all()

    @property
    def is_released(self) -> bool:
        return self._is_released
