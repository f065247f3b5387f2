"""Users and members: whom an admin may change, and what becomes of those who are disabled or removed."""

from __future__ import annotations

import asyncio
from typing import Any

import argon2
import falcon.testing
import pytest

from picloud.identity import passwords
from tests.integration.api.conftest import Api
from tests.integration.api.people import PASSWORD, People
from tests.seeding import Seeds

pytestmark = pytest.mark.integration


@pytest.fixture(autouse=True)
def cheap_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "HASHER", argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))


@pytest.fixture
def people(api: Api) -> People:
    return People(api)


def _changes(people: People, object_: str) -> list[tuple[str, Any, Any]]:
    entries = people.api.get("/audit?limit=100")["items"]
    return [(each["action"], each["before"], each["after"]) for each in reversed(entries) if each["object"] == object_]


def test_a_user_is_made_listed_shown_and_changed_and_the_audit_log_says_so(people: People, seeds: Seeds) -> None:
    made = people.user("anna@example.org")
    assert (made["kind"], made["role"], made["has_password"], made["apps"]) == ("user", "member", True, {})
    assert PASSWORD not in str(made)
    seeds.connection.execute("select principal_of_app(%s)", (seeds.app(),))  # a principal, and no user
    robot = people.api.post("/users", {"name": "ci", "kind": "service"}, expect=201)
    assert (robot["kind"], robot["has_password"]) == ("service", False)
    assert [each["name"] for each in people.api.get("/users")["items"]] == ["admin", "anna@example.org", "ci", "local"]
    assert people.api.get("/users?limit=2")["next"] == "anna@example.org"
    assert people.api.get("/users/anna@example.org") == made
    changed = people.api.call("PATCH", "/users/anna@example.org", {"role": "admin"})
    assert changed == made | {"role": "admin"}
    people.api.call("PATCH", "/users/anna@example.org", {"role": "admin"})
    assert _changes(people, "anna@example.org") == [("create_user", None, made), ("change_user", made, changed)]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"name": "Anna"}, 400),
        ({"name": ".anna"}, 400),
        ({"name": "local"}, 400),
        ({"name": "ci", "kind": "service", "password": PASSWORD}, 400),
        ({"name": "anna", "password": "tiny1!"}, 400),
        ({"name": "anna", "password": "p" * 1_025}, 400),
        ({"name": "bert"}, 409),
    ],
)
def test_a_user_that_cannot_be_is_refused(people: People, body: Any, status: int) -> None:
    people.user("bert", password=None)
    refused = people.api.request("POST", "/users", body)
    assert refused.status_code == status, refused.text
    assert str(body.get("password", "no password")) not in refused.text


def test_whoever_is_disabled_is_nobody_at_once_until_they_are_enabled(people: People, seeds: Seeds) -> None:
    people.user()
    token = people.login()
    key = people.call(token, "POST", "/keys", {"name": "mine"}).json["key"]
    assert people.api.request("GET", "/me", key=key).status_code == 200
    assert people.api.call("PATCH", "/users/anna", {"disabled": True})["disabled_at"] is not None
    assert people.call(token, "GET", "/me").status_code == 401
    assert people.api.request("GET", "/me", key=key).status_code == 401
    assert people.try_login().status_code == 401
    assert people.api.call("PATCH", "/users/anna", {"disabled": False})["disabled_at"] is None
    assert people.api.request("GET", "/me", key=key).status_code == 200
    assert people.call(token, "GET", "/me").status_code == 401, "a session that ended stays so"
    people.login()


def test_another_role_holds_from_the_next_call_on(people: People) -> None:
    people.user(role="admin")
    token = people.login()
    assert people.call(token, "GET", "/users").status_code == 200
    people.api.call("PATCH", "/users/anna", {"role": "member"})
    assert people.call(token, "GET", "/users").status_code == 403


def test_an_admin_manages_members_and_no_admin_or_owner(people: People) -> None:
    for name, role in (("anna", "admin"), ("bert", "admin"), ("carl", "member"), ("olga", "owner")):
        people.user(name, role)
    admin = people.login("anna")

    def status(method: str, path: str, body: Any = None) -> int:
        return people.call(admin, method, path, body).status_code

    assert status("POST", "/users", {"name": "dora", "role": "admin"}) == 403
    assert status("POST", "/users", {"name": "dora"}) == 201
    assert status("PATCH", "/users/carl", {"role": "admin"}) == 403
    assert status("PATCH", "/users/carl", {"disabled": True}) == 200
    for other in ("bert", "olga"):
        assert status("PATCH", f"/users/{other}", {"role": "member"}) == 403
        assert status("PATCH", f"/users/{other}", {"disabled": True}) == 403
        assert status("PUT", f"/users/{other}/password", {"password": "quite another one"}) == 403
        assert status("DELETE", f"/users/{other}") == 403
    assert status("PATCH", "/users/anna", {"role": "owner"}) == 403
    assert status("PATCH", "/users/anna", {"role": "member"}) == 200
    assert status("GET", "/users") == 403


def test_nobody_disables_themselves(people: People) -> None:
    people.user("olga", "owner")
    people.user("otto", "owner")
    token = people.login("olga")
    assert people.call(token, "PATCH", "/users/olga", {"disabled": True}).status_code == 409


