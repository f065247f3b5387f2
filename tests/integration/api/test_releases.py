"""Releases through the control API: what a deploy leaves, a repeat, what was changed since, and the way back."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.api.conftest import Api
from tests.seeding import Seeds

pytestmark = pytest.mark.integration

_ROUTE = {"method": "GET", "path": "/a", "script": "scripts/a.rhai"}
_WORK = {"kind": "queue", "name": "work", "queue": "jobs", "script": "scripts/b.rhai"}
_FIRST = {"scripts/a.rhai": "1", "scripts/b.rhai": "2"}
_SECOND = {"scripts/a.rhai": "let x = 10;\nx", "scripts/c.rhai": "3"}


def _body(files: dict[str, str], manifest: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {"manifest": {"app": {"name": "shop"}, **(manifest or {})}, "files": files, **more}


def _deploy(api: Api, files: dict[str, str], manifest: dict[str, Any] | None = None, **more: Any) -> Any:
    return api.post("/apps/shop/deploy", _body(files, manifest, **more))


def _two_releases(api: Api) -> None:
    _deploy(api, _FIRST, {"route": [_ROUTE], "trigger": [_WORK]}, release="aaa")
    _deploy(api, _SECOND, {"route": [_ROUTE | {"path": "/b", "script": "scripts/c.rhai"}]}, release="bbb")


def _listed(api: Api) -> list[tuple[int, list[str], int | None]]:
    return [(each["number"], each["labels"], each["restores"]) for each in api.get("/apps/shop/releases")["items"]]


def _app(api: Api) -> dict[str, Any]:
    """What a release is about."""
    return {
        "scripts": {each["name"]: each["version"] for each in api.get("/apps/shop/scripts")["items"]},
        "routes": [(each["path"], each["script"]) for each in api.get("/apps/shop/routes")["items"]],
        "triggers": [(each["name"], each["script"]) for each in api.get("/apps/shop/triggers")["items"]],
        "queues": [each["name"] for each in api.get("/apps/shop/queues")["items"]],
    }


def test_each_deploy_that_changes_something_is_a_release_and_one_that_does_not_is_none(api: Api, seeds: Seeds) -> None:
    assert _deploy(api, _FIRST)["release"] == 1
    again = _deploy(api, _FIRST)
    assert (again["unchanged"], again["release"], again["current_release"]) == (True, 1, 1)
    assert seeds.count("releases") == 1
    assert _deploy(api, _SECOND)["release"] == 2
    assert _listed(api) == [(2, [], None), (1, [], None)]


def test_the_order_of_a_manifest_makes_no_other_content(api: Api) -> None:
    routes = [_ROUTE, _ROUTE | {"path": "/b"}]
    _deploy(api, _FIRST, {"route": routes, "queue": [{"name": "x"}, {"name": "y"}]})
    plan = _deploy(api, _FIRST, {"queue": [{"name": "y"}, {"name": "x"}], "route": routes[::-1]}, release="same")
    assert (plan["unchanged"], plan["release"]) == (True, 1)
    assert _listed(api) == [(1, ["same"], None)]


def test_a_release_shows_its_manifest_its_versions_and_what_it_changed(api: Api) -> None:
    _two_releases(api)
    shown = api.get("/apps/shop/releases/2?diff=true")
    assert [(each["name"], each["version"]) for each in shown["versions"]] == [("a", 2), ("c", 1)]
    assert [each["path"] for each in shown["manifest"]["route"]] == ["/b"]
    assert [(each["action"], each["kind"], each["name"]) for each in shown["changes"]] == [
        ("update", "script", "a"), ("delete", "script", "b"), ("create", "script", "c"),
        ("delete", "route", "GET /a"), ("create", "route", "GET /b"), ("delete", "queue", "jobs"),
        ("delete", "trigger", "work"),
    ]  # fmt: skip
    assert shown["changes"][0]["diff"].splitlines() == ["@@ -1 +1,2 @@", "-1", "+let x = 10;", "+x"]
    assert (shown["previous"], shown["is_current"], shown["is_drifted"]) == (1, True, False)
    assert len(api.get("/apps/shop/releases/1")["changes"]) == 5
    assert api.get("/apps/shop/releases/3", expect=404)["code"] == "not_found"


def test_a_repeated_release_changes_nothing_also_when_another_came_later(api: Api, seeds: Seeds) -> None:
    _two_releases(api)
    before = _app(api)
    repeated = api.request(
        "POST",
        "/apps/shop/deploy",
        _body(_FIRST, {"route": [_ROUTE], "trigger": [_WORK]}, release="aaa"),
        headers={"If-Match": '"1"'},  # of a request that was made already the condition is no longer asked for
    )
    assert repeated.status_code == 200
    plan = repeated.json
    assert (plan["unchanged"], plan["release"], plan["current_release"]) == (True, 1, 2)
    assert "release 2 came later and goes on" in plan["note"]
    assert "picloud releases rollback shop 1" in plan["note"]
    assert _app(api) == before
    assert seeds.count("releases") == 2


def test_a_label_stands_for_one_content(api: Api, seeds: Seeds) -> None:
    _deploy(api, _FIRST, release="aaa")
    for dry_run in (True, False):
        problem = api.post("/apps/shop/deploy", _body(_SECOND, release="aaa", dry_run=dry_run), expect=409)
        assert problem["code"] == "release_differs"
    assert seeds.count("script_versions") == 2
    assert _deploy(api, _FIRST, release="bbb")["release"] == 1
    assert _listed(api) == [(1, ["aaa", "bbb"], None)]


def test_a_rollback_moves_everything_back_and_writes_no_version(api: Api, seeds: Seeds) -> None:
    _deploy(api, _FIRST, {"route": [_ROUTE], "trigger": [_WORK]})
    first = _app(api)
    _deploy(api, _SECOND, {"route": [_ROUTE | {"path": "/b", "script": "scripts/c.rhai"}]})
    second, versions = _app(api), seeds.count("script_versions")
    planned = api.post("/apps/shop/rollback", {"dry_run": True})
    assert _app(api) == second
    plan = api.post("/apps/shop/rollback")
    assert plan["changes"] == [
        {key: value for key, value in change.items() if key != "diff"} for change in planned["changes"]
    ]
    assert _app(api) == first
    assert plan["revision"] == api.get("/apps/shop")["revision"] == 3
    assert api.get("/apps/shop/scripts/a")["source"] == "1"
    assert api.post("/apps/shop/rollback", {"release": 2})["release"] == 4
    assert _app(api) == second
    assert seeds.count("script_versions") == versions
    assert _listed(api) == [(4, [], 2), (3, [], 1), (2, [], None), (1, [], None)]


def test_rollbacks_without_a_number_go_further_back_each_time(api: Api) -> None:
    for source in "123":
        _deploy(api, {"scripts/a.rhai": source})
    assert [api.post("/apps/shop/rollback")["release"] for _ in range(2)] == [4, 5]
    assert api.get("/apps/shop/scripts/a")["source"] == "1"
    problem = api.post("/apps/shop/rollback", expect=409)
    assert problem["detail"].startswith("shop has no release before 1")
    _deploy(api, {"scripts/a.rhai": "4"})
    api.post("/apps/shop/rollback")
    assert api.get("/apps/shop/scripts/a")["source"] == "1"
    again = api.post("/apps/shop/rollback", {"release": 1})
    assert (again["unchanged"], again["release"]) == (True, 7)


def test_a_script_that_was_removed_and_made_anew_becomes_the_old_one_with_what_ran_it(api: Api, seeds: Seeds) -> None:
    manifest = {"route": [_ROUTE], "trigger": [_WORK | {"script": "scripts/a.rhai"}]}
    _deploy(api, _FIRST, manifest)
    (old,) = seeds.connection.execute("select id from scripts where name = 'a'").fetchone() or (0,)
    _deploy(api, {})
    _deploy(api, {"scripts/a.rhai": "another", "scripts/b.rhai": "2"}, manifest)
    api.post("/apps/shop/emit", {"source": "queue", "event": {"queue": "jobs", "message": 1}})
    plan = api.post("/apps/shop/rollback", {"release": 1})
    assert (plan["changes"][0]["name"], plan["changes"][0]["note"]) == (
        "a",
        "version 1 → 1 of the one that was removed",
    )
    living = seeds.connection.execute("select id from scripts where name = 'a' and deleted_at is null").fetchall()
    used = seeds.connection.execute(
        "select script_id from routes union select script_id from triggers union select script_id from outbox"
    ).fetchall()
    assert living == used == [(old,)]


def test_what_waits_runs_the_version_that_is_current_again(api: Api, seeds: Seeds) -> None:
    _deploy(api, {"scripts/a.rhai": "1"})
    _deploy(api, {"scripts/a.rhai": "2"})
    app_id, script_id = seeds.connection.execute("select app_id, id from scripts").fetchone() or (0, 0)
    seeds.waiting(app_id, script_id)
    api.post("/apps/shop/rollback")
    assert seeds.connection.execute(
        "select o.script_version, s.current_version from outbox o join scripts s on s.id = o.script_id"
    ).fetchall() == [(None, 1)]


def test_what_something_else_changed_is_told_until_a_deploy_or_a_rollback(api: Api) -> None:
    manifest = {"route": [_ROUTE], "trigger": [_WORK]}
    _deploy(api, _FIRST, manifest)
    api.post("/apps/shop/domains", {"domain": "shop.example.org"}, expect=201)  # of no release
    assert api.get("/apps/shop/releases")["items"][0]["is_drifted"] is False
    api.call("PUT", "/apps/shop/scripts/a", {"source": "patched"})
    api.call("PATCH", "/apps/shop/triggers/work", {"enabled": False})
    api.post("/apps/shop/routes", {"method": "GET", "path": "/x", "script": "a"}, expect=201)
    drift = [
        {"kind": "script", "name": "a", "what": "changed"},
        {"kind": "route", "name": "GET /x", "what": "added"},
        {"kind": "trigger", "name": "work", "what": "changed"},
    ]
    assert api.get("/apps/shop/releases")["items"][0]["is_drifted"] is True
    assert api.get("/apps/shop/releases/1")["drift"] == drift
    assert _deploy(api, _FIRST, manifest, dry_run=True)["drift"] == drift
    assert api.post("/apps/shop/rollback", {"release": 1})["release"] == 2
    assert api.get("/apps/shop/releases/2")["drift"] == []
    assert api.get("/apps/shop/scripts/a")["version"] == 1


def test_a_deploy_of_what_something_else_had_changed_makes_it_a_release(api: Api) -> None:
    _deploy(api, _FIRST)
    api.call("PUT", "/apps/shop/scripts/a", {"source": "patched"})
    plan = _deploy(api, _FIRST | {"scripts/a.rhai": "patched"})
    assert (plan["unchanged"], plan["release"]) == (True, 2)
    assert [each["is_drifted"] for each in api.get("/apps/shop/releases")["items"]] == [False, False]


def test_a_deploy_for_another_revision_is_refused(api: Api) -> None:
    def deploy(files: dict[str, str], revision: str) -> Any:
        return api.request("POST", "/apps/shop/deploy", _body(files), headers={"If-Match": revision})

    assert deploy(_FIRST, '"1"').json["detail"].startswith("shop does not exist, not at revision 1")
    made = deploy(_FIRST, '"0"')
    assert (made.status_code, made.headers["etag"]) == (200, '"1"')
    for revision in ('"0"', '"2"'):
        assert (deploy(_SECOND, revision).status_code, deploy(_SECOND, revision).json["code"]) == (
            412,
            "precondition_failed",
        )
    assert deploy(_SECOND, '"1"').headers["etag"] == '"2"'
    assert deploy(_SECOND, "W/x").status_code == 400


def test_a_secret_that_is_required_must_be_set_first(api: Api, seeds: Seeds) -> None:
    manifest = {"secrets": {"required": ["STRIPE_KEY", "MAIL_KEY"]}}
    problem = api.post("/apps/shop/deploy", _body(_FIRST, manifest), expect=409)
    assert problem["code"] == "secrets_missing"
    assert "MAIL_KEY, STRIPE_KEY" in problem["detail"]
    assert "`picloud apps create shop`, then `picloud secrets set shop MAIL_KEY`" in problem["detail"]
    assert seeds.count("apps") == 0
    assert _deploy(api, _FIRST, manifest, dry_run=True)["missing_secrets"] == ["MAIL_KEY", "STRIPE_KEY"]
    assert _deploy(api, _FIRST, manifest, allow_missing_secrets=True)["missing_secrets"] == ["MAIL_KEY", "STRIPE_KEY"]
    for name in ("STRIPE_KEY", "MAIL_KEY"):
        api.call("PUT", f"/apps/shop/secrets/{name}", {"value": "v"}, expect=201)
    assert _deploy(api, _SECOND, manifest)["missing_secrets"] == []
    api.call("DELETE", "/apps/shop/secrets/MAIL_KEY", expect=204)
    assert api.post("/apps/shop/rollback")["missing_secrets"] == ["MAIL_KEY"]


def test_a_plan_shows_what_changes_in_sources_limits_and_routes(api: Api) -> None:
    _deploy(api, _FIRST, {"route": [_ROUTE]})
    entry = {"name": "a", "file": "scripts/a.rhai", "timeout_seconds": 2.5}
    manifest = {"script": [entry], "route": [_ROUTE | {"dispatch_mode": "async"}]}
    plan = _deploy(api, {"scripts/a.rhai": "1\n", "scripts/b.rhai": "2;\n3"}, manifest, dry_run=True, diff=True)
    assert plan["changes"] == [
        {
            "action": "update",
            "kind": "script",
            "name": "a",
            "note": "timeout_seconds none → 2.5",
            "diff": "(only ends of lines change)",
        },
        {"action": "update", "kind": "script", "name": "b", "diff": "@@ -1 +1,2 @@\n-2\n+2;\n+3"},
        {"action": "update", "kind": "route", "name": "GET /a", "note": "dispatch_mode sync → async"},
    ]
    assert "diff" not in _deploy(api, {"scripts/a.rhai": "9", "scripts/b.rhai": "2"}, dry_run=True)["changes"][0]


def test_releases_go_with_their_app(api: Api, seeds: Seeds) -> None:
    _two_releases(api)
    api.call("DELETE", "/apps/shop")
    assert (seeds.count("releases"), seeds.count("release_scripts"), seeds.count("release_labels")) == (0, 0, 0)
