from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection

from picloud.errors import InvalidInputError, UnavailableError
from picloud.ids import new_id
from picloud.outbox.accept import ONE_ATTEMPT, Arrival
from picloud.settings import Settings
from picloud_web.ingress import AppChangedError, Ingress
from tests.integration.web.conftest import Stage, Web, started, until
from tests.integration.web.emulated_worker import EmulatedWorker
from tests.seeds import create_route
from tests.tcp_proxy import before_postgres, before_redis, redis_through_proxy, through_proxy

pytestmark = pytest.mark.integration


class Committed:
    """Remembers what the ingress said was committed."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    async def __call__(self, arrivals: Sequence[Arrival]) -> None:
        self.batches.append(len(arrivals))


def arrivals(stage: Stage, count: int, **members: Any) -> list[Arrival]:
    revision = stage.value("select revision from apps where id = %s", stage.app.id)
    values: dict[str, Any] = {"app_id": stage.app.id, "app_revision": revision, "script_id": 1, "source": "http"}
    values |= {"principal_id": stage.app.principal_id, "event": b"{}", "retry": ONE_ATTEMPT} | members
    return [Arrival(id=new_id(), **values) for _ in range(count)]


def ingress_of(url: str, committed: Committed, outage_seconds: float = 2.5) -> Ingress:
    async def connect() -> AsyncConnection[Any]:
        return await AsyncConnection.connect(url, autocommit=True)

    return Ingress(connect, committed, durable=True, outage_seconds=outage_seconds)


def test_one_bad_row_fails_alone_and_its_neighbours_are_accepted(stage: Stage) -> None:
    async def story() -> None:
        committed = Committed()
        ingress = ingress_of(stage.settings.database_url, committed)
        good = arrivals(stage, 9)
        bad = arrivals(stage, 1, order_key="a\x00b")
        waiting = [asyncio.create_task(ingress.accept(each)) for each in [*good[:4], *bad, *good[4:]]]
        await asyncio.sleep(0)  # all of them wait before the writer begins: one batch
        ingress.start()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        await ingress.stop()
        failed = [result for result in results if isinstance(result, BaseException)]
        assert [type(each) for each in failed] == [InvalidInputError]
        assert results[4] is failed[0]
        assert sum(committed.batches) == stage.stored() == 9

    asyncio.run(story())


def test_a_stale_or_paused_app_refuses_its_own_rows_only(stage: Stage) -> None:
    async def story() -> None:
        committed = Committed()
        ingress = ingress_of(stage.settings.database_url, committed)
        waiting = [
            asyncio.create_task(ingress.accept(each))
            for each in arrivals(stage, 2) + arrivals(stage, 1, app_revision=99)
        ]
        await asyncio.sleep(0)
        ingress.start()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        await ingress.stop()
        assert isinstance(results[2], AppChangedError)
        assert committed.batches == [2]

    asyncio.run(story())


def test_a_batch_whose_commit_got_no_answer_is_sent_again_and_accepted_once(stage: Stage) -> None:
    async def story() -> None:
        async with before_postgres(stage.settings.database_url) as proxy:
            committed = Committed()
            ingress = ingress_of(through_proxy(stage.settings.database_url, proxy), committed)
            ingress.start()
            await ingress.accept(arrivals(stage, 1)[0])
            proxy.lose_answers(to=b"accept_v1")
            batch = arrivals(stage, 5)
            await asyncio.gather(*(ingress.accept(each) for each in batch))
            await ingress.stop()
            assert proxy.lost.is_set(), "the answer was not lost: this test proved nothing"
        ids = {row[0] for row in stage.db.execute("select id from outbox").fetchall()}
        assert {each.id for each in batch} <= ids
        assert len(ids) == stage.stored() == 6

    asyncio.run(story())


def test_what_ran_before_the_batch_was_sent_again_does_not_run_twice(stage: Stage) -> None:
    """The old backend commits after the connection died; the row has run and gone when the batch comes again."""

    async def story() -> None:
        async with before_postgres(stage.settings.database_url) as proxy:
            ingress = ingress_of(through_proxy(stage.settings.database_url, proxy), Committed())
            ingress.start()
            await ingress.accept(arrivals(stage, 1)[0])
            stage.db.execute("delete from outbox")
            proxy.lose_answers(to=b"accept_v1")
            # Whatever is committed has run and is gone, before anybody can send it again.
            stage.db.execute(
                "create function run_at_once() returns trigger language plpgsql as"
                " $$ begin delete from outbox where id = new.id; return null; end $$"
            )
            stage.db.execute(
                "create trigger run_at_once after insert on outbox for each row execute function run_at_once()"
            )
            (only,) = arrivals(stage, 1)
            accepting = asyncio.create_task(ingress.accept(only))
            await proxy.lost.wait()
            stage.db.execute("drop trigger run_at_once on outbox")
            await accepting
            await ingress.stop()
        assert stage.value("select count(*) from payloads where id = %s", only.id) == 1
        assert stage.value("select count(*) from outbox") == 0

    asyncio.run(story())


def test_an_outage_is_waited_out_and_then_refused(stage: Stage) -> None:
    async def story() -> None:
        async with before_postgres(stage.settings.database_url) as proxy:
            ingress = ingress_of(through_proxy(stage.settings.database_url, proxy), Committed(), outage_seconds=0.3)
            ingress.start()
            proxy.cut()
            refused, short = arrivals(stage, 2)
            with pytest.raises(UnavailableError):
                await ingress.accept(refused)
            waiting = asyncio.create_task(ingress.accept(short))
            proxy.heal()
            await waiting
            await ingress.stop()
        assert stage.stored() == 1

    asyncio.run(story())


def test_while_postgres_is_away_requests_get_a_503_and_afterwards_all_is_well(stage: Stage) -> None:
    create_route(stage.db, stage.app, "POST", "/later", "async")

    async def story(web: Web, proxy: Any) -> None:
        assert (await web.call("POST", "/@shop/later")).status_code == 202
        proxy.cut()
        refused = await web.call("POST", "/@shop/later")
        assert (refused.status_code, refused.json["code"]) == (503, "storage_unavailable")
        assert "retry-after" in refused.headers
        assert (await web.call("POST", "/@shop/nowhere")).status_code == 503
        assert (await web.call("GET", "/readyz")).status_code == 503
        proxy.heal()
        assert (await web.call("POST", "/@shop/later")).status_code == 202

    async def play() -> None:
        async with before_postgres(stage.settings.database_url) as proxy:
            settings = replaced(stage, database_url=through_proxy(stage.settings.database_url, proxy))
            async with started(settings) as web:
                await story(web, proxy)

    asyncio.run(play())


def test_while_redis_is_away_sync_is_refused_unwritten_and_async_goes_on(stage: Stage) -> None:
    create_route(stage.db, stage.app, "GET", "/now")
    create_route(stage.db, stage.app, "POST", "/later", "async")

    async def story(web: Web, worker: EmulatedWorker, proxy: Any) -> None:
        asked = asyncio.create_task(web.call("GET", "/@shop/now"))
        await worker.serve(result_kind="text", data=b"before")
        assert (await asked).text == "before"
        proxy.cut()
        stored = stage.stored()
        # The first to notice may have been written, and is withdrawn; from then on nothing is.
        assert (await web.call("GET", "/@shop/now")).status_code == 503
        noticed = stage.stored()
        assert noticed <= stored + 1
        refused = await web.call("GET", "/@shop/now")
        assert (refused.status_code, refused.json["code"]) == (503, "storage_unavailable")
        assert stage.stored() == noticed
        assert (await web.call("POST", "/@shop/later")).status_code == 202
        await web.dependencies.dispatcher.settled()
        assert stage.value("select count(*) from outbox where is_sync") == 0
        proxy.heal()
        await until(lambda: web.dependencies.window.is_up)
        asked = asyncio.create_task(web.call("GET", "/@shop/now"))
        await worker.serve(result_kind="text", data=b"after")
        assert (await asked).text == "after"

    async def play() -> None:
        async with before_redis(stage.settings.redis_url) as proxy:
            settings = replaced(stage, redis_url=redis_through_proxy(stage.settings.redis_url, proxy))
            async with stage.worker() as worker, started(settings) as web:
                await story(web, worker, proxy)

    asyncio.run(play())


def test_a_row_that_could_not_be_published_is_withdrawn_and_its_caller_told(stage: Stage) -> None:
    create_route(stage.db, stage.app, "GET", "/now", timeout_ms=30_000)

    async def play() -> None:
        async with before_redis(stage.settings.redis_url) as proxy:
            settings = replaced(stage, redis_url=redis_through_proxy(stage.settings.redis_url, proxy))
            async with stage.worker() as worker, started(settings) as web:
                asked = asyncio.create_task(web.call("GET", "/@shop/now"))
                await worker.serve()
                await asked
                await lock_accepting(stage)
                asked = asyncio.create_task(web.call("GET", "/@shop/now"))
                await until_waiting_for_lock(stage)
                proxy.cut()  # the row is being written; its publication will fail
                await unlock_accepting(stage)
                answer = await asked
                assert (answer.status_code, answer.json["code"]) == (503, "storage_unavailable")
                assert stage.value("select count(*) from outbox") == 0
                assert (
                    stage.value("select status from executions where id = %s", answer.json["execution_id"]) == "failed"
                )

    async def lock_accepting(stage: Stage) -> None:
        stage.db.execute("begin")
        stage.db.execute("lock table payloads in exclusive mode")

    async def until_waiting_for_lock(stage: Stage) -> None:
        with psycopg.connect(stage.settings.database_url, autocommit=True) as watcher:
            await until(lambda: watcher.execute("select from pg_locks where not granted").rowcount > 0)

    async def unlock_accepting(stage: Stage) -> None:
        stage.db.execute("commit")

    asyncio.run(play())


def replaced(stage: Stage, **settings: Any) -> Settings:
    return replace(stage.settings, **settings)
