"""Signing in: sessions, what guessing costs, and what another site's page cannot do."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import argon2
import falcon.asgi
import falcon.testing
import pytest

from picloud.identity import passwords
from picloud.identity.attempts import FREE_BY_ADDRESS, FREE_BY_NAME
from picloud.identity.passwords import Hashing
from picloud_web import problems
from picloud_web.api import add_routes
from tests.integration.api.conftest import Api
from tests.integration.api.people import COOKIE, PASSWORD, People, cookie_of, token_of
from tests.seeding import Seeds

pytestmark = pytest.mark.integration

WRONG = "not the password"
_REFUSED = (401, "invalid_credentials")


@pytest.fixture(autouse=True)
def cheap_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests here ask what is hashed and when, not how well."""
    monkeypatch.setattr(passwords, "HASHER", argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    monkeypatch.setattr(passwords, "NOBODY_S_HASH", passwords.HASHER.hash("of nobody"))


@pytest.fixture
def people(api: Api) -> People:
    return People(api)


def _code(result: falcon.testing.Result) -> tuple[int, str]:
    return result.status_code, result.json["code"]


def _of_another_process(api: Api) -> People:
    """The same servers, asked through an application that shares nothing else."""
    app: Any = falcon.asgi.App()
    problems.install(app)
    add_routes(app, dataclasses.replace(api.services, hashing=Hashing()))
    return People(dataclasses.replace(api, conductor=falcon.testing.ASGIConductor(app)))


# Sessions


def test_who_signs_in_is_known_by_the_cookie_until_they_sign_out(people: People) -> None:
    people.user(role="admin")
    answer = people.try_login()
    assert answer.json["name"] == "anna"
    token = token_of(answer)
    assert token not in answer.text
    me = people.call(token, "GET", "/me").json
    assert (me["name"], me["role"], me["credential"], me["key_id"]) == ("anna", "admin", "session", None)
    assert people.call(token, "GET", "/users").status_code == 200
    out = people.call(token, "POST", "/auth/logout")
    assert out.status_code == 204
    assert "Max-Age=0" in cookie_of(out)
    assert _code(people.call(token, "GET", "/me")) == (401, "invalid_session")


def test_the_cookie_is_out_of_reach_for_scripts_and_other_sites(people: People) -> None:
    people.user()
    plain = cookie_of(people.try_login())
    assert plain.startswith(f"{COOKIE}=")
    assert {each.strip() for each in plain.split(";")[1:]} == {
        "Max-Age=2592000",
        "Path=/",
        "HttpOnly",
        "SameSite=Strict",
    }


def test_by_https_the_cookie_is_bound_to_the_host_and_a_planted_one_does_not_count(people: People) -> None:
    people.user()
    secure = people.try_login(protocol="https")
    assert cookie_of(secure).startswith(f"__Host-{COOKIE}=")
    assert cookie_of(secure).endswith("; Secure")
    token = token_of(secure)

    def me(name: str) -> int:
        request = people.api.conductor.simulate_get(
            "/api/v1/me", protocol="https", headers={"Cookie": f"{name}={token}"}
        )
        return int(people.api.run(request).status_code)

    assert me(f"__Host-{COOKIE}") == 200
    assert me(COOKIE) == 401


def test_the_token_is_stored_as_its_hash_only(people: People, seeds: Seeds) -> None:
    people.user()
    token = people.login()
    assert token not in str(seeds.connection.execute("select sessions::text from sessions").fetchall())
    assert PASSWORD not in str(seeds.connection.execute("select passwords::text from passwords").fetchall())


def test_every_login_has_a_new_token_and_none_that_is_brought_along_is_adopted(people: People) -> None:
    people.user()
    planted = "planted-by-an-attacker"
    first = people.login(headers={"Cookie": f"{COOKIE}={planted}"})
    assert first != planted
    assert people.call(planted, "GET", "/me").status_code == 401
    second = people.login(headers={"Cookie": f"{COOKIE}={first}"})
    assert second != first
    assert people.call(first, "GET", "/me").status_code == 401, "the browser's session before this one has ended"
    assert people.call(second, "GET", "/me").status_code == 200


def test_a_session_ends_after_a_month_and_after_a_week_without_use(people: People, seeds: Seeds) -> None:
    people.user()
    unused, old = people.login(), people.login()
    seeds.connection.execute(
        "update sessions set last_used_at = now() - interval '7 days 1 second'"
        " where id = (select min(id) from sessions)"
    )
    seeds.connection.execute("update sessions set expires_at = now() where id = (select max(id) from sessions)")
    assert people.call(unused, "GET", "/me").status_code == 401
    assert people.call(old, "GET", "/me").status_code == 401


def test_people_see_their_own_sessions_and_end_them(people: People) -> None:
    people.user()
    people.user("bert")
    mine = people.login(headers={"User-Agent": "Netscape\x1b 4"})
    other, foreign = people.login(), people.login("bert")
    listed = people.call(mine, "GET", "/me/sessions").json["items"]
    assert [each["is_current"] for each in listed] == [False, True]
    assert listed[1]["user_agent"] == "Netscape  4"
    (of_bert,) = people.call(foreign, "GET", "/me/sessions").json["items"]
    assert people.call(mine, "DELETE", f"/me/sessions/{of_bert['id']}").status_code == 404
    assert people.call(mine, "DELETE", f"/me/sessions/{listed[0]['id']}").status_code == 204
    assert people.call(other, "GET", "/me").status_code == 401
    assert people.call(foreign, "GET", "/me").status_code == 200


def test_a_key_is_no_session_to_sign_out_of(api: Api) -> None:
    assert api.post("/auth/logout", expect=400)["code"] == "invalid_input"
    assert api.get("/me")["key_id"] > 0


# Passwords


def test_a_new_password_needs_the_old_one_and_ends_the_other_sessions(people: People) -> None:
    people.user()
    mine, other = people.login(), people.login()
    new = "an other horse altogether"
    assert _code(people.call(mine, "POST", "/me/password", {"old": WRONG, "new": new})) == _REFUSED
    assert people.call(mine, "POST", "/me/password", {"old": PASSWORD, "new": "short"}).status_code == 400
    assert people.call(mine, "POST", "/me/password", {"old": PASSWORD, "new": new}).status_code == 204
    assert people.call(mine, "GET", "/me").status_code == 200
    assert people.call(other, "GET", "/me").status_code == 401
    assert _code(people.try_login()) == _REFUSED
    people.login(password=new)


def test_a_password_is_the_same_however_its_letters_are_composed(people: People) -> None:
    people.user(password="gr\u00fcne Wiese 7")
    people.login(password="gru\u0308ne Wiese 7")


def test_a_hash_of_older_parameters_is_replaced_at_the_next_login(people: People, seeds: Seeds) -> None:
    people.user()
    older = argon2.PasswordHasher(time_cost=2, memory_cost=16, parallelism=1).hash(PASSWORD)
    seeds.connection.execute("update passwords set hash = %s", (older,))
    people.login()
    (stored,) = seeds.connection.execute("select hash from passwords").fetchone() or ("",)
    assert stored != older
    assert not passwords.needs_rehash(stored)
    people.login()


# Guessing


def test_the_answer_does_not_tell_who_exists_and_the_work_is_the_same(
    people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    people.user("anna")
    people.user("empty", password=None)
    people.user("gone")
    people.api.call("PATCH", "/users/gone", {"disabled": True})
    verified: list[str] = []
    real = passwords._is_password

    def counted(stored: str, password: str) -> bool:
        verified.append(stored)
        return real(stored, password)

    monkeypatch.setattr(passwords, "_is_password", counted)
    answers = [
        people.try_login(name, password, address=f"192.0.2.{number}", headers={"X-Request-Id": "the same"})
        for number, (name, password) in enumerate(
            [("anna", WRONG), ("nobody-at-all", WRONG), ("gone", PASSWORD), ("empty", WRONG), ("No Name!", WRONG)]
        )
    ]
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.text for answer in answers}) == 1
    assert len(verified) == len(answers), "each of them cost one verification"
    assert {stored.rpartition("$")[0].rpartition("$")[0] for stored in verified} == {
        passwords.NOBODY_S_HASH.rpartition("$")[0].rpartition("$")[0]
    }, "with the same parameters"


