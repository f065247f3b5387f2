"""An app that is removed takes every row with it, also one that arrives in the same moment."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from picloud.control.apps import remove_app
from picloud.ids import new_id
from picloud.outbox.accept import ONE_ATTEMPT, Arrival, accept
from tests.seeding import Seeds

pytestmark = pytest.mark.integration


def _arrival(app_id: int, script_id: int, principal_id: int) -> Arrival:
    return Arrival(
        id=new_id(),
        app_id=app_id,
        app_revision=1,
        script_id=script_id,
        source="invoke",
        principal_id=principal_id,
        event=b"{}",
        retry=ONE_ATTEMPT,
    )


async def _remove(database_url: str) -> int:
    async with (
        await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection,
        connection.transaction(),
    ):
        return (await remove_app(connection, "shop")).cancelled


def test_a_row_whose_commit_comes_during_the_removal_is_cancelled_with_the_others(
    database_url: str, seeds: Seeds
) -> None:
    app = seeds.app()
    script = seeds.script(app)
    seeds.waiting(app, script)

    async def race() -> int:
        with psycopg.connect(database_url) as accepting:
            accept(accepting, [_arrival(app, script, seeds.admin_id)])
            removing = asyncio.create_task(_remove(database_url))
            while not seeds.count("pg_locks", "not granted"):
                await asyncio.sleep(0.005)
        return await removing

    assert asyncio.run(race()) == 2
    assert seeds.count("outbox") == 0


def test_a_row_that_comes_after_the_removal_began_is_refused(database_url: str, seeds: Seeds) -> None:
    app = seeds.app()
    arrival = _arrival(app, seeds.script(app), seeds.admin_id)

    async def race() -> bool:
        async with (
            await psycopg.AsyncConnection.connect(database_url, autocommit=True) as removing,
            removing.transaction(),
        ):
            await remove_app(removing, "shop")
            accepting = asyncio.create_task(asyncio.to_thread(_accept))
            while not seeds.count("pg_locks", "not granted"):
                await asyncio.sleep(0.005)
        return await accepting

    def _accept() -> bool:
        with psycopg.connect(database_url, autocommit=True) as connection:
            return arrival.id in accept(connection, [arrival]).refused

    assert asyncio.run(race())
    assert (seeds.count("outbox"), seeds.count("payloads")) == (0, 0)
