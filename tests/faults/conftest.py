"""Fixtures of the fault tests: clusters on shared servers, and on servers a test may break."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.cluster import Cluster, running_cluster


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "faults" in Path(item.path).parts:
            item.add_marker("faults")


@pytest.fixture
def cluster(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Cluster]:
    """No process runs yet. PostgreSQL and Redis are shared with other tests and stay up."""
    with running_cluster(database_url, redis_url, tmp_path / "cluster") as running:
        yield running
