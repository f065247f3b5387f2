from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from picloud import broker
from picloud.database import Reconnecting
from picloud.relay.loop import Relay
from picloud.relay.publisher import Publisher
from picloud_web.responses import SANDBOX
from tests.integration.web.conftest import Stage, Web, until
from tests.integration.web.emulated_worker import EmulatedWorker
from tests.seeds import create_route

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

pytestmark = pytest.mark.integration


def test_a_request_is_answered_by_its_script(stage: Stage) -> None:
    create_route(stage.db, stage.app, "POST", "/orders/:id")

    async def story(web: Web, worker: EmulatedWorker) -> None:
        body = b'{"n": 1,   "n": 2}'
        headers = {"Content-Type": "application/json", "traceparent": TRACEPARENT}
        asked = asyncio.create_task(
            web.call("POST", "/@shop/orders/42", query_string="a=1", body=body, headers=headers)
        )
        taken = await worker.serve(result_kind="text", data=b"hello")
        answer = await asked
        assert (answer.status_code, answer.text) == (200, "hello")
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert answer.headers["x-execution-id"] == str(taken.id)
        assert answer.headers["traceparent"] == TRACEPARENT
        assert answer.headers["content-security-policy"] == SANDBOX
        # Byte for byte: the script may want to check a signature over it.
        assert taken.body == body
        assert taken.event["path"] == "/orders/42"
        assert taken.event["params"] == {"id": "42"}
        assert taken.event["query"] == {"a": "1"}
        assert taken.event["headers"]["traceparent"] == TRACEPARENT
        assert taken.event["content_type"] == "application/json"

    stage.play(story)


def test_many_at_once_each_get_their_own_answer(stage: Stage) -> None:
    create_route(stage.db, stage.app, "GET", "/echo/:n")

    async def story(web: Web, worker: EmulatedWorker) -> None:
        asked = [asyncio.create_task(web.call("GET", f"/@shop/echo/{n}")) for n in range(40)]
        for _ in asked:
            taken = await worker.take()
            reply = await worker.end(taken, result_kind="text", data=taken.event["params"]["n"].encode())
            assert await worker.answer(taken, reply)
        answers = await asyncio.gather(*asked)
        assert [answer.text for answer in answers] == [str(n) for n in range(40)]

    stage.play(story)


def test_a_result_too_large_for_redis_is_read_from_its_record(stage: Stage) -> None:
    create_route(stage.db, stage.app)
    large = b"x" * (broker.INLINE_REPLY_BYTES + 1)

    async def story(web: Web, worker: EmulatedWorker) -> None:
        asked = asyncio.create_task(web.call("GET", "/@shop/"))
        await worker.serve(
            result_kind="response", http_status=201, http_headers=(("X-A", "1"), ("Content-Type", "a/b")), data=large
        )
        answer = await asked
        assert (answer.status_code, answer.headers["x-a"], answer.content) == (201, "1", large)

    stage.play(story)


def test_the_answer_survives_redis_losing_its_memory_after_the_commit(stage: Stage) -> None:
    create_route(stage.db, stage.app, timeout_ms=30_000)

    async def story(web: Web, worker: EmulatedWorker) -> None:
        asked = asyncio.create_task(web.call("GET", "/@shop/"))
        taken = await worker.take()
        await worker.end(taken, result_kind="text", data=b"committed")
        # The worker's push is what gets lost; or it found nobody, because the presence key went with the rest.
        await worker.flush_redis()
        async with asyncio.timeout(5):
            answer = await asked
        assert (answer.status_code, answer.text) == (200, "committed")

    stage.play(story)


def test_after_redis_lost_its_memory_web_is_present_again_and_the_relay_is_woken(stage: Stage) -> None:
    create_route(stage.db, stage.app, timeout_ms=30_000)

    async def story(web: Web, worker: EmulatedWorker) -> None:
        asked = asyncio.create_task(web.call("GET", "/@shop/"))
        taken = await worker.take()
        await worker.flush_redis()
        await worker.wait_for_wake()
        reply = await worker.end(taken, result_kind="text", data=b"later")
        await worker.wait_for_presence(taken)
        assert await worker.answer(taken, reply)
        assert (await asked).text == "later"

    stage.play(story)


