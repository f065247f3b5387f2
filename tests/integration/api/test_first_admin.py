"""The first admin: a link that works once, for a quarter of an hour, while there is none."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import urlsplit

import argon2
import falcon.testing
import pytest

from picloud.errors import ConflictError
from picloud.identity import passwords
from picloud.identity.setup import make_setup_link, needs_admin
from tests.integration.api.conftest import Api
from tests.integration.api.people import PASSWORD, People, token_of
from tests.seeding import Seeds

pytestmark = pytest.mark.integration

URL = "http://127.0.0.1:8000"


@pytest.fixture(autouse=True)
def cheap_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "HASHER", argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))


def _secret(seeds: Seeds) -> str:
    link = urlsplit(make_setup_link(seeds.connection, URL))
    assert (link.path, link.query) == ("/setup", ""), "browsers send the fragment to nobody"
    return link.fragment


def _redeem(api: Api, secret: str, name: str = "anna", password: str = PASSWORD) -> Any:
    body = {"secret": secret, "name": name, "password": password}
    return api.conductor.simulate_post("/api/v1/auth/setup", json=body)


def _codes(results: list[falcon.testing.Result]) -> list[tuple[int, str]]:
    return [(each.status_code, each.json.get("code", "")) for each in results]


def test_the_link_makes_the_owner_and_signs_them_in(api: Api, seeds: Seeds) -> None:
    assert needs_admin(seeds.connection), "a service cannot sign in, nor somebody without a password"
    secret = _secret(seeds)
    made = api.run(_redeem(api, secret, " Anna "))
    assert (made.status_code, made.json["name"], made.json["role"]) == (200, "anna", "owner")
    assert People(api).call(token_of(made), "GET", "/users").status_code == 200
    assert not needs_admin(seeds.connection)
    stored = str(seeds.connection.execute("select audit_log::text from audit_log").fetchall())
    assert "set_up" in stored
    assert secret not in stored
    assert PASSWORD not in stored


def test_it_works_once(api: Api, seeds: Seeds) -> None:
    secret = _secret(seeds)
    assert api.run(_redeem(api, secret)).status_code == 200
    assert _codes([api.run(_redeem(api, secret, "bert"))]) == [(401, "invalid_setup_link")]


def test_of_two_who_redeem_it_at_the_same_moment_one_becomes_the_owner(api: Api, seeds: Seeds) -> None:
    secret = _secret(seeds)

    async def both() -> list[falcon.testing.Result]:
        return list(await asyncio.gather(_redeem(api, secret, "anna"), _redeem(api, secret, "bert")))

    assert sorted(each.status_code for each in api.run(both())) == [200, 401]
    owners = seeds.connection.execute(
        "select count(*) from principals where role = 'owner' and name in ('anna', 'bert')"
    )
    assert owners.fetchone() == (1,)


def test_after_a_quarter_of_an_hour_it_is_worth_nothing(api: Api, seeds: Seeds) -> None:
    secret = _secret(seeds)
    left = seeds.connection.execute("select expires_at - now() <= interval '15 minutes' from setup_links").fetchone()
    assert left == (True,)
    seeds.connection.execute("update setup_links set expires_at = now()")
    assert _codes([api.run(_redeem(api, secret))]) == [(401, "invalid_setup_link")]


def test_a_new_link_ends_the_one_before_and_another_secret_opens_nothing(
    api: Api, seeds: Seeds, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = _secret(seeds), _secret(seeds)
    hashed: list[str] = []
    monkeypatch.setattr(passwords.Hashing, "hash", lambda _self, password: hashed.append(password))
    for secret in (first, "", "é", second[:-1]):
        assert _codes([api.run(_redeem(api, secret))]) == [(401, "invalid_setup_link")]
    assert not hashed, "nobody without the link makes the server work"


def test_there_is_no_link_once_there_is_an_admin(api: Api, seeds: Seeds) -> None:
    secret = _secret(seeds)
    People(api).user("olga", "owner")
    assert _codes([api.run(_redeem(api, secret))]) == [(409, "conflict")]
    with pytest.raises(ConflictError):
        make_setup_link(seeds.connection, URL)
    seeds.connection.execute("update principals set disabled_at = now() where name = 'olga'")
    assert needs_admin(seeds.connection)


def test_a_bad_password_or_name_leaves_the_link_as_it_is(api: Api, seeds: Seeds) -> None:
    secret = _secret(seeds)
    for name, password in (("anna", "password123"), ("An na", PASSWORD), ("local", PASSWORD)):
        assert api.run(_redeem(api, secret, name, password)).status_code == 400
    People(api).user("bert")
    assert api.run(_redeem(api, secret, "bert")).status_code == 409
    assert api.run(_redeem(api, secret, "anna")).status_code == 200
