"""The key-value store through the control API: values, versions, conditions, lists, limits."""

from __future__ import annotations

import dataclasses
import json
from typing import Any
from urllib.parse import quote

import falcon.testing
import pytest
import redis

from picloud import broker
from tests.integration.api.conftest import Api
from tests.seeded_triggers import create_kv_trigger
from tests.seeding import Seeds

pytestmark = pytest.mark.integration


def put(api: Api, path: str, value: object, expect: int = 200, **headers: str) -> falcon.testing.Result:
    sent = {name.replace("_", "-"): text for name, text in headers.items()}
    result = api.request("PUT", f"/apps/shop/kv/{path}", value, headers=sent)
    assert result.status_code == expect, result.text
    return result


@pytest.mark.parametrize("value", [0, "", "a\0b☃", 1.0, -0.0, True, [], {"b": [{}], "a": 2**63 - 1}, -(2**63)])
def test_any_json_value_is_read_as_it_was_written(api: Api, seeds: Seeds, value: object) -> None:
    seeds.app()
    made = put(api, "things/k", value, 201)
    read = api.request("GET", "/apps/shop/kv/things/k")
    assert read.text == json.dumps(value, separators=(",", ":"), ensure_ascii=False).replace("\0", "\\u0000")
    assert read.headers["etag"] == made.headers["etag"] == f'"{made.json["version"]}"'
    assert made.json == {
        "collection": "things", "key": "k", "version": made.json["version"], "created": True, "fired": 0,
    }  # fmt: skip


def test_null_is_a_value_and_not_an_absence(api: Api, seeds: Seeds) -> None:
    seeds.app()
    assert api.request("PUT", "/apps/shop/kv/c/k", headers={"Content-Type": "application/json"}).status_code == 400
    key = {"Authorization": f"Bearer {api.key}"}
    written = api.run(api.conductor.simulate_put("/api/v1/apps/shop/kv/c/k", body=b" null\n", headers=key))
    assert written.status_code == 201
    assert api.request("GET", "/apps/shop/kv/c/k").text == "null"
    assert seeds.count("kv_entries", "value = 'null'") == 1


@pytest.mark.parametrize("body", [b"{", b"1 2", b'"\xff"', b"NaN", b"18446744073709551616", b"[" * 121 + b"]" * 121])
def test_what_no_script_could_be_given_is_refused(api: Api, seeds: Seeds, body: bytes) -> None:
    seeds.app()
    headers = {"Authorization": f"Bearer {api.key}"}
    refused = api.run(api.conductor.simulate_put("/api/v1/apps/shop/kv/c/k", body=body, headers=headers))
    assert (refused.status_code, refused.json["code"]) == (422, "request_not_usable")
    assert seeds.count("kv_entries") == 0


@pytest.mark.parametrize(
    "key", ["a/b", "/", "a//b/", "..", "ü☃ 😀", "100%", "%2F", "a%2Fb", "?x=1#f", "+", '"', "'", ".", " "]
)
@pytest.mark.parametrize("collection", ["orders:eu", "a/b", "ü%", ".."])
def test_names_may_hold_anything_when_they_are_encoded(api: Api, seeds: Seeds, collection: str, key: str) -> None:
    seeds.app()
    path = f"{quote(collection, safe='')}/{quote(key, safe='')}"
    assert put(api, path, 1, 201).json["key"] == key
    assert api.get("/apps/shop/kv")["items"] == [{"name": collection, "keys": 1, "bytes": len(key.encode()) + 1}]
    listed = api.get(f"/apps/shop/kv/{quote(collection, safe='')}?prefix={quote(key, safe='')}&values=true")["items"]
    assert [(each["key"], each["value"], each["bytes"]) for each in listed] == [(key, 1, 1)]
    api.call("DELETE", f"/apps/shop/kv/{path}", expect=204)
    assert api.get(f"/apps/shop/kv/{path}", expect=404)["detail"] == f"there is no {collection}/{key}"


def test_a_key_may_hold_slashes_as_they_are(api: Api, seeds: Seeds) -> None:
    seeds.app()
    assert put(api, "c/a/b//c", 1, 201).json["key"] == "a/b//c"
    assert api.get("/apps/shop/kv/c/a%2Fb%2F%2Fc") == 1


@pytest.mark.parametrize("path", ["a*b/k", "c/" + "k" * 1_025, "c/%F4%8F%BF%BF", "%0A/k", "c" * 201 + "/k"])
def test_names_that_could_not_be_stored_or_matched_are_refused(api: Api, seeds: Seeds, path: str) -> None:
    seeds.app()
    put(api, path, 1, 400)
    assert api.get(f"/apps/shop/kv/{path}", expect=400)["code"] == "invalid_input"