def test_the_first_request_after_redis_lost_its_memory_is_published_under_a_new_epoch(stage: Stage) -> None:
    create_route(stage.db, stage.app)

    async def story(web: Web, worker: EmulatedWorker) -> None:
        for answer_text in (b"before", b"after"):
            asked = asyncio.create_task(web.call("GET", "/@shop/"))
            taken = await worker.take()
            # Web may not be present again yet; then it finds the answer in the record.
            await worker.answer(taken, await worker.end(taken, result_kind="text", data=answer_text))
            answer = await asked
            assert (answer.status_code, answer.content) == (200, answer_text)
            await worker.flush_redis()

    stage.play(story)


def test_a_full_window_leaves_the_row_to_the_relay(stage: Stage) -> None:
    # Given workers that are far behind: many messages wait, and web has heard of it
    create_route(stage.db, stage.app)
    database, publisher = Reconnecting(stage.settings.database_url, name="test"), Publisher(stage.settings.redis_url)
    relay = Relay(database, publisher, stage.settings)
    stage.db.execute(
        "insert into workers (id, host, pid, threads, takes_sync, release, protocol)"
        " values (gen_random_uuid(), 'test', 1, 4, true, 'test', 1)"
    )

    async def story(web: Web, worker: EmulatedWorker) -> None:
        await asyncio.to_thread(relay.round)  # its first one publishes everything again
        crowd = [asyncio.create_task(web.call("GET", "/@shop/")) for _ in range(40)]
        await until(lambda: stage.value("select count(*) from outbox where state = 1") == 40)
        # When more come, while what web has heard is fresh
        while not stage.value("select count(*) from outbox where state = 0 and is_sync"):
            crowd.append(asyncio.create_task(web.call("GET", "/@shop/")))
            await until(lambda: stage.value("select count(*) from outbox") == len(crowd))
        # Then one is pending, and the relay is woken
        await asyncio.to_thread(relay.wait, 5.0)
        # And it is answered like the others once the relay has published it
        await asyncio.to_thread(relay.round)
        for _ in crowd:
            await worker.serve(result_kind="text", data=b"served")
        assert {(await each).status_code for each in crowd} == {200}

    with contextlib.closing(database), contextlib.closing(publisher):
        stage.play(story)


def test_an_answer_whose_message_was_lost_is_found_at_the_deadline(stage: Stage) -> None:
    create_route(stage.db, stage.app, timeout_ms=100)

    async def story(web: Web, worker: EmulatedWorker) -> None:
        asked = asyncio.create_task(web.call("GET", "/@shop/"))
        await worker.end(await worker.take(), result_kind="text", data=b"found", status="abandoned")
        answer = await asked
        assert (answer.status_code, answer.text) == (200, "found")

    stage.play(story)


def test_no_answer_within_timeout_and_two_seconds_is_a_504(stage: Stage) -> None:
    create_route(stage.db, stage.app, timeout_ms=100)

    async def story(web: Web, worker: EmulatedWorker) -> None:
        asked = asyncio.create_task(web.call("GET", "/@shop/"))
        taken = await worker.take()
        assert taken.is_wanted
        answer = await asked
        assert (answer.status_code, answer.json["code"]) == (504, "no_answer")
        assert answer.json["execution_id"] == answer.headers["x-execution-id"] == str(taken.id)
        assert stage.value("select reply_deadline <= now() + interval '50 ms' from outbox")

    stage.play(story)


