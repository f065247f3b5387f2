"""What is done leaves an entry; what fails, or changes nothing, leaves none; and keys make no keys that may more."""

from __future__ import annotations

from typing import Any

import pytest

from picloud.access import AppRole, InstanceRole
from tests.integration.api.conftest import Api
from tests.seeding import Seeds

pytestmark = pytest.mark.integration


def _entries(api: Api, query: str = "") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api.get(f"/audit{query}")["items"]
    return found


def test_a_change_is_told_with_who_did_it_what_was_there_before_and_after_and_why(api: Api, seeds: Seeds) -> None:
    seeds.app()
    api.call("PUT", "/apps/shop/http-allowed", {"allowed": ["10.0.0.1"]})
    headers = {"X-Audit-Reason": "the%20n%C3%A4s", "X-Request-Id": "r-1"}
    api.request("PATCH", "/apps/shop/http-allowed", {"allow": ["10.0.0.2"]}, headers=headers)
    entry = _entries(api)[0]
    told = {name: entry[name] for name in ("principal", "action", "app", "before", "after", "reason", "request_id")}
    assert told == {
        "principal": "local",
        "action": "change_allowed",
        "app": "shop",
        "before": ["10.0.0.1"],
        "after": ["10.0.0.1", "10.0.0.2"],
        "reason": "the näs",
        "request_id": "r-1",
    }
    assert entry["credential"] == f"key …{api.key[-4:]}"
    assert api.get(f"/audit/{entry['id']}") == entry


def test_what_fails_leaves_no_entry(api: Api, seeds: Seeds) -> None:
    seeds.app()
    api.call("PUT", "/apps/shop/scripts/a", {"source": "let"}, expect=422)
    api.call("DELETE", "/apps/shop/routes/7", expect=404)
    assert _entries(api) == []


def test_a_deploy_tells_its_changes_and_one_that_changes_nothing_tells_nothing(api: Api) -> None:
    wanted = {"manifest": {"app": {"name": "shop"}}, "files": {"scripts/a.rhai": "1"}}
    api.post("/apps/shop/deploy", wanted | {"dry_run": True})
    assert _entries(api) == []
    api.post("/apps/shop/deploy", wanted)
    api.post("/apps/shop/deploy", wanted)
    (entry,) = _entries(api)
    assert (entry["action"], entry["app"]) == ("deploy_app", "shop")
    assert {"action": "create", "kind": "script", "name": "a"} in entry["after"]["changes"]


def test_no_entry_holds_the_value_of_a_secret_or_a_key(api: Api, seeds: Seeds) -> None:
    seeds.app()
    api.call("PUT", "/apps/shop/secrets/TOKEN", {"value": "s3cr3t-value-of-it"}, expect=201)
    made = api.post("/keys", {"name": "ci"}, expect=201)
    api.get("/apps/shop/secrets/TOKEN")
    entries = _entries(api)
    assert [entry["action"] for entry in entries] == ["show_secret", "create_key", "set_secret"]
    everything = str(seeds.connection.execute("select audit_log::text, after from audit_log").fetchall())
    assert "s3cr3t" not in everything
    assert made["key"] not in everything


def test_a_value_that_is_large_is_named_by_its_size_and_hash(api: Api) -> None:
    files = {f"scripts/{'x' * 60}{number}.rhai": "1" for number in range(300)}
    api.post("/apps/shop/deploy", {"manifest": {"app": {"name": "shop"}}, "files": files})
    after = _entries(api)[0]["after"]
    assert sorted(after) == ["bytes", "sha256"]
    assert after["bytes"] > 16_384


def test_the_log_is_narrowed_and_paged(api: Api, seeds: Seeds) -> None:
    seeds.app()
    for name in ("a", "b", "c"):
        api.call("PUT", f"/apps/shop/scripts/{name}", {"source": "1"}, expect=201)
    api.post("/apps", {"name": "blog"}, expect=201)
    assert [entry["object"] for entry in _entries(api, "?app=shop&limit=2")] == ["c", "b"]
    page = api.get("/audit?app=shop&limit=2")
    assert [entry["object"] for entry in api.get(f"/audit?app=shop&limit=2&after={page['next']}")["items"]] == ["a"]
    assert [entry["app"] for entry in _entries(api, "?action=create_app")] == ["blog"]
    assert [entry["object"] for entry in _entries(api, "?object=b")] == ["b"]
    assert _entries(api, "?principal=nobody") == []


def test_admins_of_an_app_read_what_was_done_in_it_and_nothing_else(api: Api, seeds: Seeds) -> None:
    shop, blog = seeds.app("shop"), seeds.app("blog")
    api.call("PUT", "/apps/shop/scripts/a", {"source": "1"}, expect=201)
    anna = seeds.member("anna", {shop: AppRole.ADMIN, blog: AppRole.EDITOR})
    assert [each["object"] for each in api.request("GET", "/apps/shop/audit", key=anna).json["items"]] == ["a"]
    assert api.request("GET", "/apps/blog/audit", key=anna).status_code == 403
    assert api.request("GET", "/audit", key=anna).status_code == 403


