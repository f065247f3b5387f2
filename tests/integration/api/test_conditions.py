"""ETags of reads, and changes made only to what the caller has seen."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from picloud_web.api import all_endpoints
from picloud_web.api.conditions import IfMatch
from tests.integration.api.conftest import Api
from tests.seeding import Seeds

pytestmark = pytest.mark.integration

_CRON = {"kind": "cron", "schedule": "*/5 * * * *", "script": "orders"}


def _etag(api: Api, path: str) -> str:
    return str(api.request("GET", path).headers["etag"])


def _change(api: Api, method: str, path: str, etag: str, body: object = None) -> int:
    return api.request(method, path, body, headers={"If-Match": etag}).status_code


@pytest.fixture
def shop(api: Api, seeds: Seeds) -> dict[str, Any]:
    app = seeds.app()
    seeds.script(app)
    letter = seeds.dead(app, seeds.script(app, "other"), source="invoke", event=b'{"args":1}', body=None)
    api.call("PUT", "/apps/shop/triggers/tick", _CRON, expect=201)
    api.call("PUT", "/apps/shop/secrets/TOKEN", {"value": "one"}, expect=201)
    return {
        "/apps/shop/scripts/orders": ("PUT", {"source": "2"}),
        "/apps/shop/triggers/tick": ("PATCH", {"enabled": False}),
        "/apps/shop/secrets/TOKEN": ("PUT", {"value": "two"}),
        f"/dead-letters/{letter}": ("PATCH", {"event": {"args": 2}}),
    }


def test_what_the_caller_holds_is_not_sent_again_until_it_changed(api: Api, shop: dict[str, Any]) -> None:
    for path, (method, body) in shop.items():
        etag = _etag(api, path)
        held = api.request("GET", path, headers={"If-None-Match": f'"other", {etag}'})
        assert (held.status_code, held.content, held.headers["etag"]) == (304, b"", etag), path
        assert api.request("GET", path, headers={"If-None-Match": f"W/{etag}"}).status_code == 304
        api.call(method, path, body)
        assert api.request("GET", path, headers={"If-None-Match": etag}).status_code == 200, path
    assert api.request("GET", "/apps", headers={"If-None-Match": _etag(api, "/apps")}).status_code == 304


def test_a_change_is_made_only_to_what_was_seen(api: Api, shop: dict[str, Any]) -> None:
    for path, (method, body) in shop.items():
        etag = _etag(api, path)
        assert _change(api, method, path, '"123"', body) == 412, path
        assert _change(api, method, path, f"W/{etag}", body) == 412, path
        assert _etag(api, path) == etag, f"{path} was changed all the same"
        changed = api.request(method, path, body, headers={"If-Match": etag})
        assert changed.status_code == 200, path
        assert _change(api, method, path, etag, body) == 412, path
        # The answer to a change carries the tag of what it made.
        assert changed.headers["etag"].split(".")[0].strip('"') == _etag(api, path).split(".")[0].strip('"'), path


def test_what_only_counts_does_not_stand_in_the_way_of_a_change(api: Api, seeds: Seeds, shop: dict[str, Any]) -> None:
    path = "/apps/shop/triggers/tick"
    etag = _etag(api, path)
    seeds.connection.execute("update cron_triggers set next_at = next_at + interval '1 h'")
    assert _etag(api, path) != etag
    assert _change(api, "PATCH", path, etag, {"enabled": False}) == 200


def test_what_is_removed_must_be_what_was_seen(api: Api, seeds: Seeds, shop: dict[str, Any]) -> None:
    paths = ("/apps/shop/secrets/TOKEN", "/apps/shop/triggers/tick", "/apps/shop/scripts/orders", "/apps/shop")
    for path in paths:
        etag = _etag(api, path)
        assert _change(api, "DELETE", path, '"gone"') == 412, path
        assert _change(api, "DELETE", path, etag) in {200, 204}, path
        assert api.request("GET", path).status_code == 404, path


def test_a_star_means_whatever_is_there_and_nothing_is_made_under_a_condition(api: Api, shop: dict[str, Any]) -> None:
    assert _change(api, "PUT", "/apps/shop/scripts/orders", "*", {"source": "3"}) == 200
    for path, body in (("scripts/new", {"source": "1"}), ("secrets/NEW", {"value": "1"}), ("triggers/new", _CRON)):
        for given in ("*", '"1"'):
            refused = api.request("PUT", f"/apps/shop/{path}", body, headers={"If-Match": given})
            assert (refused.status_code, refused.json["code"]) == (412, "precondition_failed"), path
    assert _change(api, "PUT", "/apps/shop/scripts/orders", "not a tag", {"source": "3"}) == 400


def test_of_two_who_saw_the_same_only_one_changes_it(api: Api, shop: dict[str, Any]) -> None:
    etag = _etag(api, "/apps/shop/scripts/orders")
    headers = {"Authorization": f"Bearer {api.key}", "If-Match": etag}

    async def both() -> list[int]:
        answers = await asyncio.gather(
            *(
                # None of them is the source that is there: who changes nothing leaves the others' tag as it is.
                api.conductor.simulate_put("/api/v1/apps/shop/scripts/orders", json={"source": f"{n}"}, headers=headers)
                for n in range(101, 106)
            )
        )
        return sorted(answer.status_code for answer in answers)

    assert api.run(both()) == [200, 412, 412, 412, 412]


def test_a_condition_that_would_not_be_looked_at_is_refused(api: Api, shop: dict[str, Any]) -> None:
    for method, path in (("POST", "/apps/shop/pause"), ("POST", "/apps/shop/scripts"), ("GET", "/apps/shop")):
        refused = api.request(method, path, {} if method == "POST" else None, headers={"If-Match": '"1"'})
        assert (refused.status_code, refused.json["code"]) == (400, "condition_not_supported"), path
    refused = api.request("PUT", "/apps/shop/scripts/orders", {"source": "1"}, headers={"If-None-Match": "*"})
    assert refused.json["code"] == "condition_not_supported"
    assert api.get("/apps/shop")["paused"] is False


def test_every_endpoint_that_reads_if_match_is_in_the_documentation() -> None:
    honouring = {
        f"{each.method} {each.path}" for each in all_endpoints() if each.headers is IfMatch and not each.is_alias
    }
    assert honouring == {
        "DELETE /apps/{app}",
        "PUT /apps/{app}/scripts/{name:path}",
        "DELETE /apps/{app}/scripts/{name:path}",
        "PUT /apps/{app}/secrets/{name}",
        "DELETE /apps/{app}/secrets/{name}",
        "PUT /apps/{app}/triggers/{trigger}",
        "PATCH /apps/{app}/triggers/{trigger}",
        "DELETE /apps/{app}/triggers/{trigger}",
        "PATCH /dead-letters/{id:uuid}",
    }