def test_an_app_that_is_not_there_has_no_keys(api: Api, seeds: Seeds) -> None:
    for method, path in (("GET", ""), ("GET", "/c"), ("GET", "/c/k"), ("PUT", "/c/k"), ("DELETE", "/c/k")):
        body = 1 if method == "PUT" else None
        assert api.call(method, f"/apps/shop/kv{path}", body, expect=404)["detail"].startswith("there is no app 'shop'")


def test_no_app_sees_what_another_one_keeps(api: Api, seeds: Seeds) -> None:
    seeds.app()
    seeds.app("blog")
    put(api, "c/k", 1, 201)
    assert api.get("/apps/blog/kv")["items"] == api.get("/apps/blog/kv/c")["items"] == []
    assert api.get("/apps/blog/kv/c/k", expect=404)["code"] == "not_found"
    assert api.call("DELETE", "/apps/blog/kv/c/k", expect=404)["code"] == "not_found"
    assert api.get("/apps/shop/kv/c/k") == 1


def test_conditions_guard_a_write(api: Api, seeds: Seeds) -> None:
    seeds.app()
    refused = put(api, "c/k", 1, 412, If_Match='"7"')
    assert (refused.json["code"], refused.json["detail"]) == ("precondition_failed", "c/k is not there")
    put(api, "c/k", 1, 412, If_Match="*")
    etag = put(api, "c/k", 1, 201, If_None_Match="*").headers["etag"]
    refused = put(api, "c/k", 2, 412, If_None_Match="*")
    assert refused.json["detail"] == f"c/k is there, at version {etag.strip(chr(34))}"
    second = put(api, "c/k", 2, If_Match=etag).headers["etag"]
    put(api, "c/k", 3, 412, If_Match=etag)
    put(api, "c/k", 3, If_Match="*")
    for version, status in ((second, 412), ("*", 204)):
        headers = {"If-Match": version}
        assert api.request("DELETE", "/apps/shop/kv/c/k", headers=headers).status_code == status
    assert api.request("DELETE", "/apps/shop/kv/c/k", headers={"If-Match": "*"}).status_code == 412
    assert api.request("DELETE", "/apps/shop/kv/c/k").status_code == 404


@pytest.mark.parametrize(
    "headers",
    [
        {"If_Match": "7"},
        {"If_Match": 'W/"7"'},
        {"If_Match": '"1", "2"'},
        {"If_Match": '"0"'},
        {"If_Match": '"9223372036854775808"'},
        {"If_None_Match": '"7"'},
        {"If_Match": "*", "If_None_Match": "*"},
    ],
)
def test_a_condition_that_is_not_understood_writes_nothing(api: Api, seeds: Seeds, headers: dict[str, str]) -> None:
    seeds.app()
    put(api, "c/k", 1, 400, **headers)
    assert seeds.count("kv_entries") == 0


def test_a_key_made_again_has_never_an_earlier_version(api: Api, seeds: Seeds) -> None:
    seeds.app()
    first = put(api, "c/k", 1, 201).headers["etag"]
    api.call("DELETE", "/apps/shop/kv/c/k", expect=204)
    assert put(api, "c/k", 1, 201).headers["etag"] != first
    put(api, "c/k", 2, 412, If_Match=first)


def test_a_key_with_a_time_to_live_goes_away(api: Api, seeds: Seeds) -> None:
    seeds.app()
    put(api, "c/k?ttl_seconds=0.001", 1, 201)
    put(api, "c/stays?ttl_seconds=60", 1, 201)
    assert api.get("/apps/shop/kv/c/k", expect=404)["code"] == "not_found"
    (listed,) = api.get("/apps/shop/kv/c")["items"]
    assert (listed["key"], listed["expires_at"] > listed["updated_at"]) == ("stays", True)
    assert [each["keys"] for each in api.get("/apps/shop/kv")["items"]] == [1]
    put(api, "c/k", 2, 412, If_Match="*")
    put(api, "c/k", 2, 201, If_None_Match="*")
    put(api, "c/stays", 2)
    assert [each["expires_at"] for each in api.get("/apps/shop/kv/c")["items"]] == [None, None]
    for wrong in ("0", "-1", "1e300", "nan", "x"):
        put(api, f"c/k?ttl_seconds={wrong}", 1, 400)


def test_keys_are_listed_by_prefix_in_the_order_of_bytes(api: Api, seeds: Seeds) -> None:
    seeds.app()
    keys = [
        "%",
        "%a",
        "A",
        "Z",
        "_",
        "_a",
        "a",
        "a%b",
        "a_b",
        "aXb",
        "a\\b",
        "ab",
        "z",
        "é",
        "e\u0301",
        "ﬀ",
        "😀",
        "\uffff",
    ]
    for key in keys:
        put(api, f"c/{quote(key, safe='')}", 1, 201)
    in_order = sorted(keys, key=str.encode)
    for prefix in ("", "%", "_", "a", "a%", "a_", "a\\", "é", "e", "😀", "\uffff", "zz"):
        page, seen = api.get(f"/apps/shop/kv/c?limit=2&prefix={quote(prefix)}"), list[str]()
        while True:
            assert len(page["items"]) <= 2
            seen += [each["key"] for each in page["items"]]
            if page["next"] is None:
                break
            page = api.get(f"/apps/shop/kv/c?limit=2&prefix={quote(prefix)}&after={quote(page['next'])}")
        assert seen == [key for key in in_order if key.startswith(prefix)]


