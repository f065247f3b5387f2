"""What routes ask of their callers, in a real web process: keys, signatures, and revocations that come in between."""

from __future__ import annotations

import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import pytest

from picloud.access import AppRole, InstanceRole, Principal, Scope
from picloud.access.route_auth import RouteAuth
from picloud.control.secrets import set_secret
from picloud.local.master_key import ensure_master_key
from tests.integration.web.conftest import Stage, Web
from tests.integration.web.emulated_worker import EmulatedWorker
from tests.seeding import Seeds
from tests.seeds import bump_revision, create_route

pytestmark = pytest.mark.integration

API_KEY = RouteAuth(kind="api_key")


def _route(stage: Stage, auth: RouteAuth, path: str = "/hook") -> None:
    route = create_route(stage.db, stage.app, "POST", path, "async")
    stage.db.execute("update routes set auth = %s where id = %s", (auth.to_json(), route.id))
    bump_revision(stage.db, stage.app)


def _bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def _caller_of(stage: Stage, answer: Any) -> str | None:
    event = stage.value("select event from payloads where id = %s", answer.json["execution_id"])
    caller: str | None = json.loads(event).get("caller")
    return caller


def test_a_route_that_asks_for_a_key_is_called_with_one_that_may_run_scripts_of_its_app(stage: Stage) -> None:
    _route(stage, API_KEY)
    seeds = Seeds(stage.db)
    other = seeds.app("other")
    invoker = seeds.member("anna", {stage.app.id: AppRole.EDITOR}, scopes=frozenset({Scope.SCRIPT_INVOKE}))
    refused = {
        "a reader's key": seeds.member("bob", {stage.app.id: AppRole.EDITOR}, scopes=frozenset({Scope.SCRIPT_READ})),
        "a viewer": seeds.member("eve", {stage.app.id: AppRole.VIEWER}),
        "a stranger": seeds.member("kim", {other: AppRole.ADMIN}),
        "an admin's key of another app": seeds.member("root", role=InstanceRole.ADMIN, app_id=other),
    }

    async def story(web: Web, _: EmulatedWorker) -> None:
        answer = await web.call("POST", "/@shop/hook", headers=_bearer(invoker))
        assert (answer.status_code, _caller_of(stage, answer)) == (202, "anna")
        for who, key in refused.items():
            answer = await web.call("POST", "/@shop/hook", headers=_bearer(key))
            assert (answer.status_code, answer.json["code"]) == (403, "permission_denied"), who
        for headers in ({}, _bearer("pic_nonsense"), {"Authorization": "Basic eDp5"}):
            answer = await web.call("POST", "/@shop/hook", headers=headers)
            assert answer.status_code == 401, headers
            assert answer.headers["www-authenticate"].startswith("Bearer")
        assert stage.stored() == 1

    stage.play(story)


def test_a_route_that_asks_for_nothing_is_told_who_calls_when_that_is_known(stage: Stage) -> None:
    _route(stage, RouteAuth())
    seeds = Seeds(stage.db)
    anna = seeds.member("anna", {})
    elsewhere = seeds.member("bob", role=InstanceRole.ADMIN, app_id=seeds.app("other"))

    async def story(web: Web, _: EmulatedWorker) -> None:
        for headers, caller in (
            (_bearer(anna), "anna"),
            (_bearer(elsewhere), None),
            (_bearer("pic_nonsense"), None),
            (_bearer("a token of the app's own"), None),
            ({}, None),
        ):
            answer = await web.call("POST", "/@shop/hook", headers=headers)
            assert (answer.status_code, _caller_of(stage, answer)) == (202, caller), headers

    stage.play(story)