def test_a_key_makes_no_key_that_may_more_than_itself(api: Api, seeds: Seeds) -> None:
    seeds.app("shop")
    limits = {"scopes": ["app:admin"], "app": "shop", "expires_at": "2099-01-01T00:00:00Z"}
    parent = api.post("/keys", {"name": "parent", **limits}, expect=201)["key"]

    def make(**wanted: object) -> Any:
        return api.request("POST", "/keys", {"name": "child", **wanted}, key=parent)

    for too_much in ({"scopes": ["instance:admin"]}, {"principal": "admin"}):
        assert make(**too_much).status_code == 403, too_much
    assert make(app="blog").status_code == 404
    child = make(scopes=["script:read"]).json["details"]
    assert (child["app"], child["scopes"]) == ("shop", ["script:read"])
    assert child["expires_at"] == "2099-01-01T00:00:00Z"
    sooner = make(expires_at="2098-01-01T00:00:00Z").json["details"]
    assert sooner["expires_at"] == "2098-01-01T00:00:00Z"
    grandchild = api.post("/keys", {"name": "reader", "scopes": ["log:read"]}, expect=201)["key"]
    refused = api.request("POST", "/keys", {"name": "copy"}, key=grandchild)
    assert (refused.status_code, "needs the scope app:admin" in refused.json["detail"]) == (403, True)


def test_a_key_that_may_little_revokes_itself_and_cannot_lock_its_owner_out(api: Api) -> None:
    small = api.post("/keys", {"name": "small", "scopes": ["script:invoke"]}, expect=201)
    other = api.post("/keys", {"name": "other"}, expect=201)
    for method, path in (("DELETE", f"/keys/{other['id']}"), ("GET", "/keys"), ("GET", "/me/sessions")):
        assert api.request(method, path, key=small["key"]).status_code == 403, path
    assert api.request("DELETE", f"/keys/{small['id']}", key=small["key"]).status_code == 200
    assert api.request("GET", "/me", key=small["key"]).status_code == 401


def test_a_member_sees_its_own_keys_and_an_app_admin_those_of_the_app(api: Api, seeds: Seeds) -> None:
    shop = seeds.app("shop")
    anna = seeds.member("anna", {shop: AppRole.ADMIN})
    ours = api.post("/apps/shop/keys", {"name": "of shop"}, expect=201)
    everywhere = api.post("/keys", {"name": "of all"}, expect=201)
    assert [key["name"] for key in api.request("GET", "/keys", key=anna).json["items"]] == ["anna"]
    assert api.request("DELETE", f"/keys/{everywhere['id']}", key=anna).status_code == 404
    assert [key["name"] for key in api.request("GET", "/apps/shop/keys", key=anna).json["items"]] == ["of shop"]
    assert api.request("DELETE", f"/apps/shop/keys/{everywhere['id']}", key=anna).status_code == 404
    assert api.request("DELETE", f"/apps/shop/keys/{ours['id']}", key=anna).status_code == 200
    assert api.request("GET", "/me", key=ours["key"]).status_code == 401


def test_the_use_of_a_key_is_told_to_the_minute_and_not_written_with_every_call(api: Api, seeds: Seeds) -> None:
    made = api.post("/keys", {"name": "ci"}, expect=201)
    assert api.get(f"/keys/{made['id']}")["last_used_at"] is None
    api.request("GET", "/me", key=made["key"])
    used = api.get(f"/keys/{made['id']}")["last_used_at"]
    assert used is not None
    api.request("GET", "/me", key=made["key"])
    assert api.get(f"/keys/{made['id']}")["last_used_at"] == used
    seeds.connection.execute("update api_keys set last_used_at = now() - interval '61 s' where id = %s", (made["id"],))
    api.request("GET", "/me", key=made["key"])
    assert api.get(f"/keys/{made['id']}")["last_used_at"] > used


def test_an_admin_has_no_hand_in_the_keys_of_admins_and_owners(api: Api, seeds: Seeds) -> None:
    admin = seeds.member("boss", role=InstanceRole.ADMIN)
    seeds.member("other", role=InstanceRole.ADMIN)
    seeds.member("anna")
    ids = {key["principal"]: key["id"] for key in api.get("/keys")["items"]}
    for name in ("local", "other"):
        assert api.request("POST", "/keys", {"name": "x", "principal": name}, key=admin).status_code == 403, name
        assert api.request("DELETE", f"/keys/{ids[name]}", key=admin).status_code == 403, name
    assert api.request("POST", "/keys", {"name": "x", "principal": "anna"}, key=admin).status_code == 201
    assert api.request("DELETE", f"/keys/{ids['anna']}", key=admin).status_code == 200
    assert api.call("DELETE", f"/keys/{ids['other']}")["revoked_at"]