def test_after_a_few_wrong_ones_even_the_right_password_waits_in_every_process(people: People, seeds: Seeds) -> None:
    people.user()
    elsewhere = _of_another_process(people.api)
    for number in range(FREE_BY_NAME):
        assert _code((people, elsewhere)[number % 2].try_login(password=WRONG)) == _REFUSED
    for each in (people, elsewhere):
        waits = each.try_login(address="198.51.100.1")
        assert _code(waits) == (429, "too_many_attempts")
        assert int(waits.headers["retry-after"]) >= 1
    seeds.connection.execute("update login_failures set last_at = now() - interval '2 seconds'")
    elsewhere.login()
    assert _code(people.try_login(password=WRONG)) == _REFUSED, "the count began anew"


def test_an_attempt_that_waits_costs_no_hash_and_no_entry_in_the_audit_log(
    people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    people.user()
    for _ in range(FREE_BY_NAME):
        people.try_login(password=WRONG)
    before = people.audit()
    monkeypatch.setattr(passwords, "HASHER", None)
    for _ in range(3):
        assert people.try_login().status_code == 429
    assert people.audit() == before


def test_the_wait_doubles_and_is_never_longer_than_a_quarter_of_an_hour(people: People, seeds: Seeds) -> None:
    people.user()
    waits: list[int] = []
    for failures in (FREE_BY_NAME, FREE_BY_NAME + 3, FREE_BY_NAME + 60):
        seeds.connection.execute(
            "insert into login_failures (subject, failures) values ('name:anna', %s)"
            " on conflict (subject) do update set failures = excluded.failures, last_at = now()",
            (failures,),
        )
        waits.append(int(people.try_login().headers["retry-after"]))
    assert waits == [1, 8, 900]
    seeds.connection.execute("update login_failures set last_at = now() - interval '15 minutes'")
    people.login()


def test_attempts_at_the_same_moment_are_counted_before_they_are_made(people: People) -> None:
    people.user()

    async def all_at_once() -> list[falcon.testing.Result]:
        body = {"name": "anna", "password": WRONG}
        calls = [people.api.conductor.simulate_post("/api/v1/auth/login", json=body) for _ in range(FREE_BY_NAME + 3)]
        return list(await asyncio.gather(*calls))

    statuses = sorted(each.status_code for each in people.api.run(all_at_once()))
    assert statuses == [401] * FREE_BY_NAME + [429] * 3


def test_one_address_cannot_try_many_names(people: People) -> None:
    people.user()
    for number in range(FREE_BY_ADDRESS):
        assert people.try_login(f"name{number}", WRONG, address="203.0.113.5").status_code == 401
    assert people.try_login(address="203.0.113.5").status_code == 429
    people.login(address="203.0.113.6")


def test_whoever_guesses_from_elsewhere_does_not_lock_the_owner_out(people: People) -> None:
    people.user()
    token = people.login(address="192.0.2.7")
    for _ in range(FREE_BY_NAME):
        people.try_login(password=WRONG, address="203.0.113.5")
    assert people.try_login(password=WRONG, address="203.0.113.5").status_code == 429
    people.login(address="192.0.2.7")
    assert people.call(token, "GET", "/me").status_code == 200


def test_guesses_at_the_old_password_are_slowed_down_too(people: People) -> None:
    people.user()
    token = people.login()
    bodies = {"old": WRONG, "new": "an other horse altogether"}
    answers = [people.call(token, "POST", "/me/password", bodies).status_code for _ in range(FREE_BY_NAME + 1)]
    assert answers == [401] * FREE_BY_NAME + [429]


def test_when_too_many_wait_for_a_hash_the_next_is_refused_and_not_counted(
    people: People, seeds: Seeds, monkeypatch: pytest.MonkeyPatch
) -> None:
    people.user()
    hashing = people.api.services.hashing
    monkeypatch.setattr(hashing, "_places", asyncio.Semaphore(0))
    monkeypatch.setattr(hashing._places, "acquire", lambda blocking: False)
    refused = people.try_login()
    assert _code(refused) == (503, "no_capacity")
    assert refused.headers["retry-after"] == "1"
    assert seeds.connection.execute("select sum(failures) from login_failures").fetchone() == (0,)


def test_the_address_is_the_client_s_only_where_the_proxy_is_trusted(people: People, seeds: Seeds) -> None:
    people.user()
    people.try_login(password=WRONG, address="192.0.2.7", headers={"X-Forwarded-For": "198.51.100.1"})
    subjects = {row[0] for row in seeds.connection.execute("select subject from login_failures").fetchall()}
    assert subjects == {"from:192.0.2.7", "name:anna"}


# Pages of other sites


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
    ],
    ids=lambda headers: " ".join(headers.values()),
)
def test_a_page_of_another_site_can_neither_sign_somebody_in_nor_act_with_their_cookie(
    people: People, headers: dict[str, str]
) -> None:
    people.user()
    assert _code(people.try_login(headers=headers)) == (403, "foreign_page")
    token = people.login()
    for method, path in (("GET", "/me"), ("POST", "/auth/logout"), ("POST", "/keys"), ("GET", "/me/sessions")):
        body = {"name": "stolen"} if path == "/keys" else None
        assert _code(people.call(token, method, path, body, headers)) == (403, "foreign_page"), path
    assert people.call(token, "GET", "/me", headers={"Sec-Fetch-Site": "same-origin"}).status_code == 200


# The audit log


def test_logins_are_in_the_audit_log_without_passwords(people: People, seeds: Seeds) -> None:
    people.user()
    people.login()
    people.try_login(password=WRONG)
    people.try_login("My Secret Pa55word", WRONG)
    assert people.audit()[-3:] == [
        ("anna", "sign_in", "anna"),
        ("nobody", "sign_in_failed", "anna"),
        ("nobody", "sign_in_failed", ""),
    ]
    stored = str(seeds.connection.execute("select audit_log::text from audit_log").fetchall())
    assert not any(each in stored for each in (PASSWORD, WRONG, "Pa55word"))