def test_without_capacity_a_request_is_refused_before_anything_is_written(stage: Stage) -> None:
    create_route(stage.db, stage.app)

    async def story(web: Web, worker: EmulatedWorker) -> None:
        first = asyncio.create_task(web.call("GET", "/@shop/"))
        taken = await worker.take()
        refused = await web.call("GET", "/@shop/")
        assert (refused.status_code, refused.json["code"]) == (503, "no_capacity")
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.json["execution_id"] is None
        assert stage.stored() == 1
        assert await worker.answer(taken, await worker.end(taken))
        assert (await first).status_code == 200

    stage.play(story, max_sync_in_flight=1)


def test_a_client_that_leaves_gives_its_run_up(stage: Stage) -> None:
    create_route(stage.db, stage.app, timeout_ms=30_000)

    async def story(web: Web, worker: EmulatedWorker) -> None:
        asked = asyncio.create_task(web.call("GET", "/@shop/"))
        await worker.take()
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        await web.dependencies.dispatcher.settled()
        assert stage.value("select reply_deadline <= now() from outbox")
        assert web.dependencies.dispatcher.sync_in_flight == 0

    stage.play(story)


def test_a_row_whose_client_left_before_it_was_published_never_runs(stage: Stage) -> None:
    create_route(stage.db, stage.app, timeout_ms=30_000)

    async def story(web: Web, worker: EmulatedWorker) -> None:
        with stage.db.transaction():
            stage.db.execute("lock table payloads in exclusive mode")
            asked = asyncio.create_task(web.call("GET", "/@shop/"))
            await until(lambda: stage.db.execute("select from pg_locks where not granted").rowcount > 0)
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)
        await until(lambda: stage.db.execute("select from executions where status = 'failed'").rowcount == 1)
        assert stage.value("select count(*) from outbox") == 0
        assert await worker.keys(broker.SYNC_LIST) == []

    stage.play(story)


def test_a_failed_run_is_a_problem_with_its_execution(stage: Stage) -> None:
    create_route(stage.db, stage.app)

    async def story(web: Web, worker: EmulatedWorker) -> None:
        asked = asyncio.create_task(web.call("GET", "/@shop/"))
        error: dict[str, Any] = {"code": "sandbox_limit_exceeded", "message": "too many operations"}
        taken = await worker.serve(status="failed", result_kind=None, data=None, error=error)
        answer = await asked
        assert answer.status_code == 507
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json["execution_id"] == str(taken.id)

    stage.play(story)


def test_a_paused_app_answers_503_and_stores_nothing(stage: Stage) -> None:
    create_route(stage.db, stage.app)
    stage.db.execute("update apps set paused_at = now()")

    async def story(web: Web, worker: EmulatedWorker) -> None:
        answer = await web.call("GET", "/@shop/")
        assert (answer.status_code, answer.json["code"]) == (503, "app_paused")
        assert stage.stored() == 0

    stage.play(story)


def test_an_app_paused_after_it_was_cached_answers_503_at_once(stage: Stage) -> None:
    create_route(stage.db, stage.app)

    async def story(web: Web, worker: EmulatedWorker) -> None:
        asked = asyncio.create_task(web.call("GET", "/@shop/"))
        await worker.serve()
        assert (await asked).status_code == 200
        stage.db.execute("update apps set paused_at = now()")
        answer = await web.call("GET", "/@shop/")
        assert (answer.status_code, answer.json["code"]) == (503, "app_paused")
        assert stage.stored() == 1

    stage.play(story)


def test_an_idle_process_says_nothing_to_redis(stage: Stage) -> None:
    create_route(stage.db, stage.app)

    async def story(web: Web, worker: EmulatedWorker) -> None:
        asked = asyncio.create_task(web.call("GET", "/@shop/"))
        await worker.serve()
        await asked
        await asyncio.to_thread(web.dependencies.reporter.report)  # what it counted until now, it would say in a second
        client: Any = web.dependencies.services.redis
        before = (await client.info("stats"))["total_commands_processed"]
        await asyncio.sleep(2.5)  # two looks at the epoch would fall into it, were anybody waiting
        after = (await client.info("stats"))["total_commands_processed"]
        assert after - before <= 1

    stage.play(story)
