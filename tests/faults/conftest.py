"""Fixtures of the fault tests: clusters on shared servers, and on servers a test may break."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from picloud.migrations import migrate
from tests.faults.cluster import Cluster, running_cluster
from tests.faults.own_servers import OwnServers, own_servers
from tests.servers import new_database


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "faults" in Path(item.path).parts:
            item.add_marker("faults")


@pytest.fixture
def cluster(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Cluster]:
    """No process runs yet. PostgreSQL and Redis are shared with other tests and stay up."""
    with running_cluster(database_url, redis_url, tmp_path / "cluster") as running:
        yield running


@pytest.fixture(scope="module")
def servers() -> Iterator[OwnServers]:
    """A PostgreSQL and a Redis that a test may break; one pair for a module."""
    with own_servers() as servers:
        yield servers


@pytest.fixture
def fragile(servers: OwnServers, tmp_path: Path) -> Iterator[Cluster]:
    """A cluster on servers that the test may break. It watches what runs are charged."""
    with new_database(servers.postgres) as url:
        migrate(url)
        with running_cluster(url, servers.redis.url, tmp_path / "cluster") as cluster:
            cluster.redis.flushall()
            cluster.watch_charges()
            yield cluster
