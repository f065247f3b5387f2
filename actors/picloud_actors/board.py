"""A board in shared memory that tells, after a process was killed, what it was doing.

Each worker thread writes the id it runs, the fetcher what it has popped and not
begun, the flusher what it is settling. The board is a mapped file: what was
written is there after SIGKILL. The parent reads it after ``waitpid``, or the
next parent at its start. An exclusive ``flock``, held by the process for as long
as it lives, tells a living board from one left behind.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

_MAGIC = b"PICBOARD"
_HEADER = struct.Struct("=8s16sII")  # magic, worker id, pid, threads
_SLOT = struct.Struct("=I16sQI4x")  # running, execution id, monotonic ns at start, timeout ms
_COUNT = struct.Struct("=I4x")
_PAIR = struct.Struct("=16sQ")  # execution id, token
_ID = struct.Struct("=16s")

MOST_POPPED = 4_096
MOST_FLUSHING = 512


@dataclass(frozen=True, slots=True)
class RunningRun:
    """One run a thread was at."""

    id: UUID
    started_ns: int
    timeout_ms: int

    def overdue_seconds(self, now_ns: int) -> float:
        """How far past its timeout it is; negative: not yet."""
        return (now_ns - self.started_ns) / 1e9 - self.timeout_ms / 1e3


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a board says.

    Attributes:
        running: what the threads ran.
        flushing: what the flusher was settling.
        popped: rows taken from Redis and not begun.
    """

    worker_id: UUID
    pid: int
    running: tuple[RunningRun, ...]
    flushing: tuple[UUID, ...]
    popped: tuple[tuple[UUID, int], ...]

    def suspects(self) -> tuple[UUID, ...]:
        """Everything that may have killed the process."""
        return tuple(dict.fromkeys([*(run.id for run in self.running), *self.flushing]))


class Board:
    """The board of this process, written from its own threads; each area has one writer."""

    def __init__(self, path: Path, worker_id: UUID, threads: int) -> None:
        self.path = path
        self._threads = threads
        size = _flushing_offset(threads) + _COUNT.size + MOST_FLUSHING * _ID.size
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX)
        os.ftruncate(self._file, size)
        self._map = mmap.mmap(self._file, size)
        _HEADER.pack_into(self._map, 0, _MAGIC, worker_id.bytes, os.getpid(), threads)

    def thread_runs(self, thread: int, execution_id: UUID, timeout_ms: int) -> None:
        """Written right before a script starts."""
        _SLOT.pack_into(self._map, _slot_offset(thread), 1, execution_id.bytes, time.monotonic_ns(), timeout_ms)

    def thread_is_idle(self, thread: int) -> None:
        """Written right after a script ended."""
        _COUNT.pack_into(self._map, _slot_offset(thread), 0)

    def nothing_runs(self) -> None:
        """No thread is to blame for what comes next."""
        for thread in range(self._threads):
            self.thread_is_idle(thread)
        self.flushing(())

    def popped(self, pairs: Sequence[tuple[UUID, int]]) -> None:
        """What was popped and is not begun; an empty sequence clears it."""
        offset = _popped_offset(self._threads)
        kept = pairs[:MOST_POPPED]
        # The count is written last: a board read in between names fewer rows, never wrong ones.
        _COUNT.pack_into(self._map, offset, 0)
        for index, (identifier, token) in enumerate(kept):
            _PAIR.pack_into(self._map, offset + _COUNT.size + index * _PAIR.size, identifier.bytes, token)
        _COUNT.pack_into(self._map, offset, len(kept))

    def flushing(self, ids: Sequence[UUID]) -> None:
        """What is being settled; an empty sequence clears it."""
        offset = _flushing_offset(self._threads)
        kept = ids[:MOST_FLUSHING]
        _COUNT.pack_into(self._map, offset, 0)
        for index, identifier in enumerate(kept):
            _ID.pack_into(self._map, offset + _COUNT.size + index * _ID.size, identifier.bytes)
        _COUNT.pack_into(self._map, offset, len(kept))

    def remove(self) -> None:
        """Take the board down: the process ends in good order."""
        self.path.unlink(missing_ok=True)
        self._map.close()
        os.close(self._file)


def read_running(path: Path) -> tuple[RunningRun, ...]:
    """What the threads of a living process run now; empty when there is no board."""
    try:
        return _evidence(path.read_bytes()).running
    except (OSError, ValueError):
        return ()


def take_evidence(path: Path) -> Evidence | None:
    """Read a board that was left behind and take it down.

    Returns:
        None when its process lives, or the file is no board.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return _evidence(path.read_bytes())
    except (BlockingIOError, ValueError):
        return None
    finally:
        os.close(descriptor)


def _evidence(data: bytes) -> Evidence:
    if len(data) < _HEADER.size:
        raise ValueError("too short for a board")
    magic, worker_id, pid, threads = _HEADER.unpack_from(data, 0)
    if magic != _MAGIC:
        raise ValueError("not a board")
    slots = (_SLOT.unpack_from(data, _slot_offset(thread)) for thread in range(threads))
    popped_at, flushing_at = _popped_offset(threads), _flushing_offset(threads)
    popped = (_PAIR.unpack_from(data, popped_at + _COUNT.size + i * _PAIR.size) for i in range(_count(data, popped_at)))
    flushing = (
        _ID.unpack_from(data, flushing_at + _COUNT.size + i * _ID.size) for i in range(_count(data, flushing_at))
    )
    return Evidence(
        worker_id=UUID(bytes=worker_id),
        pid=pid,
        running=tuple(RunningRun(UUID(bytes=run), started, timeout) for busy, run, started, timeout in slots if busy),
        flushing=tuple(UUID(bytes=identifier) for (identifier,) in flushing),
        popped=tuple((UUID(bytes=identifier), token) for identifier, token in popped),
    )


def _count(data: bytes, offset: int) -> int:
    count: int = _COUNT.unpack_from(data, offset)[0]
    return count


def _slot_offset(thread: int) -> int:
    return _HEADER.size + thread * _SLOT.size


def _popped_offset(threads: int) -> int:
    return _slot_offset(threads)


def _flushing_offset(threads: int) -> int:
    return _popped_offset(threads) + _COUNT.size + MOST_POPPED * _PAIR.size
