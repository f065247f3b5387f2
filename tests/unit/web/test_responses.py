from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import falcon.asgi
import pytest

from picloud.broker import Reply
from picloud.ids import new_id
from picloud_web.responses import SANDBOX, UnsendableResponseError, sandbox, sendable_headers, write_reply

ID: UUID = new_id()


def answered(reply: Reply, *, is_own_host: bool = False) -> falcon.asgi.Response:
    response = falcon.asgi.Response()
    # Through its encoding, as it comes from a worker.
    write_reply(response, Reply.decode(reply.encode()), is_own_host=is_own_host)
    return response


def problem(response: falcon.asgi.Response) -> dict[str, Any]:
    assert response.content_type == "application/problem+json"
    assert response.data is not None
    document: dict[str, Any] = json.loads(response.data)
    assert document["status"] == response.status_code
    return document


@pytest.mark.parametrize(
    ("kind", "data", "status", "content_type"),
    [
        ("unit", None, 204, None),
        ("text", "grüß".encode(), 200, "text/plain; charset=utf-8"),
        ("text", b"", 200, "text/plain; charset=utf-8"),
        ("json", b'{"a":1}', 200, "application/json"),
        ("blob", b"\x00\xff", 200, "application/octet-stream"),
    ],
)
def test_a_value_becomes_a_response(kind: str, data: bytes | None, status: int, content_type: str | None) -> None:
    response = answered(Reply(ID, "completed", kind, data=data))
    assert response.status_code == status
    assert response.content_type == content_type
    assert response.data == data
    assert response.get_header("x-execution-id") == str(ID)


def test_a_response_is_sent_as_given() -> None:
    headers = (("Content-Type", "text/html"), ("X-A", "1"), ("X-A", "2"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"))
    response = answered(Reply(ID, "completed", "response", 201, headers, b"<p>"))
    assert (response.status_code, response.content_type, response.data) == (201, "text/html", b"<p>")
    assert response.get_header("x-a") == "1, 2"
    assert response._asgi_headers().count((b"set-cookie", b"a=1")) == 1
    assert response._asgi_headers().count((b"set-cookie", b"b=2")) == 1


@pytest.mark.parametrize("status", [204, 304])
def test_a_response_that_has_no_body_gets_none(status: int) -> None:
    assert answered(Reply(ID, "completed", "response", status, (), b"ignored")).data is None


@pytest.mark.parametrize("status", [0, 100, 101, 199, 600, 9999])
def test_a_status_that_ends_no_request_is_an_invalid_response(status: int) -> None:
    response = answered(Reply(ID, "completed", "response", status or 1, (("X-Leak", "1"),), b"x"))
    assert problem(response)["code"] == "invalid_response"
    assert response.status_code == 502
    assert response.get_header("x-leak") is None


@pytest.mark.parametrize(
    "header",
    [
        ("X-A", "a\r\nSet-Cookie: x=1"),
        ("X-A", "a\nb"),
        ("X-A", "a\x00b"),
        ("X-A", "a\x7fb"),
        ("X-A", "snow ☃"),
        ("X A", "1"),
        ("X-A:", "1"),
        ("", "1"),
        ("X-Ä", "1"),
        ("X-A\r\nX-B", "1"),
    ],
)
def test_a_header_that_would_break_out_is_an_invalid_response(header: tuple[str, str]) -> None:
    with pytest.raises(UnsendableResponseError):
        sendable_headers((header,), is_own_host=False)
    response = answered(Reply(ID, "completed", "response", 200, (header,), b"x"))
    assert problem(response)["code"] == "invalid_response"
    assert problem(response)["execution_id"] == str(ID)


@pytest.mark.parametrize("is_own_host", [True, False])
@pytest.mark.parametrize(
    "name",
    [
        "Service-Worker-Allowed",
        "Clear-Site-Data",
        "Strict-Transport-Security",
        "Connection",
        "Keep-Alive",
        "Proxy-Authenticate",
        "TE",
        "Trailer",
        "Transfer-Encoding",
        "Upgrade",
        "Content-Length",
        "X-Execution-Id",
    ],
)
def test_headers_a_script_may_not_set_are_left_out_on_every_host(name: str, *, is_own_host: bool) -> None:
    assert sendable_headers(((name, "1"), ("X-Kept", "ä\t")), is_own_host=is_own_host) == [("x-kept", "ä\t")]


def test_cookies_are_for_an_apps_own_host_only_and_never_our_session() -> None:
    cookies = (("Set-Cookie", "a=1"), ("set-cookie", "picloud_session=x; Domain=example.org"))
    assert sendable_headers(cookies, is_own_host=True) == []
    assert sendable_headers(cookies, is_own_host=False) == [("set-cookie", "a=1")]
    assert sendable_headers((("Set-Cookie", " __Host-picloud_session =x"),), is_own_host=False) == []


def test_a_script_cannot_take_the_sandbox_away() -> None:
    response = falcon.asgi.Response()
    sandbox(response)
    headers = (("Content-Security-Policy", "sandbox allow-same-origin allow-scripts"),)
    write_reply(response, Reply(ID, "completed", "response", 200, headers, b""), is_own_host=True)
    policies = response.get_header("content-security-policy")
    assert policies is not None
    assert policies.split(", ") == [SANDBOX, "sandbox allow-same-origin allow-scripts"]


def test_the_sandbox_lets_pages_run_but_not_share_our_origin() -> None:
    assert SANDBOX == "sandbox allow-scripts allow-forms allow-popups allow-downloads"


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("script_does_not_compile", 422),
        ("request_not_usable", 422),
        ("script_failed", 502),
        ("effects_rejected", 502),
        ("worker_crash", 502),
        ("worker_lost", 502),
        ("script_timeout", 504),
        ("sandbox_limit_exceeded", 507),
        ("a_code_of_a_newer_worker", 502),
    ],
)
def test_a_failed_run_becomes_a_problem(code: str, status: int) -> None:
    response = answered(Reply(ID, "failed", error={"code": code, "message": "boom"}))
    document = problem(response)
    assert (response.status_code, document["code"], document["detail"]) == (status, code, "boom")
    assert document["execution_id"] == response.get_header("x-execution-id") == str(ID)


def test_a_fault_of_our_own_says_nothing_of_the_inside() -> None:
    response = answered(Reply(ID, "failed", error={"code": "internal_error", "message": "secret /path"}))
    assert response.status_code == 500
    assert "secret" not in str(problem(response))
