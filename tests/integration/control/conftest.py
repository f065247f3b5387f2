"""A database with an administrator, and somebody who writes what tests need."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from tests.seeding import Seeds


@pytest.fixture
def seeds(database_url: str) -> Iterator[Seeds]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield Seeds(connection)
