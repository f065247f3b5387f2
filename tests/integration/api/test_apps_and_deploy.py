"""Apps, domains, scripts, routes and deploys through the control API."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.api.conftest import Api
from tests.seeding import Seeds

pytestmark = pytest.mark.integration

_MANIFEST: dict[str, Any] = {
    "app": {"name": "shop"},
    "route": [{"method": "POST", "path": "/orders/:id", "script": "scripts/orders.rhai", "dispatch_mode": "async"}],
}
_FILES = {"scripts/orders.rhai": "1 + 1", "scripts/lib/tax.rhai": "fn tax(x) { x }"}


def _deploy(api: Api, manifest: Any = None, files: Any = None, **more: Any) -> Any:
    body = {"manifest": manifest or _MANIFEST, "files": _FILES if files is None else files, **more}
    return api.post("/apps/shop/deploy", body)


def test_a_first_deploy_makes_the_app_its_scripts_and_its_routes(api: Api) -> None:
    plan = _deploy(api)
    assert [(each["action"], each["kind"], each["name"]) for each in plan["changes"]] == [
        ("create", "app", "shop"),
        ("create", "script", "lib/tax"),
        ("create", "script", "orders"),
        ("create", "route", "POST /orders/:id"),
    ]
    assert not plan["unchanged"]
    assert [each["name"] for each in api.get("/apps/shop/scripts")["items"]] == ["lib/tax", "orders"]
    assert api.get("/apps/shop/scripts/lib/tax")["source"] == "fn tax(x) { x }"
    assert api.get("/apps/shop")["routes"] == 1


def test_the_same_deploy_again_writes_nothing(api: Api, seeds: Seeds) -> None:
    _deploy(api)
    before = seeds.connection.execute("select xmin, revision from apps").fetchall()
    plan = _deploy(api)
    assert plan["unchanged"]
    assert plan["changes"] == []
    assert seeds.connection.execute("select xmin, revision from apps").fetchall() == before
    assert seeds.count("script_versions") == 2


def test_a_changed_deploy_raises_the_revision_and_keeps_old_versions(api: Api) -> None:
    first = _deploy(api)
    plan = _deploy(api, files=_FILES | {"scripts/orders.rhai": "2"})
    assert [(each["action"], each["name"]) for each in plan["changes"]] == [("update", "orders")]
    assert plan["revision"] == first["revision"] + 1
    versions = api.get("/apps/shop/scripts/orders/versions")["items"]
    assert [(each["version"], each["is_current"]) for each in versions] == [(2, True), (1, False)]
    assert api.get("/apps/shop/scripts/orders/versions/1")["source"] == "1 + 1"


def test_a_dry_run_tells_the_plan_and_changes_nothing(api: Api, seeds: Seeds) -> None:
    plan = _deploy(api, dry_run=True)
    assert plan["dry_run"]
    assert len(plan["changes"]) == 4
    assert seeds.count("apps") == 0
    _deploy(api)
    plan = _deploy(api, {"app": {"name": "shop"}}, {}, dry_run=True)
    assert {each["action"] for each in plan["changes"]} == {"delete"}
    assert seeds.count("scripts", "deleted_at is null") == 2


def test_a_script_that_does_not_compile_leaves_everything_as_it_was(api: Api, seeds: Seeds) -> None:
    _deploy(api)
    problem = api.post(
        "/apps/shop/deploy",
        {"manifest": _MANIFEST, "files": _FILES | {"scripts/lib/tax.rhai": "1", "scripts/orders.rhai": "let x = ;"}},
        expect=422,
    )
    assert problem["code"] == "script_does_not_compile"
    assert problem["detail"].startswith("scripts/orders.rhai:1:")
    assert seeds.count("script_versions") == 2


def test_what_the_folder_no_longer_holds_is_removed_and_waiting_rows_are_told(api: Api, seeds: Seeds) -> None:
    _deploy(api)
    found = seeds.connection.execute("select id, app_id from scripts where name = 'orders'").fetchone()
    assert found is not None
    script_id, app_id = found
    seeds.waiting(app_id, script_id)
    plan = _deploy(api, {"app": {"name": "shop"}}, {"scripts/lib/tax.rhai": _FILES["scripts/lib/tax.rhai"]})
    removed = {(each["kind"], each["name"]): each.get("note") for each in plan["changes"]}
    assert set(removed) == {("script", "orders"), ("route", "POST /orders/:id")}
    assert removed["script", "orders"] == "1 accepted execution of it will still run, at version 1"
    assert api.get("/apps/shop/scripts/orders", expect=404)["code"] == "not_found"
    assert seeds.count("outbox") == 1


def test_a_script_deployed_again_after_its_removal_starts_anew(api: Api) -> None:
    _deploy(api)
    _deploy(api, {"app": {"name": "shop"}}, {})
    _deploy(api)
    assert api.get("/apps/shop/scripts/orders")["version"] == 1


def test_a_trigger_is_applied_with_everything_else(api: Api, seeds: Seeds) -> None:
    trigger = {"kind": "cron", "schedule": "* * * * *", "script": "scripts/orders.rhai", "name": "tick"}
    plan = _deploy(api, _MANIFEST | {"trigger": [trigger]})
    assert [(each["action"], each["name"]) for each in plan["changes"] if each["kind"] == "trigger"] == [
        ("create", "tick")
    ]
    assert seeds.count("cron_triggers", "is_on and next_at > now()") == 1


def test_a_manifest_of_another_app_is_refused(api: Api) -> None:
    problem = api.post("/apps/other/deploy", {"manifest": _MANIFEST, "files": _FILES}, expect=422)
    assert "'shop'" in problem["detail"]


def test_a_limit_above_the_ceiling_is_cut_and_the_plan_says_so(api: Api, seeds: Seeds) -> None:
    entry = {"name": "orders", "file": "scripts/orders.rhai", "timeout_seconds": 600, "max_operations": 1000}
    plan = _deploy(api, _MANIFEST | {"script": [entry]})
    notes = {each["name"]: each.get("note") for each in plan["changes"] if each["kind"] == "script"}
    assert notes["orders"] == "timeout_seconds 600 is cut to this server's 60"
    assert seeds.connection.execute("select timeout_ms from scripts where name = 'orders'").fetchone() == (60_000,)
    shown = api.get("/apps/shop/scripts/orders")
    assert shown["limits"] == {"max_operations": 1000, "timeout_seconds": 600.0}


def test_a_put_writes_a_version_and_a_rollback_goes_back(api: Api) -> None:
    api.post("/apps", {"name": "shop"}, expect=201)
    made = api.call("PUT", "/apps/shop/scripts/lib/tax", {"source": "1", "limits": {"timeout_seconds": 2}}, expect=201)
    assert (made["name"], made["version"], made["timeout_seconds"]) == ("lib/tax", 1, 2.0)
    assert api.call("PUT", "/apps/shop/scripts/lib/tax", {"source": "1"})["version"] == 1
    changed = api.call("PUT", "/apps/shop/scripts/lib/tax", {"source": "2"})
    assert (changed["version"], changed["timeout_seconds"]) == (2, 2.0)
    revision = api.get("/apps/shop")["revision"]
    back = api.post("/apps/shop/scripts/lib/tax/rollback")
    assert (back["version"], back["source"]) == (1, "1")
    assert api.get("/apps/shop")["revision"] == revision + 1
    assert api.post("/apps/shop/scripts/lib/tax/rollback", expect=409)["code"] == "conflict"
    assert api.call("PUT", "/apps/shop/scripts/lib/tax", {"source": "3"})["version"] == 3


def test_a_limit_that_makes_no_sense_is_refused(api: Api) -> None:
    api.post("/apps", {"name": "shop"}, expect=201)
    body = {"source": "1", "limits": {"max_operations": -1}}
    assert "limits.max_operations" in api.call("PUT", "/apps/shop/scripts/a", body, expect=400)["detail"]


def test_a_script_used_by_a_route_cannot_be_removed(api: Api) -> None:
    _deploy(api)
    problem = api.call("DELETE", "/apps/shop/scripts/orders", expect=409)
    assert "POST /orders/:id" in problem["detail"]
    route = api.get("/apps/shop/routes")["items"][0]
    api.call("DELETE", f"/apps/shop/routes/{route['id']}", expect=204)
    removed = api.call("DELETE", "/apps/shop/scripts/orders")
    assert removed == {"script": "orders", "still_run": 0, "cancelled": 0}


def test_routes_of_one_shape_are_refused(api: Api) -> None:
    _deploy(api)
    new = {"method": "post", "path": "/orders/:number", "script": "orders"}
    problem = api.post("/apps/shop/routes", new, expect=409)
    assert problem["detail"] == (
        "POST /orders/:number answers the same requests as POST /orders/:id, which runs orders"
    )
    made = api.post("/apps/shop/routes", {"method": "GET", "path": "/files/*rest", "script": "orders"}, expect=201)
    assert made["dispatch_mode"] == "sync"
    assert api.get(f"/apps/shop/routes/{made['id']}") == made
    wrong = api.post("/apps/shop/routes", {"method": "GET", "path": "/*rest/x", "script": "orders"}, expect=422)
    assert "must be last" in wrong["detail"]


def test_a_route_whose_parameter_is_renamed_keeps_its_id(api: Api) -> None:
    _deploy(api)
    before = api.get("/apps/shop/routes")["items"][0]
    route = _MANIFEST["route"][0] | {"path": "/orders/:number"}
    plan = _deploy(api, _MANIFEST | {"route": [route]})
    assert plan["changes"] == [
        {
            "action": "update",
            "kind": "route",
            "name": "POST /orders/:number",
            "note": "path /orders/:id → /orders/:number",
        }
    ]
    after = api.get("/apps/shop/routes")["items"][0]
    assert (after["id"], after["path"]) == (before["id"], "/orders/:number")


def test_apps_are_made_listed_paused_and_removed(api: Api, seeds: Seeds) -> None:
    made = api.post("/apps", {"name": "shop"}, expect=201)
    assert api.post("/apps", {"name": "shop"}, expect=409)["code"] == "conflict"
    assert api.post("/apps", {"name": "No Good"}, expect=422)["code"] == "invalid_manifest"
    assert api.get("/apps")["items"] == [made]
    assert api.post("/apps/shop/pause")["paused"]
    assert api.get("/apps/shop")["paused_at"].endswith("Z")
    assert not api.post("/apps/shop/resume")["paused"]
    waiting = seeds.waiting(made["id"], seeds.script(made["id"]))
    assert api.call("DELETE", "/apps/shop") == {"app": "shop", "cancelled": 1}
    assert api.get(f"/executions/{waiting}")["status"] == "cancelled"
    assert api.get("/system/books")["balanced"]
    assert api.get("/apps/shop", expect=404)["code"] == "not_found"


def test_an_app_with_everything_can_be_removed(api: Api, seeds: Seeds) -> None:
    _deploy(api)
    found = seeds.connection.execute("select app_id, id from scripts where name = 'orders'").fetchone()
    assert found is not None
    app_id, script_id = found
    letter = seeds.dead(app_id, script_id)
    api.post("/apps/shop/domains", {"domain": "shop.example.org"}, expect=201)
    api.call("DELETE", "/apps/shop")
    assert api.get(f"/executions/{letter}")["app"] is None
    assert api.get("/system/books")["balanced"]


@pytest.mark.parametrize(
    "domain",
    [
        "localhost", "shop.localhost", "127.0.0.1", "[::1]", "::1", "2130706433", "0x7f.1", "1.2.3.4.", "shop",
        "a b.org", "-a.org", "shop.example.org:80", "",
    ],
)  # fmt: skip
def test_a_domain_that_must_not_be_mapped_is_refused(api: Api, seeds: Seeds, domain: str) -> None:
    seeds.app()
    assert api.post("/apps/shop/domains", {"domain": domain}, expect=400)["code"] == "invalid_input"


def test_a_domain_serves_one_app(api: Api, seeds: Seeds) -> None:
    seeds.app()
    seeds.app("blog")
    made = api.post("/apps/shop/domains", {"domain": "Shop.Example.ORG."}, expect=201)
    assert made["domain"] == "shop.example.org"
    assert api.get("/apps/shop")["revision"] == 2
    api.post("/apps/blog/domains", {"domain": "shop.example.org"}, expect=409)
    assert [each["domain"] for each in api.get("/apps/shop/domains")["items"]] == ["shop.example.org"]
    api.call("DELETE", "/apps/blog/domains/shop.example.org", expect=404)
    api.call("DELETE", "/apps/shop/domains/shop.example.org", expect=204)
    assert api.get("/apps/shop")["domains"] == []
