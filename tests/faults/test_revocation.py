"""What is taken from a caller through one web process is refused by the next request to another."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from picloud.access import AppRole, InstanceRole
from picloud.access.route_auth import RouteAuth
from picloud.identity.keys import hash_of
from tests.faults.cluster import Cluster
from tests.seeding import Seeds
from tests.seeds import bump_revision

_BOUND_SECONDS = 1.0


@dataclass
class Web:
    """One web process, asked over a connection that stays open."""

    connection: http.client.HTTPConnection

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
        """The status, and the JSON of the answer."""
        sent = json.dumps(body).encode() if body is not None else b""
        self.connection.request(method, path, sent, {"Content-Type": "application/json", **headers})
        answer = self.connection.getresponse()
        content = answer.read()
        return answer.status, json.loads(content) if content else None


@dataclass
class Pair:
    """Two web processes over one database.

    Attributes:
        one: through which things are revoked, by an owner.
        other: which has remembered what it knows of each caller.
        hook: a route that asks for a key.
    """

    cluster: Cluster
    seeds: Seeds
    one: Web
    other: Web
    hook: str

    def change(self, method: str, path: str, body: object = None) -> None:
        """Through the first process, by an owner; returns with its answer."""
        owner = self.seeds.member("olga", role=InstanceRole.OWNER)
        status, told = self.one.ask(method, f"/api/v1{path}", body, Authorization=f"Bearer {owner}")
        assert status < 300, told

    def assert_ends(self, what: str, asks: dict[str, Callable[[], int]], change: Callable[[], None]) -> None:
        """``asks`` are let in by the other process, again and again, until ``change``, and not once afterwards."""
        for name, ask in asks.items():
            for _ in range(3):
                assert ask() < 300, name
        change()
        changed_at = time.monotonic()
        for name, ask in asks.items():
            assert ask() in {401, 403, 404}, f"{what}: {name} is still let in"
        took = time.monotonic() - changed_at
        print(f"BOUND {what}: the next requests, {len(asks)} of them, were refused within {took * 1000:.0f} ms")
        assert took < _BOUND_SECONDS

    def api(self, path: str, **credential: str) -> Callable[[], int]:
        """Asks the other process for something of the control API."""
        return lambda: self.other.ask("GET", f"/api/v1{path}", **credential)[0]

    def route(self, **credential: str) -> Callable[[], int]:
        """Calls the route at the other process."""
        return lambda: self.other.ask("POST", self.hook, {}, **credential)[0]


@contextmanager
def _pair(cluster: Cluster) -> Generator[Pair]:
    hook, route = cluster.route("async")
    cluster.execute("update routes set auth = %s where id = %s", RouteAuth(kind="api_key").to_json(), route.id)
    first, second = (urlsplit(cluster.web()[1]).netloc for _ in range(2))
    with (
        closing(http.client.HTTPConnection(first, timeout=20)) as one,
        closing(http.client.HTTPConnection(second, timeout=20)) as other,
        cluster.connection() as database,
    ):
        database.autocommit = True
        bump_revision(database, cluster.app)
        yield Pair(cluster, Seeds(database), Web(one), Web(other), hook)


def _bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def test_what_is_revoked_through_one_web_process_is_refused_by_the_next_request_to_another(cluster: Cluster) -> None:
    with _pair(cluster) as pair:
        app = f"/apps/{cluster.app.name}"
        member = {cluster.app.id: AppRole.EDITOR}

        def editor(name: str) -> tuple[dict[str, str], int]:
            """A credential of an editor, and the id of its key."""
            key = pair.seeds.member(name, member)
            return _bearer(key), cluster.value("select id from api_keys where key_hash = %s", hash_of(key))

        def both(credential: dict[str, str]) -> dict[str, Callable[[], int]]:
            return {"the control API": pair.api(app, **credential), "the route": pair.route(**credential)}

        # A key
        credential, key_id = editor("anna")
        pair.assert_ends("key revoked", both(credential), lambda: pair.change("DELETE", f"/keys/{key_id}"))

        # A role: a viewer reads scripts, but runs none
        credential, _ = editor("bert")
        asks = {"the route": pair.route(**credential), "reading secrets": pair.api(f"{app}/secrets", **credential)}
        pair.assert_ends(
            "role lowered", asks, lambda: pair.change("PUT", f"{app}/members/bert", {"role": "viewer"})
        )  # fmt: skip
        assert pair.api(f"{app}/scripts", **credential)() == 200

        # A membership
        credential, _ = editor("carl")
        pair.assert_ends("member removed", both(credential), lambda: pair.change("DELETE", f"{app}/members/carl"))

        # A principal
        credential, _ = editor("dora")
        pair.assert_ends(
            "principal disabled", both(credential), lambda: pair.change("PATCH", "/users/dora", {"disabled": True})
        )

        # A role in the installation
        credential = _bearer(pair.seeds.member("emil", role=InstanceRole.ADMIN))
        asks = both(credential) | {"users": pair.api("/users", **credential)}
        pair.assert_ends("admin no more", asks, lambda: pair.change("PATCH", "/users/emil", {"role": "member"}))


def test_a_session_that_ends_at_one_web_process_is_over_at_another(cluster: Cluster) -> None:
    with _pair(cluster) as pair:
        pair.seeds.member("anna", {cluster.app.id: AppRole.EDITOR})
        cluster.execute(
            "insert into sessions (principal_id, token_hash, expires_at)"
            " select id, %s, now() + interval '1 day' from principals where name = 'anna'",
            hash_of("token"),
        )
        cookie = {"Cookie": "picloud_session=token"}
        pair.assert_ends(
            "signed out",
            {"the control API": pair.api("/me", **cookie)},
            lambda: _assert_empty(pair.one.ask("POST", "/api/v1/auth/logout", **cookie)),
        )


def test_a_key_that_expires_is_refused_from_that_moment_on(cluster: Cluster) -> None:
    with _pair(cluster) as pair:
        key = pair.seeds.member("anna", {cluster.app.id: AppRole.EDITOR})
        cluster.execute(
            "update api_keys set expires_at = now() + interval '2 seconds' where key_hash = %s", hash_of(key)
        )
        asks = {"api": pair.api("/me", **_bearer(key)), "route": pair.route(**_bearer(key))}
        end = time.monotonic() + 2
        assert [ask() < 300 for ask in asks.values()] == [True, True]
        for name, ask in asks.items():
            cluster.wait_until(lambda ask=ask: ask() == 401, 4, f"{name} refuses")  # type: ignore[misc]
        print(f"BOUND key expired: refused {max(0.0, time.monotonic() - end):.2f} s after its end")
        assert time.monotonic() - end < _BOUND_SECONDS


def _assert_empty(answer: tuple[int, Any]) -> None:
    assert answer == (204, None)
