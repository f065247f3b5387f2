"""Every endpoint, asked by every kind of caller, lets in whom a table written by hand expects, and nobody else.

A call that is let in shall change nothing, so it carries a query parameter that no endpoint knows: whoever may is told
400, whoever may not 401, 403 or 404, and that shows too that authorization comes before anything is looked at. Where
there is an id and no app in the path the decision needs the object: there one is made for every call, and the
call is a real one.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import falcon.inspect
import falcon.testing
import pytest

from picloud.access import ALL_SCOPES, GRANTS, AppRole, Capability, Grant, InstanceRole, Scope
from picloud.broker import Reply
from picloud.identity.keys import hash_of
from picloud.settings import Settings
from picloud_web.api import PREFIX, all_endpoints
from picloud_web.api.endpoints import Endpoint
from picloud_web.api.serving import _template  # pyright: ignore[reportPrivateUsage]
from picloud_web.app import create_app
from picloud_web.composition import build
from tests.integration.api.conftest import Api
from tests.integration.api.expected_access import EXPECTED, Expected
from tests.seeding import Seeds

pytestmark = pytest.mark.integration

#: What an answer says about the caller.
IN, WHO_ARE_YOU, YOU_MAY_NOT, NO_SUCH_THING = "let in", "401", "403", "404"

_EVENT = {"event": {"method": "POST", "path": "/orders"}}


@dataclass(frozen=True)
class Kind:
    """A kind of caller.

    Attributes:
        role: in the app that is asked about, or in the installation; ``anybody``: it is not known at all.
        is_elsewhere: its key is for another app.
        is_inside: its key is for the app that is asked about.
        is_foreign: its session's cookie is sent by another site's page.
    """

    name: str
    role: str
    headers: dict[str, str] = field(default_factory=dict[str, str])
    scopes: frozenset[Scope] = ALL_SCOPES
    is_elsewhere: bool = False
    is_inside: bool = False
    is_foreign: bool = False


def _kinds(seeds: Seeds, shop: int, other: int) -> Iterator[Kind]:
    """Everybody who could call, some by key and some by session."""

    def bearer(key: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {key}"}

    seeds.connection.execute(
        "insert into sessions (principal_id, token_hash, expires_at) values (%s, %s, now() + interval '1 day')",
        (seeds.admin_id, hash_of("token")),
    )
    cookie = {"Cookie": "picloud_session=token"}
    owner = InstanceRole.OWNER
    yield Kind("nobody", "anybody")
    yield Kind("a key nobody made", "anybody", bearer("pic_nonsense"))
    yield Kind("a session nobody has", "anybody", {"Cookie": "picloud_session=nonsense"})
    yield Kind("an owner's session", "admin", cookie)
    yield Kind("the same, sent by a foreign page", "admin", cookie | {"Sec-Fetch-Site": "cross-site"}, is_foreign=True)
    yield Kind("the same, from a sandbox", "admin", cookie | {"Origin": "null"}, is_foreign=True)
    yield Kind("owner", "admin", bearer(seeds.member("olga", role=owner)))
    yield Kind("admin", "admin", bearer(seeds.member("adam", role=InstanceRole.ADMIN)))
    yield Kind("stranger", "member", bearer(seeds.member("sam", {other: AppRole.ADMIN})))
    for role in AppRole:
        name = "app-admin" if role is AppRole.ADMIN else str(role)
        yield Kind(name, name, bearer(seeds.member(f"an-{role}", {shop: role})))
    for scope in Scope:
        key = bearer(seeds.member("olga", role=owner, scopes=frozenset({scope})))
        yield Kind(f"an owner's key with {scope}", "admin", key, frozenset({scope}))
    bound = bearer(seeds.member("olga", role=owner, app_id=other))
    yield Kind("an owner's key for another app", "admin", bound, is_elsewhere=True)
    bound = bearer(seeds.member("olga", role=owner, app_id=shop))
    yield Kind("an owner's key for the app", "app-admin", bound, is_inside=True)


def _expected(endpoint: Endpoint, wanted: Expected, kind: Kind) -> str:
    """What this caller is to be told, by the rules of ``docs/access.md`` and not by the code that keeps them."""
    is_open = wanted.role == "anybody"
    if kind.is_foreign:
        return IN if is_open and endpoint.method == "GET" else YOU_MAY_NOT
    if is_open:
        return IN
    if kind.role == "anybody":
        return WHO_ARE_YOU
    is_of_app = wanted.role in {"viewer", "editor", "app-admin"}
    names_app = endpoint.path.startswith("/apps/{app}")
    if is_of_app and names_app and (kind.role == "member" or kind.is_elsewhere):
        return NO_SUCH_THING
    if kind.scopes.isdisjoint(wanted.scopes):
        return YOU_MAY_NOT
    is_of_instance = wanted.scopes == frozenset({Scope.INSTANCE_ADMIN})
    if is_of_instance and (kind.is_elsewhere or kind.is_inside or not wanted.lets_in(kind.role)):
        return YOU_MAY_NOT
    if is_of_app and (kind.is_elsewhere or not wanted.lets_in(kind.role)):
        return YOU_MAY_NOT if names_app else NO_SUCH_THING
    return IN


class Walk:
    """Asks, and says what an answer means."""

    def __init__(self, api: Api, seeds: Seeds) -> None:
        self._api = api
        self._seeds = seeds
        self.shop = seeds.app("shop")
        self.other = seeds.app("other")
        self._script_id = seeds.script(self.shop)
        self._kinds = list(_kinds(seeds, self.shop, self.other))
        self.asked = 0
        # A dry run is let in and then finds no worker.
        busy = {"code": "no_capacity", "message": "all slots are taken"}
        api.dispatcher.answer = lambda arrival: Reply(arrival.id, "failed", error=busy)

    def surprises(self, endpoints: Iterable[Endpoint]) -> str:
        """What was answered otherwise than expected, a line each; empty: nothing."""
        found: list[str] = []
        for endpoint, kind in itertools.product(endpoints, self._kinds):
            self.asked += 1
            expected = _expected(endpoint, EXPECTED[endpoint.operation_id], kind)
            told, answer = self.ask(endpoint, kind)
            if told != expected:
                found.append(f"{endpoint.operation_id}: {kind.name}: {told}, not {expected}: {answer.text}")
        return "\n".join(found)

    def ask(self, endpoint: Endpoint, kind: Kind) -> tuple[str, falcon.testing.Result]:
        needs_object = "{id:uuid}" in endpoint.path and not endpoint.path.startswith("/apps/{app}")
        is_real = needs_object and not endpoint.path.startswith("/system")
        path = self._path(endpoint, self._object(endpoint) if is_real else None)
        body: dict[str, Any] | None = {} if endpoint.body is not None else None
        headers = dict(kind.headers)
        if is_real:
            body = _EVENT if endpoint.operation == "edit_dead_letter" else body
            headers |= {"Last-Event-ID": "1.1.1.completed"} if endpoint.is_stream else {}
        answer: falcon.testing.Result = self._api.run(
            self._api.conductor.simulate_request(
                endpoint.method, path, query_string="" if is_real else "unheard=of", json=body, headers=headers
            )
        )
        return _meaning(answer, is_real=is_real), answer

    def _object(self, endpoint: Endpoint) -> str:
        """The id of something of the app ``shop``, for one call."""
        if endpoint.path.startswith("/outbox"):
            return str(self._seeds.waiting(self.shop, self._script_id, due_in_seconds=600))
        if endpoint.path.startswith("/dead-letters"):
            return str(self._seeds.dead(self.shop, self._script_id))
        return str(self._seeds.ended(self.shop, self._script_id))

    def _path(self, endpoint: Endpoint, object_id: str | None) -> str:
        values = {"app": "shop", "id": object_id or "019a1b2c-3d4e-7f50-8a6b-7c8d9e0f1a2b"}

        def value(match: re.Match[str]) -> str:
            return "1" if match[2] == ":int" else values.get(match[1], "some")

        return PREFIX + re.sub(r"\{(\w+)(:\w+)?\}", value, endpoint.path)


def _meaning(answer: falcon.testing.Result, *, is_real: bool) -> str:
    status = answer.status_code
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    if status in (401, 403, 404):
        assert answer.headers["content-type"].startswith("application/problem+json")
        assert (status == 401) == ("www-authenticate" in answer.headers)
        return str(status)
    if is_real:
        assert status < 300 or status == 503, answer.text
    else:
        assert status == 400, answer.text
        assert "unheard" in answer.json["detail"]
    return IN


def test_every_endpoint_is_in_the_table_and_nothing_else() -> None:
    served = {endpoint.operation_id for endpoint in all_endpoints()}
    missing = sorted(served - set(EXPECTED))
    assert not missing, f"say in expected_access.py who may call {', '.join(missing)}"
    assert not set(EXPECTED) - served, "these are no longer there; take them out of expected_access.py"


def test_every_endpoint_lets_in_whom_it_shall_and_nobody_else(api: Api, seeds: Seeds) -> None:
    walk = Walk(api, seeds)
    surprises = walk.surprises(all_endpoints())
    assert not surprises, surprises
    assert walk.asked > 2_000
    changed = {action for (action,) in seeds.connection.execute("select action from audit_log")}
    assert changed == {
        "cancel_row",
        "delete_row",
        "edit_dead_letter",
        "replay_dead_letter",
        "ignore_dead_letter",
    }, "a call of the walk changed what it should not"


def test_a_grant_that_is_wider_and_an_endpoint_that_asks_for_too_little_are_noticed(
    api: Api, seeds: Seeds, monkeypatch: pytest.MonkeyPatch
) -> None:
    walk = Walk(api, seeds)
    emit = [endpoint for endpoint in all_endpoints() if endpoint.operation == "emit_event"]
    assert not walk.surprises(emit)
    for role, scope in ((AppRole.VIEWER, Scope.APP_ADMIN), (AppRole.EDITOR, Scope.DATA_WRITE)):
        wider = Grant(role, frozenset({scope, Scope.APP_ADMIN}))
        monkeypatch.setitem(cast("dict[Capability, Grant]", GRANTS), Capability.APP_MANAGE_TRIGGERS, wider)
        assert len(walk.surprises(emit).splitlines()) == 1


def test_nothing_is_served_under_the_api_that_is_no_endpoint() -> None:
    app: Any = create_app(build(Settings(database_url="postgresql://nowhere", redis_url="redis://nowhere")))
    served = {each.path for each in falcon.inspect.inspect_routes(app)}
    templates = {PREFIX + _template(endpoint.path) for endpoint in all_endpoints()}
    assert {path for path in served if path.startswith(PREFIX)} == templates
    pages = {"/", "/login", "/setup", "/healthz", "/readyz", "/metrics"}
    assert served - templates == pages, "whoever adds a page says here that everybody may see it"
