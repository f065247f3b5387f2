from __future__ import annotations

import httpx2
import pytest

from picloud import errors
from picloud.cli.client import Client, api_path
from picloud.profiles import Profile
from tests.unit.cli.conftest import TOKEN, URL, FakeServer


@pytest.fixture
def client(server: FakeServer) -> Client:
    return Client(Profile(f"{URL}/", TOKEN), transport=httpx2.MockTransport(server))


def test_the_key_and_the_address_come_from_the_profile(client: Client, server: FakeServer) -> None:
    server.on("GET", "/me", {"name": "admin"})
    assert client.get("/me") == {"name": "admin"}
    (request,) = server.requests
    assert str(request.url) == f"{URL}/api/v1/me"
    assert request.headers["authorization"] == f"Bearer {TOKEN}"
    assert request.headers["user-agent"].startswith("picloud-cli/")


def test_a_name_with_a_slash_is_one_part_of_the_path(client: Client, server: FakeServer) -> None:
    server.on("GET", "/apps/shop/scripts/lib%2Fa%20b%3F", {})
    client.get(api_path("apps", "shop", "scripts", "lib/a b?"))
    assert server.requests[0].url.raw_path == b"/api/v1/apps/shop/scripts/lib%2Fa%20b%3F"


def test_filters_that_are_not_given_are_not_sent(client: Client, server: FakeServer) -> None:
    server.on("GET", "/executions", {"items": [], "next": None})
    client.get("/executions", app="shop", script=None)
    assert dict(server.requests[0].url.params) == {"app": "shop"}


def test_an_empty_answer_is_none(client: Client, server: FakeServer) -> None:
    server.on("DELETE", "/apps/shop/routes/1", httpx2.Response(204))
    assert client.delete("/apps/shop/routes/1") is None


def test_items_follow_the_cursor_to_the_end(client: Client, server: FakeServer) -> None:
    server.on("GET", "/apps", {"items": [{"n": 1}, {"n": 2}], "next": "2"}, {"items": [{"n": 3}], "next": None})
    assert [item["n"] for item in client.items("/apps")] == [1, 2, 3]
    assert [request.url.params.get("after") for request in server.requests] == [None, "2"]


def test_items_stop_at_the_limit_without_another_page(client: Client, server: FakeServer) -> None:
    server.on("GET", "/apps", {"items": [{"n": 1}, {"n": 2}], "next": "2"}, {"items": [{"n": 3}], "next": "3"})
    assert [item["n"] for item in client.items("/apps", limit=3)] == [1, 2, 3]
    assert [request.url.params["limit"] for request in server.requests] == ["3", "1"]


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "invalid_input", errors.InvalidInputError),
        (401, "invalid_key", errors.AuthenticationError),
        (403, "permission_denied", errors.PermissionDeniedError),
        (404, "not_found", errors.NotFoundError),
        (409, "already_resolved", errors.ConflictError),
        (412, "precondition_failed", errors.ConflictError),
        (413, "body_too_large", errors.InvalidInputError),
        (422, "script_does_not_compile", errors.InvalidInputError),
        (500, "internal_error", errors.PiCloudError),
        (503, "storage_unavailable", errors.UnavailableError),
        (503, "app_paused", errors.CapacityError),
        (504, "no_answer", errors.PiCloudError),
    ],
)
def test_a_problem_document_is_the_error_it_was(
    client: Client, server: FakeServer, status: int, code: str, kind: type[errors.PiCloudError]
) -> None:
    server.problem("GET", "/me", status, code, "what went wrong")
    with pytest.raises(errors.PiCloudError) as caught:
        client.get("/me")
    assert type(caught.value) is kind
    assert (caught.value.code, caught.value.message) == (code, "what went wrong")


def test_a_server_that_is_not_there_is_told_with_a_hint(client: Client, server: FakeServer) -> None:
    server.on("GET", "/me", httpx2.ConnectError("[Errno 111] Connection refused"))
    with pytest.raises(errors.UnavailableError) as caught:
        client.get("/me")
    assert caught.value.message == f"{URL} does not answer: Connection refused"
    assert caught.value.hint == "is `picloud up` running there?"


def test_a_server_that_gives_no_answer_counts_as_timed_out(client: Client, server: FakeServer) -> None:
    server.on("GET", "/me", httpx2.ReadTimeout("slow"))
    with pytest.raises(errors.UnavailableError) as caught:
        client.get("/me")
    assert caught.value.code == "no_answer"


def test_a_connection_that_breaks_is_no_traceback(client: Client, server: FakeServer) -> None:
    server.on("GET", "/me", httpx2.RemoteProtocolError("Server disconnected"))
    with pytest.raises(errors.UnavailableError, match="the connection broke: Server disconnected"):
        client.get("/me")


@pytest.mark.parametrize(
    "answer",
    [
        httpx2.Response(200, text="<html>"),
        httpx2.Response(502, text="Bad Gateway"),
        httpx2.Response(404, json={"error": "x"}),
    ],
)
def test_somebody_else_s_server_is_recognised(client: Client, server: FakeServer, answer: httpx2.Response) -> None:
    server.on("GET", "/me", answer)
    with pytest.raises(errors.UnavailableError, match=f"answered {answer.status_code}, but not as PiCloud does"):
        client.get("/me")


@pytest.mark.parametrize("url", ["server.test", "ftp://server.test", "http://[::1", "http://server.test:port"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(errors.InvalidInputError):
        Client(Profile(url, TOKEN))


def test_a_key_that_no_header_can_carry_is_refused() -> None:
    with pytest.raises(errors.InvalidInputError):
        Client(Profile(URL, "pic_é"))
