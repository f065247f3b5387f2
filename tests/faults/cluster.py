"""A PiCloud of real processes that tests may kill, stop and cut off.

Each process is started by the command line as on a server, with an environment and a log of its
own. Nothing here sleeps to cover a race: a test waits until a condition holds, or fails.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, LiteralString, Self, TypeVar
from uuid import UUID

import psycopg

from picloud import broker
from picloud.database import Reconnecting, is_outage
from picloud.ids import new_id
from picloud.outbox.accept import ONE_ATTEMPT, Arrival, ReplyWanted, accept
from picloud.queries import Queries
from picloud.retries import RetryPolicy
from tests.faults.clients import answers, is_listening
from tests.faults.processes import Process
from tests.seeds import SeededApp, SeededRoute, create_app, create_route, create_script

PICLOUD = Path(sys.executable).with_name("picloud")

#: Between two looks at a condition.
_LOOK_SECONDS = 0.02
#: How long one outage of PostgreSQL may last before a test gives up on it.
_OUTAGE_SECONDS = 30.0
_START_SECONDS = 30.0

#: Scripts that tests run. A million turns of this loop take about a quarter of a second.
QUICK = "1"
THROWS = 'throw "no luck"'


def busy(million_turns: float) -> str:
    """A script that computes for a while and returns how far it counted."""
    return f"let n = 0; while n < {round(million_turns * 1_000_000)} {{ n += 1; }} n"


ENDLESS = "let n = 0; while true { n += 1; }"

RETRY = RetryPolicy(max_attempts=3, backoff="constant", base_ms=50, max_ms=50, jitter_pct=0)

T = TypeVar("T")


def through_outages(database: Reconnecting, work: Callable[[psycopg.Connection[Any]], T]) -> T:
    """Do ``work``, again and again while PostgreSQL is away."""
    give_up_at = time.monotonic() + _OUTAGE_SECONDS
    while True:
        try:
            return database.run(work)
        except psycopg.Error as error:
            if not is_outage(error) or time.monotonic() > give_up_at:
                raise
        time.sleep(_LOOK_SECONDS)


class Cluster:
    """PostgreSQL and Redis are given; the processes, an app and its scripts are made here."""

    def __init__(self, database_url: str, redis_url: str, folder: Path) -> None:
        self.database_url = database_url
        self.redis_url = redis_url
        self.folder = folder
        self.redis = broker.connect(redis_url, name="test", socket_timeout_seconds=60)
        self._database = Reconnecting(database_url, name="test")
        self._processes: list[Process] = []
        self._books = Queries("inspect").books
        self.app: SeededApp = create_app(self._database.get())

    # Processes.

    def relay(self, failpoint: str = "", **settings: str) -> Process:
        return self._start("relay", [PICLOUD, "relay"], failpoint, settings)

    def worker(
        self, failpoint: str = "", *, processes: int = 1, threads: int = 4, takes_sync: bool = True, **settings: str
    ) -> Process:
        """A worker, on a machine of its own as far as its boards are concerned."""
        command: list[str | Path] = [PICLOUD, "worker", "--processes", str(processes), "--threads", str(threads)]
        return self._start("worker", command if takes_sync else [*command, "--no-sync"], failpoint, settings)

    def web(self, failpoint: str = "", **settings: str) -> tuple[Process, str]:
        """A web process and the URL under which it answers."""
        bind = settings.pop("PICLOUD_BIND", f"127.0.0.1:{_free_port()}")
        process = self._start("web", [PICLOUD, "web"], failpoint, {"PICLOUD_BIND": bind} | settings)
        url = f"http://{bind}"
        self.wait_until(lambda: answers(f"{url}/healthz"), _START_SECONDS, "web answers")
        return process, url

    def mail(self, failpoint: str = "", **settings: str) -> tuple[Process, int]:
        """A mail process and the port on which it takes mail."""
        bind = settings.pop("PICLOUD_SMTP_BIND", f"127.0.0.1:{_free_port()}")
        process = self._start("mail", [PICLOUD, "mail"], failpoint, {"PICLOUD_SMTP_BIND": bind} | settings)
        port = int(bind.rpartition(":")[2])
        self.wait_until(lambda: is_listening(port), _START_SECONDS, "mail is taken")
        return process, port

    def _start(self, name: str, command: Sequence[str | Path], failpoint: str, settings: Mapping[str, str]) -> Process:
        serial = len(self._processes)
        runtime = self.folder / f"{name}-{serial}"
        runtime.mkdir()
        environment = {
            "HOME": str(self.folder),
            "RUNTIME_DIRECTORY": str(runtime),
            "PICLOUD_DATA_DIR": str(runtime),
            "PICLOUD_DATABASE_URL": self.database_url,
            "PICLOUD_REDIS_URL": self.redis_url,
            "PICLOUD_SANDBOX_MAX_OPERATIONS": str(10**12),
            **settings,
        }
        if failpoint:
            environment["PICLOUD_FAILPOINT"] = failpoint
        process = Process(command, environment, self.folder / f"{name}-{serial}.log")
        self._processes.append(process)
        process.start()
        return process

    def once(self, failpoint: str, nth: int = 1) -> str:
        """A failpoint that strikes one process only: those started after it live on."""
        return f"{failpoint}:kill:{nth}:{self.folder / f'once-{new_id().hex}'}"

    def close(self) -> None:
        """End everything that was started."""
        for process in self._processes:
            process.kill_with_children()
        self._database.close()
        self.redis.close()

    def logs(self) -> str:
        """What all processes said; shown when a test fails."""
        return "\n".join(f"== {p.log.name}\n{p.log.read_text(errors='replace')}" for p in self._processes)

    # Work.

    def script(self, source: str = QUICK, *, timeout_ms: int = 5_000) -> int:
        """A new script; its id."""
        script_id = self._through_outages(
            lambda c: create_script(c, self.app, f"script-{new_id().hex}", source, timeout_ms)
        )
        limits = json.dumps({"timeout_seconds": timeout_ms / 1_000})
        self.execute("update script_versions set limits = %s where script_id = %s", limits, script_id)
        return script_id

    def route(self, mode: str, source: str = QUICK, *, timeout_ms: int = 5_000) -> tuple[str, SeededRoute]:
        """A new route; its path on PiCloud's own host."""
        path = f"/{new_id().hex}"
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            route = create_route(connection, self.app, "POST", path, mode, source=source, timeout_ms=timeout_ms)
        limits = json.dumps({"timeout_seconds": timeout_ms / 1_000})
        self.execute("update script_versions set limits = %s where script_id = %s", limits, route.script_id)
        return f"/@{self.app.name}{path}", route

    def arrival(self, script_id: int, **changes: Any) -> Arrival:
        """Something to run, as a trigger would write it."""
        values: dict[str, Any] = {
            "id": new_id(),
            "app_id": self.app.id,
            "app_revision": self.value("select revision from apps where id = %s", self.app.id),
            "script_id": script_id,
            "source": "invoke",
            "principal_id": self.app.principal_id,
            "event": b'{"args": {}}',
            "retry": RETRY,
        }
        return Arrival(**(values | changes))

    def accept(self, count: int, script_id: int, **changes: Any) -> list[UUID]:
        """Accept ``count`` async rows in one batch, as the ingress does, and wake the relay."""
        arrivals = [self.arrival(script_id, **changes) for _ in range(count)]
        self.accept_arrivals(arrivals)
        self.wake()
        return [arrival.id for arrival in arrivals]

    def accept_arrivals(self, arrivals: Sequence[Arrival]) -> None:
        """Sent again under the same ids until PostgreSQL has answered: that is what makes it accepted."""
        accepted = self._through_outages(lambda c: accept(c, arrivals))
        assert not accepted.refused

    def accept_sync(
        self, script_id: int, *, timeout_ms: int = 7_000, publish: bool = True, identifier: UUID | None = None
    ) -> UUID:
        """Accept a sync row as a web process does: leased to it, then published by it."""
        self.redis.set(broker.inbox_alive_key("test"), "1", ex=60)
        token = int.from_bytes(os.urandom(6), "big") + 1
        reply = ReplyWanted("test", timeout_ms, token)
        arrival = self.arrival(script_id, id=identifier or new_id(), retry=ONE_ATTEMPT, reply=reply)
        self.accept_arrivals([arrival])
        if publish:
            self.publish(broker.encode_message([(arrival.id, token)], estimated_ms=5, payload_bytes=10), is_sync=True)
        return arrival.id

    def publish(self, message: bytes, *, is_sync: bool = False) -> None:
        """Put a message before the workers, whatever it says."""
        self.redis.rpush(broker.SYNC_LIST if is_sync else broker.ASYNC_LIST, message)

    def reply(self, within_seconds: float) -> broker.Reply:
        """The next answer in the inbox of ``accept_sync``."""
        found: Any = self.redis.blpop([broker.inbox_key("test")], timeout=within_seconds)
        assert found, f"no answer within {within_seconds} s\n{self.logs()}"
        return broker.Reply.decode(found[1])

    def wake(self) -> None:
        with contextlib.suppress(*broker.OUTAGES):
            self.redis.rpush(broker.WAKE_LIST, "1")

    # What PostgreSQL says.

    def rows(self, query: LiteralString, *parameters: object) -> list[tuple[Any, ...]]:
        """Rows of a query, asked again while PostgreSQL is away."""
        return self._through_outages(lambda c: c.execute(query, parameters).fetchall())

    def value(self, query: LiteralString, *parameters: object) -> Any:
        """The first column of the only row; None when there is no row."""
        rows = self.rows(query, *parameters)
        return rows[0][0] if rows else None

    def execute(self, query: LiteralString, *parameters: object) -> None:
        self._through_outages(lambda c: c.execute(query, parameters))

    def connection(self) -> psycopg.Connection[Any]:
        """A connection of the caller's own, committed and closed by a ``with``."""
        return psycopg.connect(self.database_url)

    def _through_outages(self, work: Callable[[psycopg.Connection[Any]], T]) -> T:
        return through_outages(self._database, work)

    def states(self, ids: Sequence[UUID]) -> dict[UUID, int]:
        """The states of those rows that have not ended."""
        return dict(self.rows("select id, state from outbox where id = any(%s)", list(ids)))

    def status(self, identifier: UUID) -> str | None:
        """How an execution ended; None while it has not."""
        status: str | None = self.value("select status from executions where id = %s", identifier)
        return status

    def error_code(self, identifier: UUID) -> str | None:
        error: bytes | None = self.value("select error from executions where id = %s", identifier)
        return None if error is None else str(json.loads(error)["code"])

    def is_running(self, identifier: UUID) -> bool:
        return self.states([identifier]).get(identifier) == 2

    def have_ended(self, ids: Sequence[UUID]) -> bool:
        return not self.states(ids)

    def watch_charges(self) -> None:
        """From now on PostgreSQL notes who is charged with a crash, or with a lost machine."""
        self.execute("create table charges (id uuid not null, what text not null)")
        self.execute(
            "create function note_charge() returns trigger language plpgsql as $$ begin"
            " insert into charges values (new.id, case when new.crashes > old.crashes then 'crash' else 'lost' end);"
            " return null; end $$"
        )
        self.execute(
            "create trigger note_charge after update on outbox for each row"
            " when (new.crashes > old.crashes or new.lost > old.lost) execute function note_charge()"
        )

    def charges(self) -> set[tuple[UUID, str]]:
        return {(row[0], row[1]) for row in self.rows("select id, what from charges")}

    # Judgement.

    def wait_until(self, condition: Callable[[], object], within_seconds: float, what: str = "") -> float:
        """Look until ``condition`` holds; the seconds that took."""
        started = time.monotonic()
        while not condition():
            if time.monotonic() - started > within_seconds:
                raise AssertionError(f"not within {within_seconds} s: {what or condition}\n{self._story()}")
            time.sleep(_LOOK_SECONDS)
        return time.monotonic() - started

    def _story(self) -> str:
        living = self.rows(
            "select id, state, attempt, crashes, lost, is_suspect, worker_id, available_at, now() from outbox limit 20"
        )
        return "\n".join([*(str(row) for row in living), self.logs()])

    def ready(self, slots: int = 1) -> None:
        """Wait until that many threads of workers are registered."""
        self.wait_until(
            lambda: (self.value("select sum(threads) from workers") or 0) >= slots,
            _START_SECONDS,
            f"{slots} worker threads",
        )

    def books(self) -> dict[str, int]:
        names = ("accepted", "completed", "failed", "dead", "cancelled", "depth_exceeded", "pending", "running")
        return dict(zip(names, self.rows(self._books)[0], strict=True))

    def assert_books_balance(self) -> None:
        books = self.books()
        assert books["accepted"] == sum(books.values()) - books["accepted"], books

    def assert_every_execution_ended_once(self, ids: Sequence[UUID], *, as_status: str = "") -> None:
        """Every accepted row has one end, the outbox is empty, and the books agree."""
        ended = self.rows("select id, status from executions where id = any(%s)", list(ids))
        assert sorted(row[0] for row in ended) == sorted(ids), f"{len(ended)} ends for {len(ids)} rows\n{self._story()}"
        assert self.have_ended(ids), self._story()
        dead = sorted(row[0] for row in ended if row[1] == "dead")
        letters = sorted(row[0] for row in self.rows("select id from dead_letters where id = any(%s)", list(ids)))
        assert letters == dead
        if as_status:
            wrong = [row for row in ended if row[1] != as_status]
            assert not wrong, f"{wrong}\n{self._story()}"
        self.assert_books_balance()

    def settle(self, ids: Sequence[UUID], within_seconds: float, *, as_status: str = "") -> float:
        """Wait until all of them have ended, and insist that each did so once; the seconds that took."""
        took = self.wait_until(lambda: self.have_ended(ids), within_seconds, f"{len(ids)} executions end")
        self.assert_every_execution_ended_once(ids, as_status=as_status)
        return took