def test_collections_are_listed_page_by_page(api: Api, seeds: Seeds) -> None:
    seeds.app()
    for name in ("b", "B", "ä", "a"):
        for key in ("1", "22"):
            put(api, f"{quote(name)}/{key}", "x", 201)
    page = api.get("/apps/shop/kv?limit=3")
    assert [(each["name"], each["keys"], each["bytes"]) for each in page["items"]] == [
        ("B", 2, 9),
        ("a", 2, 9),
        ("b", 2, 9),
    ]
    assert [each["name"] for each in api.get(f"/apps/shop/kv?after={page['next']}")["items"]] == ["ä"]


def test_a_page_with_values_ends_before_it_is_too_large(api: Api, seeds: Seeds) -> None:
    app = seeds.app()
    large = json.dumps("x" * (3 * 1024 * 1024 - 2)).encode()
    for key in "abc":
        seeds.connection.execute(
            "insert into kv_entries (app_id, collection, key, value, version) values (%s, 'c', %s, %s, 1)",
            (app, key, large),
        )
    pages = [api.get("/apps/shop/kv/c?values=true")]
    while pages[-1]["next"]:
        pages.append(api.get(f"/apps/shop/kv/c?values=true&after={pages[-1]['next']}"))
    assert [[each["key"] for each in page["items"]] for page in pages] == [["a", "b"], ["c"]]
    without = api.get("/apps/shop/kv/c")
    assert (len(without["items"]), without["next"]) == (3, None)
    assert "value" not in without["items"][0]


def limited(api: Api, **limits: int) -> None:
    settings = dataclasses.replace(api.services.settings, **limits)  # type: ignore[arg-type]
    object.__setattr__(api.services, "settings", settings)


def test_quotas_say_what_is_kept_and_what_is_allowed(api: Api, seeds: Seeds) -> None:
    seeds.app()
    limited(api, kv_max_value_bytes=8, kv_max_keys=2, kv_max_bytes=20)
    refused = put(api, "c/a", "1234567", 413)
    assert refused.json["code"] == "value_too_large"
    assert refused.json["detail"] == "the value has 9 bytes, more than PICLOUD_KV_MAX_VALUE_BYTES (8) allows"
    put(api, "c/a", "123456", 201)
    put(api, "d/b", "123456", 201)
    refused = put(api, "c/c", 1, 507)
    assert refused.json["code"] == "quota_exceeded"
    assert refused.json["detail"] == "the app keeps 2 keys; PICLOUD_KV_MAX_KEYS allows 2"
    limited(api, kv_max_keys=3)
    refused = put(api, "c/c", "12", 507)
    assert refused.json["detail"] == "the app keeps 18 bytes and would keep 5 more; PICLOUD_KV_MAX_BYTES allows 20"
    assert put(api, "c/c", 1, 201).json["created"]
    # What is kept may be made smaller, or changed, though the quota is used up.
    limited(api, kv_max_keys=1, kv_max_bytes=1)
    put(api, "c/a", "654321")
    put(api, "c/a", 1)
    api.call("DELETE", "/apps/shop/kv/c/a", expect=204)
    put(api, "c/a", 1, 507)


def test_a_write_fires_triggers_and_wakes_the_relay(api: Api, seeds: Seeds, redis_url: str) -> None:
    app = seeds.app()
    create_kv_trigger(seeds, app, seeds.script(app), "orders:*")
    with redis.Redis.from_url(redis_url) as client:
        assert put(api, "other/k", 1, 201).json["fired"] == 0
        assert client.llen(broker.WAKE_LIST) == 0
        made = put(api, "orders:eu/k", {"n": 1}, 201).json
        assert made["fired"] == 1
        assert client.llen(broker.WAKE_LIST) == 1
        client.delete(broker.WAKE_LIST)
        api.call("DELETE", "/apps/shop/kv/orders:eu/k", expect=204)
        assert client.llen(broker.WAKE_LIST) == 1
    rows: list[Any] = api.get("/outbox")["items"]
    events = [api.get(f"/outbox/{row['id']}")["event"] for row in rows]
    place = {"collection": "orders:eu", "key": "k"}
    last = events[1].pop("version")
    assert last > made["version"]
    assert events == [
        {**place, "op": "insert", "version": made["version"], "value": {"n": 1}, "old_value": None},
        {**place, "op": "delete", "value": None, "old_value": {"n": 1}},
    ]
