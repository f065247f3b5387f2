"""Fixtures every test may ask for: a migrated database and a Redis, both real.

A server that is not on this machine skips the tests that need it, except in CI, where
they fail: a suite that skips is not a suite that passes.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import TypeVar

import pytest
import redis

from picloud.errors import ServerNotFoundError
from picloud.local.postgres import PostgresServer
from picloud.migrations import migrate
from tests.servers import new_database, run_postgres, run_redis

Server = TypeVar("Server")

#: Redis database 0 is left alone: a test that forgets to name its own is found out.
_redis_databases = itertools.cycle(range(1, 16))


def _started_or_skipped(server: AbstractContextManager[Server]) -> Iterator[Server]:
    try:
        entered = server.__enter__()
    except ServerNotFoundError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(error.message)
    try:
        yield entered
    finally:
        server.__exit__(None, None, None)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A running PostgreSQL; use ``database_url`` unless the test is about the server."""
    yield from _started_or_skipped(run_postgres())


@pytest.fixture(scope="session")
def template_database(postgres_server: PostgresServer) -> Iterator[str]:
    """The name of a migrated database nobody is connected to, to be cloned."""
    name = "template_migrated"
    with new_database(postgres_server, name) as url:
        migrate(url)
        yield name


@pytest.fixture
def empty_database_url(postgres_server: PostgresServer) -> Iterator[str]:
    """A database without a schema."""
    with new_database(postgres_server) as url:
        yield url


@pytest.fixture
def database_url(postgres_server: PostgresServer, template_database: str) -> Iterator[str]:
    """A migrated database of this test's own."""
    with new_database(postgres_server, template=template_database) as url:
        yield url


@pytest.fixture(scope="session")
def redis_server_url() -> Iterator[str]:
    """A running Redis; use ``redis_url`` unless the test is about the server."""
    yield from _started_or_skipped(run_redis())


@pytest.fixture
def redis_url(redis_server_url: str) -> Iterator[str]:
    """A Redis database of this test's own, empty."""
    url = redis_server_url.replace("db=0", f"db={next(_redis_databases)}")
    with redis.Redis.from_url(url) as client:
        client.flushdb()
        yield url
        client.flushdb()
