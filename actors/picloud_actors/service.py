"""The parent of the worker processes: starts them, watches them, settles what a dead one held.

``waitpid`` tells at once that a process died; its board tells what it was doing.
What was not running goes back unspent. One suspect alone is charged with the
crash; several are marked, and each next runs alone. A run that outlives its
timeout by far (native code that never comes back) is ended by killing its
process: then it is known who is guilty.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import json
import logging
import os
import random
import signal
import sys
import tempfile
import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import psycopg

from picloud import broker, systemd
from picloud.broker import Reply
from picloud.database import Reconnecting
from picloud.logs import configure_logging
from picloud.observability.metrics import TAKEN_BACK
from picloud.observability.reporting import add_counts
from picloud.observability.tally import TALLY
from picloud.outbox.run_rows import HeldRow, Settlement, forget, held_by, settle, unpublish
from picloud.settings import Settings
from picloud_actors.board import Evidence, read_running, take_evidence

_LOG = logging.getLogger("picloud.worker")

#: How far past its timeout a run may be before its process is killed. The row's own
#: deadline in PostgreSQL is later: the parent knows whom to charge, the sweep does not.
_WATCHDOG_GRACE_SECONDS = 5.0
_LOOK_SECONDS = 1.0
#: A process that dies again and again is restarted more and more slowly.
_RESTART_FIRST_SECONDS = 0.1
_RESTART_MOST_SECONDS = 10.0
#: A process that lived this long starts anew without a delay.
_RESTART_FORGIVEN_SECONDS = 2.0
_CRASH_BACKOFF_MS = 500
_PR_SET_PDEATHSIG = 1

_STOP_SIGNALS = {signal.SIGTERM, signal.SIGINT}
_SIGNALS = {*_STOP_SIGNALS, signal.SIGCHLD}


@dataclass(slots=True)
class _Child:
    pid: int
    worker_id: UUID
    board: Path
    started_at: float
    condemned: frozenset[UUID] = field(default_factory=frozenset[UUID])
    is_ended_by_us: bool = False


@dataclass(frozen=True, slots=True)
class _Death:
    """A worker process that ended without signing off.

    Attributes:
        condemned: runs for whose sake the watchdog killed it: proven guilty.
        is_ended_by_us: somebody would not wait for its end; no run is to blame.
    """

    evidence: Evidence
    condemned: frozenset[UUID] = frozenset()
    is_ended_by_us: bool = False

    def suspects(self, held: Iterable[UUID]) -> frozenset[UUID]:
        """Who may have killed it, of those it still held: what was committed had ended well."""
        if self.is_ended_by_us and not self.condemned:
            return frozenset()
        return frozenset(self.condemned or self.evidence.suspects()) & frozenset(held)

    def is_proven(self, suspects: frozenset[UUID]) -> bool:
        return bool(self.condemned) or len(suspects) == 1


class WorkerParent:
    """Supervises the worker processes of one machine's ``picloud worker``."""

    def __init__(self, settings: Settings, takes_sync: bool) -> None:
        self._settings = settings
        self._takes_sync = takes_sync
        self._id = uuid.uuid4()
        self._boards = boards_folder(settings.database_url)
        self._children: dict[int, _Child] = {}
        self._unsettled: list[_Death] = []
        self._due: list[float] = []
        self._pause = 0.0
        self._database = Reconnecting(settings.database_url, name="worker-parent")
        self._is_stopping = False

    def run(self) -> int:
        """Supervise until SIGTERM and the last process has drained."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        self._unsettled += [_Death(evidence) for evidence in left_behind(self._boards)]
        count = self._settings.worker_processes or os.cpu_count() or 1
        for _ in range(count):
            self._start_child()
        systemd.notify("READY=1", f"STATUS={count} worker processes")
        while self._children or not self._is_stopping:
            systemd.notify("WATCHDOG=1")
            received = signal.sigtimedwait(_SIGNALS, self._look_again_in())
            # CPython gives back memory it never filled when a wait was interrupted (SIGCONT) and has run out.
            if received is not None and received.si_signo in _STOP_SIGNALS:
                self._stop(received.si_signo)
            self._reap()
            self._watch()
            self._settle_crashes()
            self._restart_due()
        self._settle_crashes()
        self._database.close()
        return 0

    def _start_child(self) -> None:
        worker_id = uuid.uuid4()
        board = self._boards / f"{worker_id.hex}.board"
        parent = os.getpid()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            os._exit(self._child_main(worker_id, board, parent))
        self._children[pid] = _Child(pid, worker_id, board, time.monotonic())

    def _child_main(self, worker_id: UUID, board: Path, parent: int) -> int:
        try:
            # A worker without its parent would have nobody to tell what it died of.
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() != parent:
                return 0
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_DFL)
            from picloud_actors.process import run_process

            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            return run_process(self._settings, worker_id, self._id, board, self._takes_sync)
        except BaseException:
            logging.getLogger("picloud.worker").exception("a worker process failed")
            return 1

    def _stop(self, number: int) -> None:
        """Pass the signal on; a second one ends the processes at once."""
        how = signal.SIGKILL if self._is_stopping else signal.SIGTERM
        self._is_stopping = True
        self._due.clear()
        systemd.notify("STOPPING=1")
        _LOG.info("stopping on %s", signal.Signals(number).name)
        for child in self._children.values():
            child.is_ended_by_us = how == signal.SIGKILL
            os.kill(child.pid, how)

    def _reap(self) -> None:
        for pid in list(self._children):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                self._ended(self._children.pop(pid), status)

    def _ended(self, child: _Child, status: int) -> None:
        code = os.waitstatus_to_exitcode(status)
        evidence = take_evidence(child.board)
        if evidence:
            self._unsettled.append(_Death(evidence, child.condemned, child.is_ended_by_us))
            child.board.unlink(missing_ok=True)
        if self._is_stopping:
            return
        lived = time.monotonic() - child.started_at
        self._pause = (
            0.0
            if lived >= _RESTART_FORGIVEN_SECONDS
            else min(_RESTART_MOST_SECONDS, self._pause * 2 + _RESTART_FIRST_SECONDS)
        )
        _LOG.warning(
            "worker process %d ended with %s; another one starts in %.1f s", child.pid, _exit_text(code), self._pause
        )
        self._due.append(time.monotonic() + self._pause)

    def _look_again_in(self) -> float:
        """Seconds until something has to be looked at, signals aside."""
        return max(0.0, min([_LOOK_SECONDS, *(due - time.monotonic() for due in self._due)]))

    def _restart_due(self) -> None:
        now = time.monotonic()
        for due in [due for due in self._due if due <= now]:
            self._due.remove(due)
            self._start_child()

    def _watch(self) -> None:
        """Kill a process one of whose runs will never end by itself."""
        now_ns = time.monotonic_ns()
        for child in self._children.values():
            hanging = [r.id for r in read_running(child.board) if r.overdue_seconds(now_ns) > _WATCHDOG_GRACE_SECONDS]
            if hanging and not child.condemned:
                _LOG.error("execution %s does not end; killing worker process %d", hanging[0], child.pid)
                child.condemned = frozenset(hanging)
                os.kill(child.pid, signal.SIGKILL)

    def _settle_crashes(self) -> None:
        """Settle what dead processes held; kept until PostgreSQL answers."""
        for death in list(self._unsettled):
            try:
                settle_death(self._database, self._settings.redis_url, death)
            except psycopg.Error as error:
                _LOG.warning("cannot settle a dead worker's rows yet: %s", str(error).strip())
                self._database.close()
                return
            self._unsettled.remove(death)


def settle_death(database: Reconnecting, redis_url: str, death: _Death) -> None:
    """Give back, mark or charge everything a dead process held."""
    evidence = death.evidence
    error = {"code": "worker_crash", "message": "the worker process died while this ran"}
    connection = database.get()
    with connection.transaction():
        rows = held_by(connection, evidence.worker_id)
        suspects = death.suspects(row.id for row in rows)
        batch = [_settlement(row, death, suspects, json.dumps(error).encode()) for row in rows]
        settled = settle(connection, batch) if batch else []
        if evidence.popped:
            unpublish(connection, evidence.popped)
        forget(connection, evidence.worker_id)
    if rows:
        TALLY.add(TAKEN_BACK, "worker_died", amount=len(rows))
    _LOG.warning("settled %d rows of a dead worker process, %d of them suspect", len(rows), len(suspects))
    replies = [(each.reply_to, Reply(each.id, "failed", error=error)) for each in settled if each.reply_to]
    _tell(redis_url, replies)


def _settlement(row: HeldRow, death: _Death, suspects: frozenset[UUID], error: bytes) -> Settlement:
    if row.id in suspects and death.is_proven(suspects):
        return Settlement(row.id, row.token, "crashed", error=error, delay_ms=_crash_backoff_ms(row.crashes))
    # A sync run that had started is never run again, guilty or not: its caller hears at once.
    if row.id in suspects or (row.is_sync and row.id in death.evidence.suspects()):
        return Settlement(row.id, row.token, "suspected", error=error)
    return Settlement(row.id, row.token, "handed_back")


def _tell(redis_url: str, replies: Sequence[tuple[str, Reply]]) -> None:
    """Answer callers whose runs died, and wake the relay for what went back."""
    client = broker.connect(redis_url, name="worker-parent")
    try:
        reply_script = client.register_script(broker.script("reply"))
        for inbox, reply in replies:
            keys = [broker.inbox_key(inbox), broker.inbox_alive_key(inbox)]
            reply_script(keys=keys, args=[2 * broker.INBOX_ALIVE_SECONDS, reply.encode()])
        client.register_script(broker.script("wake"))(keys=[broker.WAKE_LIST])
        # No reporter here: it has a thread, and a process with threads must not fork.
        add_counts(client, TALLY.take())
    except broker.OUTAGES as error:
        _LOG.warning("Redis did not take the answers of a dead worker's runs: %s", error)
    finally:
        client.close()


def _crash_backoff_ms(crashes: int) -> int:
    delay: float = _CRASH_BACKOFF_MS * 2 ** min(crashes, 6) * random.uniform(0.8, 1.2)
    return round(delay)


def boards_folder(database_url: str) -> Path:
    """Where the boards of one installation live: a folder that is gone after a reboot, as the processes are."""
    runtime = os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    folder = Path(runtime) if runtime else Path(tempfile.gettempdir()) / f"picloud-{os.getuid()}"
    # Two installations on one machine must not settle each other's dead in the wrong database.
    folder = folder / "boards" / hashlib.sha256(database_url.encode()).hexdigest()[:16]
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def left_behind(folder: Path) -> list[Evidence]:
    """Boards of processes that died together with their parent; each is taken by one parent only."""
    found: list[Evidence] = []
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for path in sorted(folder.glob("*.board")):
            evidence = take_evidence(path)
            if evidence:
                path.unlink(missing_ok=True)
                found.append(evidence)
    return found


def _exit_text(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def run(settings: Settings, *, takes_sync: bool = True) -> int:
    """Run worker processes until SIGTERM; the exit code of the parent."""
    configure_logging(settings.log_format, "worker")
    return WorkerParent(settings, takes_sync).run()
