"""A platform is given to several people: an owner, a member of one app, a program with a key; as they would do it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.acceptance.running import Platform, running_platform

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(180)]

_ROOT, _ANNA = "four blue horses sing", "a quiet lake at night"


@pytest.fixture
def platform() -> Iterator[Platform]:
    with running_platform() as started:
        yield started


def read(platform: Platform, *arguments: str) -> Any:
    return json.loads(platform.picloud(*arguments, "--json"))


def test_a_platform_is_given_to_several_people(platform: Platform) -> None:
    for app in ("shop", "blog"):
        platform.picloud("init", app)
        platform.picloud("deploy", app)

    # The first person: an owner, made on the server; she signs in from wherever she is.
    platform.picloud("users", "create", "root", "--role", "owner", "--from-database", given=f"{_ROOT}\n{_ROOT}\n")
    platform.picloud("login", platform.url, "--user", "root", "--name", "root", given=f"{_ROOT}\n")
    assert read(platform, "whoami")["role"] == "owner"
    wrong = platform.picloud("login", platform.url, "--user", "root", "--name", "x", given="a guess\n", expect_code=4)
    assert wrong == ""

    # She gives one app to Anna, who sees nothing else, and may only look.
    platform.picloud("users", "create", "anna", given=f"{_ANNA}\n{_ANNA}\n")
    platform.picloud("members", "add", "shop", "anna", "--role", "viewer")
    platform.picloud("login", platform.url, "--user", "anna", "--name", "anna", given=f"{_ANNA}\n")
    assert [app["name"] for app in read(platform, "apps", "ls")] == ["shop"]
    platform.picloud("apps", "show", "blog", expect_code=5)
    platform.picloud("pause", "shop", expect_code=1)
    platform.picloud("users", "ls", expect_code=1)

    # As an editor she deploys; a program of hers may do that and nothing else.
    platform.picloud("members", "role", "shop", "anna", "editor", "--context", "root", "--reason", "she asked")
    (platform.folder / "shop" / "scripts" / "hello.rhai").write_text('"hello from anna"')
    platform.picloud("deploy", "shop")
    key = platform.picloud("keys", "create", "ci", "--app", "shop", "--scope", "script:write").strip()
    platform.picloud("login", platform.url, "--name", "ci", given=f"{key}\n")
    platform.picloud("deploy", "shop")
    platform.picloud("executions", "ls", "--app", "shop", expect_code=1)

    # Disabled, she and her program are out at once.
    platform.picloud("users", "disable", "anna", "--yes", "--context", "root", "--reason", "left")
    for context in ("anna", "ci"):
        platform.picloud("apps", "ls", "--context", context, expect_code=4)

    told = read(platform, "audit", "ls", "--context", "root", "--user", "root")
    reasons = [(entry["action"], entry["app"], entry["object"], entry["reason"]) for entry in told if entry["reason"]]
    assert reasons == [("change_user", None, "anna", "left"), ("put_member", "shop", "anna", "she asked")]
    by_anna = read(platform, "audit", "ls", "--context", "root", "--user", "anna", "--app", "shop")
    assert [entry["action"] for entry in by_anna] == ["deploy_app"]


def test_the_first_admin_comes_by_a_link_that_works_once(platform: Platform) -> None:
    link = platform.picloud("users", "setup-link").strip()
    page, _, secret = link.partition("#")
    body = {"secret": secret, "name": "root", "password": _ROOT}
    with httpx2.Client(base_url=platform.url, timeout=20) as browser:
        assert browser.get(page).status_code == 200
        assert browser.get("/api/v1/me").status_code == 401
        assert browser.post("/api/v1/auth/setup", json=body).json()["role"] == "owner"
        assert browser.get("/api/v1/me").json()["name"] == "root"
        assert browser.post("/api/v1/auth/setup", json=body | {"name": "mallory"}).status_code in {401, 409}
    platform.picloud("users", "setup-link", expect_code=6)
