"""What comes back: its limits, its packing, and what is no HTTP at all."""

from __future__ import annotations

import gzip
import itertools
import random
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from picloud.services.outbound import AddressPolicy, OutboundLimits, OutboundRequest, OutboundResponse
from picloud.services.outbound.errors import (
    BadResponseError,
    ConnectionFailedError,
    OutboundError,
    OutboundTimeoutError,
    ResponseTooLargeError,
)
from tests.unit.services.outbound.internet import Internet

LIMITS = OutboundLimits(max_response_body_bytes=1_000, max_headers=10, max_header_bytes=1_000)


def answer(body: bytes, *headers: str, status: str = "200 OK", length: int | None = None) -> bytes:
    lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body) if length is None else length}", "", ""]
    return "\r\n".join(lines).encode() + body


def chunked(body: bytes, size: int) -> bytes:
    chunks = [body[at : at + size] for at in range(0, len(body), size)]
    framed = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n" + framed + b"0\r\n\r\n"


def receive(
    internet: Internet, raw: bytes, method: str = "GET", headers: tuple[tuple[str, str], ...] = ()
) -> OutboundResponse:
    internet.site("a.example", raw)
    return internet.client(LIMITS).send(OutboundRequest(method, "http://a.example/", headers), AddressPolicy())


def test_a_response_arrives_with_its_headers_in_order_and_lower_case(internet: Internet) -> None:
    response = receive(internet, answer(b"{}", "Set-Cookie: a=1", "X-Name: M\xfcller", "SET-COOKIE: b=2"))
    assert response.headers[0] == ("set-cookie", "a=1")
    assert response.headers[2:] == (("set-cookie", "b=2"), ("content-length", "2"))
    assert response.body == b"{}"


def test_an_error_status_is_a_response(internet: Internet) -> None:
    assert receive(internet, answer(b"no", status="500 Oh")).status == 500


def test_no_cookie_is_kept_from_one_call_to_the_next(internet: Internet) -> None:
    internet.site("a.example", answer(b"", "Set-Cookie: session=1; Path=/"))
    client = internet.client()
    for _ in range(2):
        client.send(OutboundRequest("GET", "http://a.example/"), AddressPolicy())
    assert "cookie" not in internet.received().lower()


@pytest.mark.parametrize(
    "raw", [answer(b"x" * 1_001), answer(b"", length=1_001), b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 2_000]
)
def test_a_body_past_the_limit_is_cut_off(internet: Internet, raw: bytes) -> None:
    with pytest.raises(ResponseTooLargeError) as caught:
        receive(internet, raw)
    assert caught.value.code == "response_too_large"


def test_a_body_at_the_limit_arrives(internet: Internet) -> None:
    assert len(receive(internet, answer(b"x" * 1_000)).body) == 1_000


@pytest.mark.parametrize(("method", "status"), [("HEAD", "200 OK"), ("GET", "304 Not Modified")])
def test_the_length_of_a_body_that_is_not_sent_is_no_matter(internet: Internet, method: str, status: str) -> None:
    raw = answer(b"", "Content-Encoding: gzip", length=10**9, status=status)
    assert receive(internet, raw, method).body == b""


@pytest.mark.parametrize("name", ["gzip", "GZIP", "x-gzip"])
def test_a_packed_body_is_unpacked_and_its_headers_say_so(internet: Internet, name: str) -> None:
    response = receive(internet, answer(gzip.compress(b"hello"), f"Content-Encoding: {name}", "ETag: x"))
    assert response.body == b"hello"
    assert response.headers == (("etag", "x"),)


def test_a_caller_who_names_encodings_unpacks_what_comes(internet: Internet) -> None:
    packed = gzip.compress(b"hello")
    response = receive(internet, answer(packed, "Content-Encoding: gzip"), headers=(("Accept-Encoding", "gzip, br"),))
    assert response.body == packed
    assert ("content-encoding", "gzip") in response.headers
    assert internet.received().count("accept-encoding") == 1


@pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, gzip"])
def test_a_packing_nobody_asked_for_is_handed_over_as_it_came(internet: Internet, encoding: str) -> None:
    response = receive(internet, answer(b"packed", f"Content-Encoding: {encoding}"))
    assert response.body == b"packed"
    assert ("content-encoding", encoding) in response.headers


def test_a_small_body_that_unpacks_to_a_large_one_is_cut_off(internet: Internet) -> None:
    bomb = gzip.compress(b"\0" * 900_000, 9)
    assert len(bomb) <= 1_000
    with pytest.raises(ResponseTooLargeError):
        receive(internet, answer(bomb, "Content-Encoding: gzip"))


@pytest.mark.parametrize(
    "packed",
    [
        b"not gzip",
        gzip.compress(b"hello" * 20)[:-1],
        gzip.compress(b"x") + b"rest",
        zlib.compress(b"hello"),
        b"\x1f\x8b",
    ],
)
def test_a_body_that_is_not_the_gzip_it_claims_to_be_is_refused(internet: Internet, packed: bytes) -> None:
    with pytest.raises(BadResponseError):
        receive(internet, answer(packed, "Content-Encoding: gzip"))


@given(
    seed=st.integers(0, 2**32),
    repeats=st.integers(0, 400),
    noise=st.integers(0, 400),
    chunk=st.integers(1, 5_000),
    members=st.integers(1, 3),
)
def test_unpacking_loses_nothing_however_it_is_cut(
    seed: int, repeats: int, noise: int, chunk: int, members: int
) -> None:
    body = random.Random(seed).randbytes(noise) + b"abc" * 301 * repeats
    raw = chunked(gzip.compress(body) * members, chunk)
    internet = Internet()
    try:
        internet.site("a.example", raw)
        response = internet.client().send(OutboundRequest("GET", "http://a.example/"), AddressPolicy())
    finally:
        internet.close()
    assert response.body == body * members


def test_pieces_so_small_that_reading_them_takes_the_time_end_the_call(internet: Internet) -> None:
    # given a body that is all there, and a clock that moves whenever it is read
    internet.site("a.example", chunked(gzip.compress(random.Random(1).randbytes(900)), 1))
    ticks = itertools.count()
    client = internet.client(clock=lambda: next(ticks) * 0.01)
    with pytest.raises(OutboundTimeoutError):
        client.send(OutboundRequest("GET", "http://a.example/", timeout_seconds=5), AddressPolicy())


@pytest.mark.parametrize("headers", [["A: b"] * 11, ["A: " + "b" * 1_000]])
def test_headers_have_limits(internet: Internet, headers: list[str]) -> None:
    with pytest.raises(ResponseTooLargeError):
        receive(internet, answer(b"", *headers))


@pytest.mark.parametrize(
    "raw",
    [
        b"SSH-2.0-OpenSSH_9.2p1\r\n",
        b"-ERR unknown command 'GET'\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 20_000,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_what_is_not_http_fails(internet: Internet, raw: bytes) -> None:
    with pytest.raises(OutboundError) as caught:
        receive(internet, raw)
    # What might still have become HTTP is given up when the connection ends.
    assert caught.value.code in {"bad_response", "connection_failed"}


@pytest.mark.parametrize(
    "raw", [b"", b"HTTP/1.1 200 OK\r\nContent-Le", answer(b"half", length=8), chunked(gzip.compress(b"hello"), 9)[:-7]]
)
def test_a_connection_that_ends_too_early_has_failed(internet: Internet, raw: bytes) -> None:
    with pytest.raises(ConnectionFailedError) as caught:
        receive(internet, raw)
    assert caught.value.retryable
