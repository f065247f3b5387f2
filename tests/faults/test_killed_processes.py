"""SIGKILL at each step of the protocol: nothing accepted is lost, nothing is done twice."""

from __future__ import annotations

import pytest

from tests.faults.cluster import Cluster

#: What a killed worker's rows wait for at most: the publish lease and the sweep after it.
_POP_BOUND_SECONDS = 15.0
_RELAY_BOUND_SECONDS = 5.0


@pytest.mark.parametrize("point", ["relay.claimed", "relay.published"])
def test_a_relay_killed_at_any_step_loses_nothing_once_it_runs_again(cluster: Cluster, point: str) -> None:
    # Given a worker, and a relay that is killed at this step
    cluster.worker()
    cluster.ready()
    relay = cluster.relay(cluster.once(point))
    # When work arrives and the relay dies of it
    ids = cluster.accept(30, cluster.script())
    relay.child.wait(20)
    # And starts again
    relay.start()
    # Then everything ends once, within the bound
    took = cluster.settle(ids, _RELAY_BOUND_SECONDS, as_status="completed")
    print(f"BOUND relay killed at {point}: {took:.2f} s")


@pytest.mark.parametrize(
    "point", ["worker.popped", "worker.noted", "worker.begun", "worker.running", "worker.flushing", "worker.flushed"]
)
def test_a_worker_killed_at_any_step_loses_nothing_and_does_nothing_twice(cluster: Cluster, point: str) -> None:
    # Given a relay, and a worker whose first process is killed at this step
    cluster.relay()
    cluster.worker(cluster.once(point))
    cluster.ready()
    # When work arrives
    ids = cluster.accept(30, cluster.script())
    # Then everything ends once: noted rows at once, those popped and not noted by their publish lease
    took = cluster.settle(ids, _POP_BOUND_SECONDS + 5, as_status="completed")
    print(f"BOUND worker killed at {point}: {took:.2f} s")
