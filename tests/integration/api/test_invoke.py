"""Running a script through the control API: what goes into the outbox, and how an answer is told."""

from __future__ import annotations

import json

import pytest

from picloud.broker import Reply
from picloud.errors import CapacityError, UnavailableError
from picloud.outbox.accept import Arrival
from picloud_web.ingress import AppChangedError
from tests.integration.api.conftest import Api
from tests.seeding import Seeds

pytestmark = pytest.mark.integration

_PATH = "/apps/shop/scripts/orders/invoke"


def _fail(code: str) -> object:
    return lambda arrival: Reply(arrival.id, "failed", error={"code": code, "message": "no", "line": 3, "column": 1})


def test_a_sync_invocation_answers_with_what_the_script_returned(api: Api, seeds: Seeds) -> None:
    app = seeds.app()
    script = seeds.script(app)
    answer = api.post(_PATH, {"args": {"n": 1}})
    (arrival,) = api.dispatcher.accepted
    assert answer == {"execution_id": str(arrival.id), "status": "completed", "result": {"total": 3}, "error": None}
    assert (arrival.app_id, arrival.script_id, arrival.source) == (app, script, "invoke")
    assert json.loads(arrival.event) == {"args": {"n": 1}}
    assert arrival.retry.max_attempts == 1


def test_an_async_invocation_is_accepted_with_the_retry_policy_of_the_installation(api: Api, seeds: Seeds) -> None:
    seeds.script(seeds.app())
    result = api.request("POST", _PATH, {"mode": "async"})
    (arrival,) = api.dispatcher.accepted
    assert (result.status_code, set(result.json)) == (202, {"accepted_at", "execution_id"})
    assert result.json["accepted_at"].endswith("Z")
    assert result.headers["location"] == f"/api/v1/executions/{arrival.id}"
    assert (arrival.retry.max_attempts, arrival.retry.backoff) == (3, "exponential")
    assert json.loads(arrival.event) == {"args": None}


@pytest.mark.parametrize("code", ["script_failed", "script_timeout", "sandbox_limit_exceeded", "worker_crash"])
def test_a_failed_run_is_an_answer_with_its_error(api: Api, seeds: Seeds, code: str) -> None:
    seeds.script(seeds.app())
    api.dispatcher.answer = _fail(code)  # type: ignore[assignment]
    answer = api.post(_PATH, {})
    assert (answer["status"], answer["result"]) == ("failed", None)
    assert answer["error"] == {"code": code, "message": "no", "line": 3, "column": 1}


def test_a_run_that_never_began_or_whose_end_nobody_knows_is_a_problem(api: Api, seeds: Seeds) -> None:
    seeds.script(seeds.app())
    for error, status in (
        (CapacityError("full"), 503),
        (UnavailableError("away"), 503),
        (UnavailableError("late", code="no_answer"), 504),
    ):

        def refuse(_arrival: Arrival, error: Exception = error) -> Reply:
            raise error

        api.dispatcher.answer = refuse
        problem = api.post(_PATH, {}, expect=status)
        may_run = isinstance(error, UnavailableError)
        assert problem["execution_id"] == (str(api.dispatcher.accepted[-1].id) if may_run else None)


def test_what_cannot_run_is_not_accepted(api: Api, seeds: Seeds) -> None:
    assert api.post(_PATH, {}, expect=404)["code"] == "not_found"
    app = seeds.app()
    assert api.post(_PATH, {}, expect=404)["code"] == "not_found"
    seeds.script(app)
    assert api.post(_PATH, {"args": 2**64}, expect=422)["code"] == "request_not_usable"
    api.post("/apps/shop/pause")
    assert api.post(_PATH, {"mode": "async"}, expect=503)["code"] == "app_paused"
    assert api.dispatcher.accepted == []


def test_a_deploy_in_the_same_moment_is_met_by_looking_again(api: Api, seeds: Seeds) -> None:
    seeds.script(seeds.app())
    plain = api.dispatcher.answer
    tries: list[Arrival] = []

    def changing(arrival: Arrival) -> Reply:
        tries.append(arrival)
        if len(tries) == 1:
            seeds.connection.execute("update apps set revision = revision + 1")
            raise AppChangedError("the app changed in the meantime")
        return plain(arrival)

    api.dispatcher.answer = changing
    assert api.post(_PATH, {})["status"] == "completed"
    assert [(each.id == tries[0].id, each.app_revision) for each in tries] == [(True, 1), (True, 2)]


def test_a_script_in_a_folder_is_invoked_by_its_whole_name(api: Api, seeds: Seeds) -> None:
    app = seeds.app()
    script = seeds.script(app, "lib/tax")
    for path in ("/apps/shop/scripts/lib/tax/invoke", "/apps/shop/scripts/lib%2Ftax/invoke"):
        assert api.post(path, {})["status"] == "completed"
    assert {each.script_id for each in api.dispatcher.accepted} == {script}
    api.call("PUT", "/apps/shop/scripts/lib/invoke", {"source": "1"}, expect=405)
