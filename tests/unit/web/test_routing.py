from __future__ import annotations

import itertools

import pytest

from picloud.access.route_auth import OPEN
from picloud.control.routing import RouteRow
from picloud_web.routing import RouteTable

_ids = itertools.count(1)


def route(method: str, path: str) -> RouteRow:
    return RouteRow(next(_ids), method, path, script_id=1, is_sync=True, auth=OPEN, principal_id=1, timeout_ms=1_000)


def table(*routes: str) -> RouteTable:
    """Routes written as in a manifest: ``GET /users/:id``."""
    return RouteTable(route(*each.split(" ")) for each in routes)


def found(routes: RouteTable, method: str, path: str) -> tuple[str, dict[str, str]] | None:
    match = routes.find(method, tuple(path[1:].split("/")))
    return None if match is None else (match.route.path, match.params)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/users/me", ("/users/me", {})),
        ("/users/42", ("/users/:id", {"id": "42"})),
        ("/users/42/posts", ("/users/:user/posts", {"user": "42"})),
        ("/users/42/likes/7", ("/users/*rest", {"rest": "42/likes/7"})),
        ("/users/", ("/users/*rest", {"rest": ""})),
        ("/users", None),
        ("/", None),
    ],
)
def test_the_most_specific_route_wins(path: str, expected: tuple[str, dict[str, str]] | None) -> None:
    routes = table("GET /users/*rest", "GET /users/:id", "GET /users/me", "GET /users/:user/posts")
    assert found(routes, "GET", path) == expected


def test_a_dead_end_below_a_literal_falls_back_to_the_parameter() -> None:
    routes = table("GET /a/b/c", "GET /a/:x/d")
    assert found(routes, "GET", "/a/b/d") == ("/a/:x/d", {"x": "b"})


def test_a_method_the_literal_path_lacks_is_answered_by_the_parameter() -> None:
    routes = table("GET /users/me", "POST /users/:id")
    assert found(routes, "POST", "/users/me") == ("/users/:id", {"id": "me"})


def test_head_falls_back_to_get_unless_a_route_answers_head() -> None:
    assert found(table("GET /a"), "HEAD", "/a") == ("/a", {})
    assert found(table("GET /a", "HEAD /:x"), "HEAD", "/a") == ("/:x", {"x": "a"})


def test_a_parameter_is_never_empty_and_a_trailing_slash_is_another_path() -> None:
    routes = table("GET /users/:id", "GET /about")
    assert found(routes, "GET", "/users/") is None
    assert found(routes, "GET", "/about/") is None


def test_an_encoded_slash_stays_inside_its_segment() -> None:
    match = table("GET /files/:name").find("GET", ("files", "a/b"))
    assert match is not None
    assert match.params == {"name": "a/b"}


def test_an_encoded_slash_never_reaches_a_literal_route_of_two_segments() -> None:
    assert table("GET /admin/users").find("GET", ("admin/users",)) is None


def test_the_methods_of_a_path_are_those_of_every_route_that_matches_it() -> None:
    routes = table("GET /users/me", "PUT /users/:id", "DELETE /*rest", "POST /other")
    assert routes.methods(("users", "me")) == ["DELETE", "GET", "HEAD", "OPTIONS", "PUT"]
    assert table("GET /a").methods(("b",)) == []


def test_the_root_is_a_path_and_a_rest_route_answers_it() -> None:
    assert found(table("GET /"), "GET", "/") == ("/", {})
    assert found(table("GET /*path"), "GET", "/") == ("/*path", {"path": ""})
