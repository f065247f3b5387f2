"""Workers that may not begin rows any more: they give back what they popped, and say why."""

from __future__ import annotations

from tests.faults.cluster import Cluster, busy


def test_a_draining_worker_finishes_what_it_runs_and_leaves_the_rest_to_others(cluster: Cluster) -> None:
    # Given a worker that runs something, and is told to drain
    cluster.relay()
    draining = cluster.worker()
    cluster.ready()
    (running,) = cluster.accept(1, cluster.script(busy(2)))
    cluster.wait_until(lambda: cluster.is_running(running), 10, "it runs")
    (worker_id,) = cluster.rows("update workers set draining_at = now() returning id")[0]
    # When more comes, and another worker is there
    cluster.worker()
    cluster.wait_until(lambda: len(cluster.rows("select from workers")) == 2, 30, "a second worker")
    ids = cluster.accept(20, cluster.script())
    # Then the other one runs all of it, unspent by the first, which ends what it had
    cluster.settle([running, *ids], 20, as_status="completed")
    runners = cluster.rows("select distinct worker_id from executions where id = any(%s)", ids)
    assert worker_id not in [row[0] for row in runners]
    assert cluster.rows("select distinct attempts from executions") == [(1,)]
    assert draining.child.poll() is None


def test_a_worker_older_than_the_database_accepts_says_so_and_begins_nothing(cluster: Cluster) -> None:
    # Given a database that was migrated past this release
    cluster.execute("update installation set oldest_worker_protocol = 2")
    cluster.relay()
    worker = cluster.worker()
    cluster.ready()
    # When something is to be run
    ids = cluster.accept(3, cluster.script())
    # Then the worker says why it does not, in one line, and takes nothing more
    cluster.wait_until(lambda: worker.said("begins nothing more: the database wants newer workers"), 10)
    cluster.wait_until(lambda: cluster.rows("select from outbox where state = 2 or attempt > 0") == [], 5)
    assert worker.log.read_text().count("begins nothing more") == 1
    # And once the database accepts it again, a new one runs them
    cluster.execute("update installation set oldest_worker_protocol = 1")
    assert worker.terminate() == 0
    cluster.worker()
    cluster.settle(ids, 30, as_status="completed")