def test_the_last_owner_who_can_sign_in_stays(people: People) -> None:
    people.user("olga", "owner")
    people.user("empty", "owner", password=None)
    for body in ({"role": "admin"}, {"disabled": True}):
        refused = people.api.request("PATCH", "/users/olga", body)
        assert (refused.status_code, refused.json["code"]) == (409, "conflict")
    assert people.api.call("PATCH", "/users/empty", {"disabled": True})["disabled_at"] is not None
    people.user("otto", "owner")
    assert people.api.call("PATCH", "/users/olga", {"role": "admin"})["role"] == "admin"
    assert people.api.request("PATCH", "/users/otto", {"disabled": True}).status_code == 409


def test_two_owners_who_end_each_other_at_the_same_moment_do_not_both_succeed(people: People) -> None:
    tokens: list[str] = []
    for name in ("olga", "otto"):
        people.user(name, "owner")
        tokens.append(people.login(name))

    async def both() -> list[falcon.testing.Result]:
        calls = [
            people.api.conductor.simulate_patch(
                f"/api/v1/users/{victim}", json={"disabled": True}, headers={"Cookie": f"picloud_session={token}"}
            )
            for token, victim in zip(tokens, ("otto", "olga"), strict=True)
        ]
        return list(await asyncio.gather(*calls))

    first, second = sorted(each.status_code for each in people.api.run(both()))
    assert first == 200
    assert second in {401, 403, 409}


def test_only_those_of_whom_nothing_tells_are_removed(people: People, seeds: Seeds) -> None:
    people.user()
    assert people.api.request("DELETE", "/users/anna").status_code == 409, "not disabled"
    people.api.call("PATCH", "/users/anna", {"disabled": True})
    assert people.api.request("DELETE", "/users/anna").status_code == 204
    assert people.api.request("GET", "/users/anna").status_code == 404
    app_id = seeds.app()  # made by the user `admin`
    people.user("olga", "owner")
    people.api.call("PATCH", "/users/admin", {"disabled": True})
    refused = people.api.request("DELETE", "/users/admin")
    assert refused.status_code == 409
    assert "apps" in refused.json["detail"]
    people.user("bert")
    people.api.call("PATCH", "/users/bert", {"disabled": True})
    waiting = seeds.waiting(app_id, seeds.script(app_id))
    seeds.connection.execute(
        "update outbox set principal_id = (select id from principals where name = 'bert') where id = %s", (waiting,)
    )
    assert people.api.request("DELETE", "/users/bert").status_code == 409


def test_an_admin_gives_another_password_but_not_to_themselves(people: People) -> None:
    people.user(role="admin")
    people.user("bert")
    admin, session = people.login(), people.login("bert")
    new = "quite another password"
    assert people.call(admin, "PUT", "/users/bert/password", {"password": new}).status_code == 204
    assert people.call(session, "GET", "/me").status_code == 401
    assert people.try_login("bert").status_code == 401
    people.login("bert", new)
    assert people.call(admin, "PUT", "/users/anna/password", {"password": new}).status_code == 403
    people.api.post("/users", {"name": "ci", "kind": "service"}, expect=201)
    assert people.call(admin, "PUT", "/users/ci/password", {"password": new}).status_code == 400
    stored = str(people.api.get("/audit?limit=100"))
    assert new not in stored
    assert "argon2" not in stored


# Members


def test_members_see_and_change_what_their_role_allows_and_other_apps_do_not_exist(
    people: People, seeds: Seeds
) -> None:
    seeds.app("shop")
    seeds.app("other")
    people.user()
    token = people.login()
    assert people.call(token, "GET", "/apps/shop").status_code == 404
    made = people.api.call("PUT", "/apps/shop/members/anna", {"role": "viewer"}, expect=201)
    assert (made["name"], made["role"]) == ("anna", "viewer")
    assert people.call(token, "GET", "/apps/shop").status_code == 200
    assert people.call(token, "GET", "/apps/shop/members").json["items"] == [made]
    assert people.call(token, "POST", "/apps/shop/pause").status_code == 403
    assert people.call(token, "PUT", "/apps/shop/members/anna", {"role": "admin"}).status_code == 403
    assert people.api.call("PUT", "/apps/shop/members/anna", {"role": "admin"})["role"] == "admin"
    assert people.call(token, "POST", "/apps/shop/pause").status_code == 200
    assert people.call(token, "PUT", "/apps/other/members/anna", {"role": "admin"}).status_code == 404
    assert people.api.get("/users/anna")["apps"] == {"shop": "admin"}


def test_the_last_app_admin_may_go_and_the_audit_log_tells_each_role(people: People, seeds: Seeds) -> None:
    seeds.app("shop")
    people.user()
    first = people.api.call("PUT", "/apps/shop/members/anna", {"role": "editor"}, expect=201)
    second = people.api.call("PUT", "/apps/shop/members/anna", {"role": "admin"})
    token = people.login()
    assert people.call(token, "DELETE", "/apps/shop/members/anna").status_code == 204
    assert people.call(token, "GET", "/apps/shop").status_code == 404
    assert people.api.request("DELETE", "/apps/shop/members/anna").status_code == 404
    seeds.connection.execute("insert into principals (kind, name) values ('app', 'app:shop') on conflict do nothing")
    for nobody in ("nobody", "app:shop"):
        assert people.api.request("PUT", f"/apps/shop/members/{nobody}", {"role": "viewer"}).status_code == 404
        assert people.api.request("POST", "/keys", {"name": "it", "principal": nobody}).status_code == 404
        assert people.api.request("GET", f"/users/{nobody}").status_code == 404
    assert [each for each in _changes(people, "anna") if "member" in each[0]] == [
        ("put_member", None, first),
        ("put_member", first, second),
        ("remove_member", second, None),
    ]
