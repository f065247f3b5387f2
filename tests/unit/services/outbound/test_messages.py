"""What is sent: checked before a name is even looked up."""

from __future__ import annotations

import pytest

from picloud.services.outbound import AddressPolicy, OutboundLimits, OutboundRequest
from picloud.services.outbound.errors import BadCallError, BadHeaderError, RequestTooLargeError
from tests.unit.services.outbound.internet import OK, Internet

URL = "http://api.example/"


def send(internet: Internet, request: OutboundRequest, limits: OutboundLimits | None = None) -> str:
    """The request as it arrived."""
    internet.site("api.example", OK)
    internet.client(limits).send(request, AddressPolicy())
    return internet.received()


def test_a_request_arrives_as_it_was_given(internet: Internet) -> None:
    headers = (("X-Twice", "1"), ("X-Twice", "2"), ("Content-Type", " text/plain "), ("X-Empty", ""))
    sent = send(internet, OutboundRequest("post", URL + "a?b=c#d", headers, b"body", hops="v1.x"))
    head, _, body = sent.partition("\r\n\r\n")
    lines = head.split("\r\n")
    assert lines[0] == "POST /a?b=c HTTP/1.1"
    assert lines[1] == "host: api.example"
    assert lines[2:6] == ["x-twice: 1", "x-twice: 2", "content-type: text/plain", "x-empty: "]
    assert {"x-picloud-hops: v1.x", "accept-encoding: gzip", "connection: close", "content-length: 4"} <= set(lines)
    assert body == "body"


def test_what_the_caller_says_of_itself_is_left_alone(internet: Internet) -> None:
    sent = send(internet, OutboundRequest("GET", URL, (("User-Agent", "mine"), ("Accept", "text/csv"))))
    assert sent.count("user-agent") == 1
    assert "user-agent: mine" in sent
    assert "accept: text/csv" in sent


@pytest.mark.parametrize(
    ("method", "body", "length"),
    [("GET", None, None), ("DELETE", None, None), ("POST", None, "0"), ("GET", b"", "0"), ("PROPFIND", b"abc", "3")],
)
def test_the_length_of_a_body_is_told_when_one_may_be_expected(
    internet: Internet, method: str, body: bytes | None, length: str | None
) -> None:
    sent = send(internet, OutboundRequest(method, URL, body=body))
    assert ("content-length" in sent) == (length is not None)
    assert length is None or f"content-length: {length}\r\n" in sent


@pytest.mark.parametrize(
    "name",
    [
        "Host",
        "host",
        "Content-Length",
        "Transfer-Encoding",
        "Connection",
        "Keep-Alive",
        "Proxy-Connection",
        "Proxy-Authorization",
        "TE",
        "Trailer",
        "Upgrade",
        "Expect",
        "X-PiCloud-Hops",
        "x-picloud-hops",
        "",
        "a b",
        "a:",
        "a\r\nb",
        "ä",
        "\u212aeep-alive",
        "Host\x00",
    ],
)
def test_headers_that_frame_a_message_or_are_no_headers_are_refused(internet: Internet, name: str) -> None:
    with pytest.raises(BadHeaderError):
        send(internet, OutboundRequest("GET", URL, ((name, "x"),)))
    assert internet.looked_up == []


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "a\rb", "a\x00b", "a\x7f", "\x0ba", "ä", "a\u2028b", "🥧"])
@pytest.mark.parametrize("where", ["header", "hops"])
def test_a_value_cannot_break_out_of_its_line(internet: Internet, value: str, where: str) -> None:
    request = OutboundRequest(
        "GET", URL, (("X-Key", value),) if where == "header" else (), hops=value if where == "hops" else None
    )
    with pytest.raises(BadHeaderError) as caught:
        send(internet, request)
    assert value not in caught.value.message
    assert internet.looked_up == []


@pytest.mark.parametrize("method", ["", "GET /evil HTTP/1.1\r\n", "G T", "CONNECT", "connect", "TRACE", "ß", "GET\n"])
def test_methods_that_are_none_or_not_for_scripts_are_refused(internet: Internet, method: str) -> None:
    with pytest.raises(BadCallError):
        send(internet, OutboundRequest(method, URL))


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf")])
def test_a_timeout_is_a_number_above_nothing(internet: Internet, seconds: float) -> None:
    with pytest.raises(BadCallError):
        send(internet, OutboundRequest("GET", URL, timeout_seconds=seconds))


def test_a_request_has_limits(internet: Internet) -> None:
    limits = OutboundLimits(max_request_body_bytes=10, max_headers=2, max_header_bytes=100)
    send(internet, OutboundRequest("POST", URL, (("A", "b"), ("C", "d")), b"x" * 10), limits)
    with pytest.raises(RequestTooLargeError):
        send(internet, OutboundRequest("POST", URL, body=b"x" * 11), limits)
    with pytest.raises(BadHeaderError):
        send(internet, OutboundRequest("GET", URL, (("A", "b"),) * 3), limits)
    with pytest.raises(BadHeaderError):
        send(internet, OutboundRequest("GET", URL, (("A", "b" * 100),)), limits)


def test_a_request_shows_no_secrets() -> None:
    shown = repr(OutboundRequest("POST", URL, (("Authorization", "hunter2"),), b"hunter2", hops="hunter2"))
    assert "hunter2" not in shown