@pytest.mark.parametrize(
    "change",
    [
        "update api_keys set revoked_at = now()",
        "update api_keys set expires_at = now()",
        "update api_keys set scopes = '{log:read}'",
        "update principals set disabled_at = now() where name = 'anna'",
        "delete from app_members",
        "update app_members set role = 'viewer'",
    ],
)
def test_a_remembered_key_is_refused_from_the_commit_of_its_revocation_on(stage: Stage, change: Any) -> None:
    _route(stage, API_KEY)
    key = Seeds(stage.db).member("anna", {stage.app.id: AppRole.EDITOR})

    async def story(web: Web, _: EmulatedWorker) -> None:
        for _again in range(2):
            assert (await web.call("POST", "/@shop/hook", headers=_bearer(key))).status_code == 202
        stage.db.execute(change)
        assert (await web.call("POST", "/@shop/hook", headers=_bearer(key))).status_code in {401, 403}
        assert stage.stored() == 2

    stage.play(story)


def test_somebody_elses_revocation_costs_a_caller_nothing_but_a_look(stage: Stage) -> None:
    _route(stage, API_KEY)
    seeds = Seeds(stage.db)
    key = seeds.member("anna", {stage.app.id: AppRole.EDITOR})
    seeds.member("bob", {})

    async def story(web: Web, _: EmulatedWorker) -> None:
        assert (await web.call("POST", "/@shop/hook", headers=_bearer(key))).status_code == 202
        stage.db.execute("update principals set disabled_at = now() where name = 'bob'")
        assert (await web.call("POST", "/@shop/hook", headers=_bearer(key))).status_code == 202

    stage.play(story)


def test_a_remembered_key_costs_no_query(stage: Stage) -> None:
    _route(stage, API_KEY)
    key = Seeds(stage.db).member("anna", {stage.app.id: AppRole.EDITOR})

    async def story(web: Web, _: EmulatedWorker) -> None:
        await web.call("POST", "/@shop/hook", headers=_bearer(key))
        before = web.dependencies.services.database.get_stats().get("requests_num", 0)
        for _again in range(3):
            assert (await web.call("POST", "/@shop/hook", headers=_bearer(key))).status_code == 202
        assert web.dependencies.services.database.get_stats().get("requests_num", 0) == before

    stage.play(story)


def test_a_route_becomes_closed_between_the_look_and_the_commit(stage: Stage) -> None:
    _route(stage, RouteAuth())

    async def story(web: Web, _: EmulatedWorker) -> None:
        assert (await web.call("POST", "/@shop/hook")).status_code == 202
        stage.db.execute("update routes set auth = %s", (API_KEY.to_json(),))
        bump_revision(stage.db, stage.app)
        assert (await web.call("POST", "/@shop/hook")).status_code == 401
        assert stage.stored() == 1

    stage.play(story)


def test_a_webhook_is_taken_only_with_its_signature_and_stored_only_then(stage: Stage, tmp_path: Path) -> None:
    _route(stage, RouteAuth(kind="github", secret="HOOK"))
    admin = Principal(stage.app.principal_id, "user", "admin", InstanceRole.OWNER)
    body = b'{"ref":"main"}'

    def signed(secret: str, content: bytes = body) -> dict[str, str]:
        digest = hmac.new(secret.encode(), content, hashlib.sha256).hexdigest()
        return {"X-Hub-Signature-256": f"sha256={digest}"}

    async def story(web: Web, _: EmulatedWorker) -> None:
        answer = await web.call("POST", "/@shop/hook", body=body, headers=signed("k"))
        assert (answer.status_code, answer.json["code"]) == (503, "secret_missing")
        services = web.dependencies.services
        async with services.database.connection() as connection, connection.transaction():
            await set_secret(connection, services.vault, "shop", admin, name="HOOK", value="k")
        assert (await web.call("POST", "/@shop/hook", body=body, headers=signed("k"))).status_code == 202
        for headers, sent in ((signed("other"), body), (signed("k"), body + b" "), ({}, body)):
            answer = await web.call("POST", "/@shop/hook", body=sent, headers=headers)
            assert (answer.status_code, answer.json["code"]) == (401, "invalid_signature")
        assert stage.stored() == 1

    ensure_master_key(tmp_path / "master.key")
    stage.play(story, master_key_file=str(tmp_path / "master.key"))
