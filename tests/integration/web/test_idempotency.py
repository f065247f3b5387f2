from __future__ import annotations

import asyncio
from typing import Any

import pytest

from picloud.outbox.accept import withdraw_sync
from tests.integration.web.conftest import Stage, Web
from tests.integration.web.emulated_worker import EmulatedWorker
from tests.seeds import create_app, create_route

pytestmark = pytest.mark.integration

KEY = {"Idempotency-Key": "order-17"}


def test_a_repeated_key_returns_the_first_answer_and_stores_nothing_more(stage: Stage) -> None:
    create_route(stage.db, stage.app, "POST", "/later", "async")

    async def story(web: Web, worker: EmulatedWorker) -> None:
        first = await web.call("POST", "/@shop/later", body=b"a", headers=KEY)
        again = await web.call("POST", "/@shop/later", body=b"a", headers=KEY)
        assert (first.status_code, again.status_code) == (202, 202)
        assert first.json == again.json
        assert "idempotency-replayed" not in first.headers
        assert again.headers["idempotency-replayed"] == "true"
        assert again.headers["location"] == first.headers["location"]
        assert stage.stored() == 1
        await worker.wait_for_wake()

    stage.play(story)


def test_the_same_key_at_the_same_time_is_accepted_once(stage: Stage) -> None:
    create_route(stage.db, stage.app, "POST", "/later", "async")

    async def story(web: Web, worker: EmulatedWorker) -> None:
        answers = await asyncio.gather(*(web.call("POST", "/@shop/later", headers=KEY) for _ in range(12)))
        assert {answer.status_code for answer in answers} == {202}
        assert len({answer.json["execution_id"] for answer in answers}) == 1
        assert stage.stored() == 1

    stage.play(story)


@pytest.mark.parametrize("other", [{"body": b"b"}, {"body": b"a", "query_string": "x=1"}, {"path": "/@shop/later/2"}])
def test_a_key_names_one_request(stage: Stage, other: dict[str, object]) -> None:
    create_route(stage.db, stage.app, "POST", "/later", "async")
    create_route(stage.db, stage.app, "POST", "/later/2", "async")

    async def story(web: Web, worker: EmulatedWorker) -> None:
        await web.call("POST", "/@shop/later", body=b"a", headers=KEY)
        parts: dict[str, Any] = {"path": "/@shop/later"} | other
        refused = await web.call("POST", headers=KEY, **parts)
        assert (refused.status_code, refused.json["code"]) == (422, "idempotency_key_reused")
        assert stage.stored() == 1

    stage.play(story)


def test_a_key_of_one_app_is_not_known_to_another(stage: Stage) -> None:
    create_route(stage.db, stage.app, "POST", "/later", "async")
    create_route(stage.db, create_app(stage.db, "other"), "POST", "/later", "async")

    async def story(web: Web, worker: EmulatedWorker) -> None:
        one = await web.call("POST", "/@shop/later", headers=KEY)
        two = await web.call("POST", "/@other/later", headers=KEY)
        assert one.json["execution_id"] != two.json["execution_id"]
        assert stage.stored() == 2

    stage.play(story)


def test_a_key_is_free_again_when_its_app_was_deployed_at_that_moment(stage: Stage) -> None:
    create_route(stage.db, stage.app, "POST", "/later", "async")

    async def story(web: Web, worker: EmulatedWorker) -> None:
        assert (await web.call("POST", "/@shop/later")).status_code == 202
        stage.db.execute("update apps set revision = revision + 1")
        answer = await web.call("POST", "/@shop/later", headers=KEY)
        assert answer.status_code == 202
        assert "idempotency-replayed" not in answer.headers
        assert stage.stored() == 2

    stage.play(story)


def test_a_sync_request_repeated_while_it_runs_is_a_conflict_and_afterwards_gets_its_answer(stage: Stage) -> None:
    create_route(stage.db, stage.app, "POST", "/now")

    async def story(web: Web, worker: EmulatedWorker) -> None:
        asked = asyncio.create_task(web.call("POST", "/@shop/now", headers=KEY))
        taken = await worker.take()
        while_running = await web.call("POST", "/@shop/now", headers=KEY)
        assert (while_running.status_code, while_running.json["code"]) == (409, "idempotency_key_in_use")
        assert await worker.answer(taken, await worker.end(taken, result_kind="text", data=b"once"))
        first = await asked
        again = await web.call("POST", "/@shop/now", headers=KEY)
        assert (first.status_code, first.text) == (again.status_code, again.text) == (200, "once")
        assert first.headers["x-execution-id"] == again.headers["x-execution-id"]
        assert again.headers["idempotency-replayed"] == "true"
        assert stage.stored() == 1

    stage.play(story)


def test_a_sync_request_that_never_ran_may_be_repeated_with_its_key(stage: Stage) -> None:
    create_route(stage.db, stage.app, "POST", "/now", timeout_ms=100)

    async def story(web: Web, worker: EmulatedWorker) -> None:
        asked = asyncio.create_task(web.call("POST", "/@shop/now", headers=KEY))
        taken = await worker.take()
        await withdraw_sync(worker.connection, [taken.id], b'{"code": "storage_unavailable"}')
        assert (await asked).status_code == 503
        asked = asyncio.create_task(web.call("POST", "/@shop/now", headers=KEY))
        await worker.serve(result_kind="text", data=b"ran")
        answer = await asked
        assert (answer.status_code, answer.text) == (200, "ran")
        assert "idempotency-replayed" not in answer.headers

    stage.play(story)
