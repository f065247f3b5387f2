"""The stage on which the protocol's statements are tried."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from tests.integration.protocol.stage import Stage


@pytest.fixture
def stage(database_url: str) -> Iterator[Stage]:
    with psycopg.connect(database_url, autocommit=True) as db:
        yield Stage.set_up(db)
