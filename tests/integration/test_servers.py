"""The fixtures keep what they promise."""

from __future__ import annotations

import psycopg
import pytest
import redis

pytestmark = pytest.mark.integration


def test_a_test_gets_a_migrated_database_of_its_own(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("create table mine ()")
        assert connection.execute("select count(*) from outbox").fetchone() == (0,)


def test_what_another_test_made_is_not_there(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        assert connection.execute("select to_regclass('mine')").fetchone() == (None,)


def test_the_owner_of_the_database_is_no_superuser(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        assert connection.execute("select rolsuper from pg_roles where rolname = current_user").fetchone() == (False,)


def test_a_test_gets_an_empty_redis(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0
        client.set("left behind", 1)


def test_the_next_one_is_empty_again(redis_url: str, redis_server_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0
    with redis.Redis.from_url(redis_server_url) as client:
        assert client.info("keyspace") == {}