class Load:
    """Accepts small batches all the time, from a thread and connection of its own, through any outage."""

    def __init__(self, cluster: Cluster, script_id: int, *, rows_per_second: int = 100) -> None:
        self._template = cluster.arrival(script_id)
        self._database = Reconnecting(cluster.database_url, name="load")
        self._wake = cluster.wake
        self._pause = 10 / rows_per_second
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="load")
        self._error: BaseException | None = None
        self.ids: list[UUID] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()
        self._database.close()
        if self._error:
            raise self._error

    def _run(self) -> None:
        try:
            while not self._is_over.wait(self._pause):
                arrivals = [replace(self._template, id=new_id()) for _ in range(10)]
                through_outages(self._database, partial(accept, arrivals=arrivals))
                self.ids += [arrival.id for arrival in arrivals]
                self._wake()
        except BaseException as error:  # noqa: BLE001 - carried over to the test's own thread
            self._error = error


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def running_cluster(database_url: str, redis_url: str, folder: Path) -> Iterator[Cluster]:
    """A cluster without processes yet; whatever the test starts ends with the block."""
    folder.mkdir(parents=True, exist_ok=True)
    cluster = Cluster(database_url, redis_url, folder)
    try:
        yield cluster
    finally:
        cluster.close()
        shutil.rmtree(folder, ignore_errors=True)
