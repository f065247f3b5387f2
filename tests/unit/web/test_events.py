from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from picloud.errors import InvalidInputError
from picloud_web.events import RequestHead, event_document, fingerprint

KEY = "pic_pat_4fG7kQ2mX9bT1zR8vN5cJ0yL3wH6dS"


def head(
    headers: dict[str, str] | None = None, *, query: str = "", path: str = "/orders", trusted: bool = False
) -> RequestHead:
    return RequestHead("POST", path, query, headers or {}, trusted)


def event(request: RequestHead, params: dict[str, str] | None = None) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(event_document(request, params or {}))
    return document


def test_the_event_is_the_request_without_its_body() -> None:
    request = head({"content-type": "text/csv", "x-a": "1"}, query="a=1&b=2&a=3&empty=")
    assert event(request, {"id": "7"}) == {
        "method": "POST",
        "path": "/orders",
        "params": {"id": "7"},
        "query": {"a": ["1", "3"], "b": "2", "empty": ""},
        "headers": {"content-type": "text/csv", "x-a": "1"},
        "content_type": "text/csv",
    }


@pytest.mark.parametrize(
    ("cookie", "kept"),
    [
        ("picloud_session=s3cret; theme=dark", "theme=dark"),
        ("a=1; picloud_session=s3cret; b=2", "a=1; b=2"),
        ("a=1;__Host-picloud_session=s3cret", "a=1"),
        ("not_picloud_session=mine", "not_picloud_session=mine"),
    ],
)
def test_the_session_cookie_is_taken_out_and_the_others_are_kept(cookie: str, kept: str) -> None:
    assert event(head({"cookie": cookie}))["headers"]["cookie"] == kept


def test_a_cookie_header_with_nothing_but_the_session_is_left_out() -> None:
    assert "cookie" not in event(head({"cookie": "picloud_session=s3cret"}))["headers"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("authorization", f"Bearer {KEY}"),
        ("authorization", f"Basic {base64.b64encode(f'{KEY}:'.encode()).decode()}"),
        ("proxy-authorization", f"basic {base64.b64encode(f'user:{KEY}'.encode()).decode()}"),
        ("x-api-key", KEY),
        ("referer", f"https://a.example/?key={KEY}"),
        ("cookie", f"token={KEY}"),
    ],
)
def test_a_header_that_carries_a_credential_is_not_stored(name: str, value: str) -> None:
    assert KEY not in event_document(head({name: value}), {}).decode()
    assert name not in event(head({name: value}))["headers"]


def test_an_authorization_of_the_apps_own_is_stored() -> None:
    headers = {"authorization": "Bearer of-the-app", "x-basic": "Basic !!"}
    assert event(head(headers))["headers"] == headers


def test_credentials_in_the_query_path_and_params_are_not_stored() -> None:
    request = head(query=f"key={KEY}&a=1&{KEY}=x", path=f"/by/{KEY}")
    document = event(request, {"key": KEY})
    assert KEY not in json.dumps(document)
    assert document["query"] == {"a": "1"}
    assert document["path"] == "/by/pic_removed"


def test_forwarded_headers_are_facts_only_from_a_trusted_proxy() -> None:
    headers = {"x-forwarded-for": "1.2.3.4", "x-forwarded-proto": "https", "forwarded": "for=1.2.3.4"}
    assert event(head(headers))["headers"] == {}
    assert event(head(headers, trusted=True))["headers"] == headers


def test_bytes_that_are_no_utf_8_survive_as_text() -> None:
    request = RequestHead("GET", "/", "a=%FF", {"x-name": "café"}, False)
    assert event(request)["headers"]["x-name"] == "café"
    assert event(request)["query"] == {"a": "\ufffd"}


def test_too_many_query_fields_are_refused() -> None:
    with pytest.raises(InvalidInputError) as refused:
        event_document(head(query="&".join(["a=1"] * 1_001)), {})
    assert refused.value.code == "request_not_usable"


def test_a_fingerprint_tells_every_part_of_a_request_apart() -> None:
    prints = {
        fingerprint(head(), b"body"),
        fingerprint(head(), None),
        fingerprint(head(query="a=1"), b"body"),
        fingerprint(head(path="/other"), b"body"),
        fingerprint(RequestHead("PUT", "/orders", "", {}, False), b"body"),
        fingerprint(head(path="/ordersa", query="=1"), b"body"),
    }
    assert len(prints) == 6
    assert fingerprint(head({"x": "1"}), b"body") == fingerprint(head({"x": "2"}), b"body")
