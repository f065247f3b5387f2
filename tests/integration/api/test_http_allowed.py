"""The private addresses an app's scripts may call: who changes the list, and what can be on it."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
import pytest

from picloud.access import InstanceRole, Principal
from picloud.control import http_allowed
from picloud.errors import PermissionDeniedError
from tests.integration.api.conftest import Api
from tests.seeding import Seeds

pytestmark = pytest.mark.integration

PATH = "/apps/shop/http-allowed"


def revision(api: Api) -> int:
    found: int = api.get("/apps/shop")["revision"]
    return found


@pytest.fixture(autouse=True)
def _apps(seeds: Seeds) -> None:
    seeds.app()
    seeds.app("blog")


def test_an_app_may_call_no_private_address_until_an_admin_says_so(api: Api) -> None:
    assert api.get(PATH) == {"allowed": []}
    wanted = ["192.168.1.50", "10.0.0.0/8", "nas.lan", "*.home.arpa", "fd12::/64"]
    assert api.call("PUT", PATH, {"allowed": wanted}) == {"allowed": wanted}
    assert api.get(PATH) == {"allowed": wanted}
    assert api.get("/apps/shop")["http_allowed"] == wanted
    assert [(each["name"], each["http_allowed"]) for each in api.get("/apps")["items"]] == [
        ("blog", []),
        ("shop", wanted),
    ]


def test_a_change_raises_the_revision_and_no_change_does_not(api: Api) -> None:
    before = revision(api)
    api.call("PUT", PATH, {"allowed": ["nas.lan"]})
    assert revision(api) == before + 1
    api.call("PUT", PATH, {"allowed": ["nas.lan"]})
    api.call("PATCH", PATH, {"allow": ["nas.lan"]})
    api.call("PATCH", PATH, {})
    assert revision(api) == before + 1
    api.call("PUT", PATH, {"allowed": []})
    assert revision(api) == before + 2


def test_an_entry_has_one_spelling(api: Api) -> None:
    spelt = [
        " 192.168.1.50 ",
        "192.168.1.50/32",
        "NAS.lan.",
        "nas.lan",
        "fd12:0::1",
        "10.1.0.0/255.255.0.0",
        "bücher.lan",
    ]
    kept = api.call("PUT", PATH, {"allowed": spelt})["allowed"]
    assert kept == ["192.168.1.50", "nas.lan", "fd12::1", "10.1.0.0/16", "xn--bcher-kva.lan"]


def test_entries_are_added_and_taken_away(api: Api) -> None:
    api.call("PUT", PATH, {"allowed": ["192.168.1.0/24", "nas.lan"]})
    changed = api.call("PATCH", PATH, {"allow": ["*.lan"], "forbid": ["NAS.lan"]})
    assert changed == {"allowed": ["192.168.1.0/24", "*.lan"]}


def test_to_forbid_what_is_not_on_the_list_is_refused_with_what_is(api: Api) -> None:
    api.call("PUT", PATH, {"allowed": ["192.168.1.0/24"]})
    problem = api.call("PATCH", PATH, {"forbid": ["192.168.1.50"], "allow": ["nas.lan"]}, expect=404)
    assert "192.168.1.50 is not on the list" in problem["detail"]
    assert api.get(PATH) == {"allowed": ["192.168.1.0/24"]}


@pytest.mark.parametrize(
    "entry",
    [
        "", "*", "*.", "a b", "http://nas.lan", "nas.lan:80", "192.168.1.5/24", "2130706433", "0x7f.1",
        "127.0.0.1", "127.0.0.0/8", "::1", "0.0.0.0", "169.254.169.254", "169.254.0.0/16", "fe80::1", "fe80::1%eth0",
        "100.100.100.200", "224.0.0.1", "fd00:ec2::254", "::ffff:10.0.0.1",
    ],
)  # fmt: skip
def test_what_could_never_be_allowed_is_refused_and_nothing_is_stored(api: Api, entry: str) -> None:
    before = revision(api)
    assert api.call("PUT", PATH, {"allowed": ["nas.lan", entry]}, expect=400)["code"] == "invalid_input"
    assert api.call("PATCH", PATH, {"allow": [entry]}, expect=400)["code"] == "invalid_input"
    assert (api.get(PATH), revision(api)) == ({"allowed": []}, before)


@pytest.mark.parametrize(
    "body", [[], {"allowed": "nas.lan"}, {"allowed": [1]}, {"allowed": ["a\0"]}, {"allow": []}, None]
)
def test_another_shape_is_refused(api: Api, body: Any) -> None:
    api.call("PUT", PATH, body, expect=400)


def test_a_list_has_an_end(api: Api) -> None:
    entries = [f"10.0.0.{number}" for number in range(100)]
    api.call("PUT", PATH, {"allowed": entries})
    assert api.call("PATCH", PATH, {"allow": ["nas.lan"]}, expect=400)["code"] == "invalid_input"
    api.call("PUT", PATH, {"allowed": [*entries, "nas.lan"]}, expect=400)
    swapped = api.call("PATCH", PATH, {"allow": ["nas.lan"], "forbid": ["10.0.0.0"]})["allowed"]
    assert len(swapped) == 100


def test_an_app_that_is_not_there_has_no_list(api: Api) -> None:
    api.get("/apps/nothing/http-allowed", expect=404)
    api.call("PUT", "/apps/nothing/http-allowed", {"allowed": []}, expect=404)


def test_a_deploy_neither_sets_nor_clears_the_list(api: Api) -> None:
    api.call("PUT", PATH, {"allowed": ["nas.lan"]})
    manifest: dict[str, Any] = {"app": {"name": "shop"}}
    api.post("/apps/shop/deploy", {"manifest": manifest, "files": {"scripts/a.rhai": "1"}})
    assert api.get(PATH) == {"allowed": ["nas.lan"]}
    wished = {"app": {"name": "shop", "http_allowed": ["10.0.0.0/8"]}}
    assert api.post("/apps/shop/deploy", {"manifest": wished, "files": {}}, expect=422)["code"] == "invalid_manifest"
    assert api.get(PATH) == {"allowed": ["nas.lan"]}


def test_whoever_is_no_admin_is_refused_behind_the_door_too(database_url: str) -> None:
    async def change() -> None:
        async with await psycopg.AsyncConnection.connect(database_url) as connection:
            member = Principal(1, "user", "member", InstanceRole.MEMBER)
            with pytest.raises(PermissionDeniedError):
                await http_allowed.replace_allowed(connection, member, "shop", ["nas.lan"])
            with pytest.raises(PermissionDeniedError):
                await http_allowed.change_allowed(connection, member, "shop", allow=["nas.lan"], forbid=[])
            assert await http_allowed.read_allowed(connection, "shop") == []

    asyncio.run(change())


def test_two_admins_who_add_at_once_both_do(api: Api) -> None:
    async def both() -> None:
        headers = {"Authorization": f"Bearer {api.key}"}
        added = [
            api.conductor.simulate_patch(f"/api/v1{PATH}", json={"allow": [entry]}, headers=headers)
            for entry in ("nas.lan", "10.0.0.1", "10.0.0.2", "10.0.0.3")
        ]
        assert {each.status_code for each in await asyncio.gather(*added)} == {200}

    api.run(both())
    assert sorted(api.get(PATH)["allowed"]) == ["10.0.0.1", "10.0.0.2", "10.0.0.3", "nas.lan"]
