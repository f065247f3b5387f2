"""Nothing of the control API is open: every endpoint asks who is calling, and may they."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from picloud.identity.keys import ensure_operator_key, new_key
from picloud_web.api.openapi import document
from tests.integration.api.conftest import Api
from tests.seeding import Seeds

pytestmark = pytest.mark.integration

_EXAMPLES = {"app": "shop", "version": "1", "domain": "shop.example.org"}
_UUID = "019a1b2c-3d4e-7f50-8a6b-7c8d9e0f1a2b"


#: Open to everybody: what the API looks like is in its documentation anyway, and who signs in has no key yet.
_OPEN = {"/openapi.json", "/docs", "/auth/login", "/auth/setup"}


def _operations() -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for path, methods in document()["paths"].items():
        if path.removeprefix("/api/v1") in _OPEN:
            continue
        for method, operation in methods.items():
            values: dict[str, Any] = {"name": "lib/tax" if "/scripts/" in path else "some"}
            for name, schema in ((each["name"], each["schema"]) for each in operation["parameters"]):
                number = _UUID if schema.get("format") == "uuid" else "1"
                values.setdefault(name, number if name == "id" else _EXAMPLES.get(name, "some"))
            found.append((method.upper(), path.removeprefix("/api/v1").format(**values)))
    return found


def test_every_endpoint_there_is_refuses_callers_without_a_valid_key(api: Api) -> None:
    operations = _operations()
    assert len(operations) > 60
    for method, path in operations:
        for key in (None, "pic_nonsense", new_key()):
            refused = api.request(method, path, {} if method != "GET" else None, key=key)
            assert (refused.status_code, refused.json["code"]) in {
                (401, "authentication_required"),
                (401, "invalid_key"),
            }, f"{method} {path} with {key}"
            assert refused.headers["www-authenticate"].startswith("Bearer"), f"{method} {path}"
            assert "access-control-allow-origin" not in refused.headers


def test_the_description_names_every_endpoint_that_is_served(api: Api) -> None:
    assert api.get("/openapi.json") == document()
    for method, path in _operations():
        answer = api.request(method, path, {} if method != "GET" else None)
        assert answer.status_code != 405, f"{method} {path}"


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_page_of_another_origin_cannot_change_anything(api: Api, seeds: Seeds, site: str) -> None:
    seeds.app()
    refused = api.request("POST", "/apps/shop/pause", headers={"Sec-Fetch-Site": site})
    assert (refused.status_code, refused.json["code"]) == (403, "foreign_page")
    assert api.request("GET", "/apps", headers={"Sec-Fetch-Site": site}).status_code == 200
    assert api.request("POST", "/apps/shop/pause", headers={"Sec-Fetch-Site": "same-origin"}).status_code == 200


def test_a_revoked_key_is_refused_at_once(api: Api) -> None:
    made = api.post("/keys", {"name": "ci"}, expect=201)
    assert api.request("GET", "/me", key=made["key"]).json["name"] == "local"
    assert api.call("DELETE", f"/keys/{made['id']}")["revoked_at"].endswith("Z")
    assert api.request("GET", "/me", key=made["key"]).status_code == 401


def test_expired_keys_and_keys_of_disabled_principals_are_refused_with_the_same_words(api: Api, seeds: Seeds) -> None:
    named = {"X-Request-Id": "the same"}
    unknown = api.request("GET", "/me", key=new_key(), headers=named).json
    expired = api.post("/keys", {"name": "old"}, expect=201)
    seeds.connection.execute("update api_keys set expires_at = now() where id = %s", (expired["id"],))
    assert api.request("GET", "/me", key=expired["key"], headers=named).json == unknown
    seeds.connection.execute("update principals set disabled_at = now()")
    assert api.request("GET", "/me", headers=named).json == unknown


def test_a_key_is_shown_once_and_stored_as_its_hash_only(api: Api, seeds: Seeds) -> None:
    made = api.post("/keys", {"name": "ci"}, expect=201)
    listed = api.get("/keys")["items"]
    assert [each["name"] for each in listed] == ["ci", "test"]
    assert made["key"] not in str(listed)
    assert listed[0]["last_four"] == made["key"][-4:]
    assert made["key"] not in str(seeds.connection.execute("select api_keys::text from api_keys").fetchall())


def test_the_local_administrator_keeps_a_key_that_works_and_gets_a_new_one_otherwise(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        first = ensure_operator_key(connection)
        assert ensure_operator_key(connection, first) == first
        connection.execute("update api_keys set revoked_at = now()")
        assert ensure_operator_key(connection, first) != first
        assert ensure_operator_key(connection, "pic_of another database") not in {first, ""}


def test_a_request_that_says_what_nobody_knows_is_refused_with_its_place(api: Api) -> None:
    assert api.get("/apps?limi=3", expect=400)["detail"] == "the query: object contains unknown field `limi`"
    assert api.get("/apps?limit=0", expect=400)["detail"] == "limit: expected `int` >= 1"
    assert api.get("/executions?since=yesterday", expect=400)["detail"].startswith("since: ")
    assert api.get("/apps/a/pause", expect=405)["code"] == "method_not_allowed"
    assert api.post("/apps", {"name": 3}, expect=400)["detail"] == "name: expected `str`, got `int`"
    assert api.post("/apps", {"name": "a", "nmae": "b"}, expect=400)["detail"].endswith("unknown field `nmae`")
    assert api.post("/apps?x=1", {"name": "a"}, expect=400)["detail"].startswith("x: ")
    assert api.get("/nothing", expect=404)["code"] == "not_found"


def test_nul_characters_are_refused_wherever_they_come(api: Api, seeds: Seeds) -> None:
    seeds.app()
    assert api.get("/executions?script=a%00b", expect=400)["code"] == "invalid_input"
    assert api.get("/apps/a%00b", expect=404)["code"] == "not_found"
    assert api.call("PUT", "/apps/shop/scripts/a", {"source": "a\0b"}, expect=400)["code"] == "invalid_input"
    assert api.post("/keys", {"name": "a\0b"}, expect=400)["code"] == "invalid_input"
    assert api.get("/executions?after=a%00b", expect=400)["code"] == "invalid_input"


def test_a_body_above_its_limit_and_one_of_another_type_are_refused(api: Api) -> None:
    assert api.post("/keys", {"name": "n" * 300_000}, expect=413)["code"] == "body_too_large"
    headers = {"Authorization": f"Bearer {api.key}", "Content-Type": "text/plain"}
    refused = api.run(api.conductor.simulate_post("/api/v1/keys", body=b'{"name":"a"}', headers=headers))
    assert (refused.status_code, refused.json["code"]) == (415, "unsupported_media_type")
