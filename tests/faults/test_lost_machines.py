"""Machines that are gone, and machines that come back from the dead: nobody is charged, nothing is done twice."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import pytest

from picloud.local.postgres import PostgresServer
from tests.faults.cluster import Cluster, running_cluster
from tests.faults.processes import Process
from tests.servers import new_database


@dataclass(frozen=True, slots=True)
class Aftermath:
    """A machine lost power and another one froze, both with work in hand; their rows have just come back.

    Attributes:
        took: seconds from the loss until nobody owned a row any more.
        often_lost: a row that was lost nine times before.
        frozen: it had run its rows and not yet settled them.
    """

    cluster: Cluster
    took: float
    ids: list[UUID]
    often_lost: UUID
    frozen: Process


@pytest.fixture(scope="module")
def aftermath(
    postgres_server: PostgresServer,
    template_database: str,
    redis_server_url: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Aftermath]:
    # Database 0 of Redis is nobody else's.
    folder: Path = tmp_path_factory.mktemp("lost") / "cluster"
    with (
        new_database(postgres_server, template=template_database) as database_url,
        running_cluster(database_url, redis_server_url, folder) as cluster,
    ):
        yield _staged(cluster)
        cluster.redis.flushdb()


def _staged(cluster: Cluster) -> Aftermath:
    cluster.redis.flushdb()
    cluster.relay()
    script = cluster.script()
    frozen = cluster.worker("worker.flushing:stop")
    cluster.ready()
    first = cluster.accept(4, script)
    cluster.wait_until(frozen.is_frozen, 10, "the first machine freezes")
    frozen.send(signal.SIGSTOP)
    machine = cluster.worker("worker.running:stop")
    cluster.ready(8)
    second = cluster.accept(4, script)
    cluster.wait_until(machine.is_frozen, 10, "the second machine starts a run")
    running = cluster.rows("select id from outbox where state = 2 and id = any(%s)", second)
    often_lost: UUID = running[0][0]
    cluster.execute("update outbox set lost = 9 where id = %s", often_lost)
    machine.kill_with_children()
    shutil.rmtree(machine.boards())
    lost_at = time.monotonic()
    cluster.wait_until(lambda: not cluster.rows("select from outbox where state = 2"), 25, "the rows come back")
    return Aftermath(cluster, time.monotonic() - lost_at, [*first, *second], often_lost, frozen)


def test_rows_of_a_lost_machine_are_pending_again_within_twenty_seconds(aftermath: Aftermath) -> None:
    print(f"BOUND machine lost: {aftermath.took:.2f} s")
    assert aftermath.took <= 20


def test_a_lost_machine_charges_nobody_and_spends_no_attempt(aftermath: Aftermath) -> None:
    rows = aftermath.cluster.rows("select attempt, crashes, is_suspect, lost from outbox")
    assert {row[:3] for row in rows} == {(0, 0, False)}
    assert 1 in {row[3] for row in rows}


def test_a_row_whose_machine_was_lost_ten_times_is_a_dead_letter(aftermath: Aftermath) -> None:
    cluster, identifier = aftermath.cluster, aftermath.often_lost
    assert cluster.status(identifier) == "dead"
    assert cluster.value("select reason from dead_letters where id = %s", identifier) == "worker_lost"


def test_what_a_frozen_machine_had_run_is_discarded_when_it_comes_back(aftermath: Aftermath) -> None:
    # Given another machine that has run all of it meanwhile
    cluster = aftermath.cluster
    cluster.worker()
    cluster.settle(aftermath.ids, 30)
    before = cluster.rows("select id, token, worker_id from executions order by id")
    # When the frozen one goes on where it was: about to settle its runs
    aftermath.frozen.send_to_children(signal.SIGCONT)
    aftermath.frozen.send(signal.SIGCONT)
    # Then what it says changes nothing, and it works on
    cluster.settle(cluster.accept(20, cluster.script()), 20, as_status="completed")
    assert [
        row for row in cluster.rows("select id, token, worker_id from executions order by id") if row in before
    ] == before
    cluster.assert_every_execution_ended_once(aftermath.ids)
    assert [cluster.status(each) for each in aftermath.ids].count("completed") == len(aftermath.ids) - 1
    assert aftermath.frozen.terminate() == 0, cluster.logs()
