from __future__ import annotations

import asyncio
import datetime as dt
import json
from typing import Any
from uuid import UUID

import pytest

from picloud_web.directory import MISS_SECONDS
from tests.integration.web.conftest import Stage, Web
from tests.integration.web.emulated_worker import EmulatedWorker
from tests.seeds import bump_revision, create_route

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

pytestmark = pytest.mark.integration

JSON = {"Content-Type": "application/json"}


def test_an_accepted_request_is_stored_with_everything_and_the_relay_is_woken(stage: Stage) -> None:
    route = create_route(stage.db, stage.app, "POST", "/later/:id", "async")

    async def story(web: Web, worker: EmulatedWorker) -> None:
        body = b'{ "a" : 1 }'
        answer = await web.call("POST", "/@shop/later/7", body=body, headers=JSON | {"traceparent": TRACEPARENT})
        assert answer.status_code == 202
        execution_id = UUID(answer.json["execution_id"])
        assert answer.headers["x-execution-id"] == str(execution_id)
        assert answer.headers["location"] == f"http://127.0.0.1:8000/api/v1/executions/{execution_id}"
        assert answer.headers["traceparent"] == TRACEPARENT
        assert answer.json["accepted_at"].endswith("Z")
        row = stage.db.execute(
            "select o.state, o.is_sync, o.source, o.trigger_id, o.script_id, o.accepted_at, o.max_attempts, p.event,"
            " p.body from outbox o join payloads p using (id) where o.id = %s",
            (execution_id,),
        ).fetchone()
        assert row is not None
        state, is_sync, source, trigger_id, script_id, accepted_at, max_attempts, event, stored_body = row
        assert (state, is_sync, source, trigger_id, script_id) == (0, False, "http", route.id, route.script_id)
        assert accepted_at == dt.datetime.fromisoformat(answer.json["accepted_at"])
        assert max_attempts == stage.settings.retry.max_attempts
        assert stored_body == body
        assert json.loads(event)["params"] == {"id": "7"}
        assert json.loads(event)["headers"]["traceparent"] == TRACEPARENT
        await worker.wait_for_wake()

    stage.play(story)


@pytest.mark.parametrize(
    ("request_parts", "status", "code"),
    [
        ({"path": "/@shop/nowhere"}, 404, "not_found"),
        ({"path": "/@nobody/later"}, 404, "not_found"),
        ({"path": "/@/later"}, 404, "not_found"),
        ({"method": "DELETE"}, 405, "method_not_allowed"),
        ({"body": b"{", "headers": JSON}, 422, "request_not_usable"),
        ({"body": b"[" * 1_500, "headers": JSON}, 422, "request_not_usable"),
        ({"body": b"x" * 2_049}, 413, "body_too_large"),
        ({"query_string": "&".join(["a=1"] * 1_001)}, 422, "request_not_usable"),
        ({"headers": {"Idempotency-Key": "k" * 256}}, 400, "invalid_input"),
    ],
)
def test_what_cannot_run_is_refused_at_the_door(
    stage: Stage, request_parts: dict[str, Any], status: int, code: str
) -> None:
    create_route(stage.db, stage.app, "POST", "/later", "async")

    async def story(web: Web, worker: EmulatedWorker) -> None:
        answer = await web.call(**{"method": "POST", "path": "/@shop/later"} | request_parts)
        assert (answer.status_code, answer.json["code"]) == (status, code)
        assert answer.headers["content-type"] == "application/problem+json"
        if status == 405:
            assert answer.headers["allow"] == "OPTIONS, POST"
        assert stage.stored() == 0

    stage.play(story, max_body_bytes=2_048)


def test_a_body_of_exactly_the_limit_is_accepted(stage: Stage) -> None:
    create_route(stage.db, stage.app, "POST", "/later", "async")

    async def story(web: Web, worker: EmulatedWorker) -> None:
        answer = await web.call("POST", "/@shop/later", body=b"\x00" * 2_048)
        assert answer.status_code == 202
        assert stage.value("select body from payloads") == b"\x00" * 2_048

    stage.play(story, max_body_bytes=2_048)


def test_options_is_answered_without_running_anything(stage: Stage) -> None:
    create_route(stage.db, stage.app, "POST", "/later", "async")

    async def story(web: Web, worker: EmulatedWorker) -> None:
        answer = await web.call("OPTIONS", "/@shop/later")
        assert (answer.status_code, answer.headers["allow"]) == (204, "OPTIONS, POST")
        assert "access-control-allow-origin" not in answer.headers
        assert stage.stored() == 0

    stage.play(story)


def test_a_deploy_between_two_requests_takes_effect_at_once(stage: Stage) -> None:
    old = create_route(stage.db, stage.app, "POST", "/later", "async")

    async def story(web: Web, worker: EmulatedWorker) -> None:
        assert (await web.call("POST", "/@shop/later")).status_code == 202
        stage.db.execute("delete from routes where id = %s", (old.id,))
        new = create_route(stage.db, stage.app, "POST", "/later", "async")
        answer = await web.call("POST", "/@shop/later")
        assert answer.status_code == 202
        script_id = stage.value("select script_id from outbox where id = %s", answer.json["execution_id"])
        assert script_id == new.script_id
        stage.db.execute("delete from routes where id = %s", (new.id,))
        bump_revision(stage.db, stage.app)
        assert (await web.call("POST", "/@shop/later")).status_code == 404

    stage.play(story)


def test_an_app_that_did_not_exist_is_found_within_a_second(stage: Stage) -> None:
    async def story(web: Web, worker: EmulatedWorker) -> None:
        assert (await web.call("POST", "/@shop/later")).status_code == 404
        create_route(stage.db, stage.app, "POST", "/later", "async")
        await asyncio.sleep(MISS_SECONDS)
        assert (await web.call("POST", "/@shop/later")).status_code == 202

    stage.play(story)


def test_many_requests_at_once_share_commits_and_all_are_accepted(stage: Stage) -> None:
    create_route(stage.db, stage.app, "POST", "/later", "async")

    async def story(web: Web, worker: EmulatedWorker) -> None:
        answers = await asyncio.gather(*(web.call("POST", "/@shop/later", body=b"%d" % n) for n in range(300)))
        assert {answer.status_code for answer in answers} == {202}
        assert stage.stored() == 300
        assert stage.value("select count(distinct accepted_at) from outbox") < 100

    stage.play(story)
