"""URLs: read once, strictly, and the same for whoever reads them next."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from picloud.services.outbound.errors import BadUrlError
from picloud.services.outbound.urls import join_url, parse_url


@pytest.mark.parametrize(
    ("text", "authority", "port", "path"),
    [
        ("http://example.com", "example.com", 80, "/"),
        ("HTTP://EXAMPLE.com:80/a?b#c", "example.com", 80, "/a?b"),
        ("https://example.com:8443/x", "example.com:8443", 8443, "/x"),
        ("https://example.com:443/", "example.com", 443, "/"),
        ("http://example.com:443/", "example.com:443", 443, "/"),
        ("http://example.com./", "example.com", 80, "/"),
        ("http://müller.de/ü?ü", "xn--mller-kva.de", 80, "/%C3%BC?%C3%BC"),
        ("http://nas_1/", "nas_1", 80, "/"),
        ("http://1.1.1.1:8080/", "1.1.1.1:8080", 8080, "/"),
        ("http://[2606:2800:0:0::1]:8080/", "[2606:2800::1]:8080", 8080, "/"),
        ("http://[::ffff:8.8.8.8]/", "8.8.8.8", 80, "/"),
        ("http://example.com/a@b:c", "example.com", 80, "/a@b:c"),
        ("http://example.com?x=1", "example.com", 80, "/?x=1"),
        ('http://example.com/a b"c', "example.com", 80, "/a%20b%22c"),
    ],
)
def test_a_url_leads_where_it_says(text: str, authority: str, port: int, path: str) -> None:
    target = parse_url(text)
    assert (target.authority, target.port, target.path) == (authority, port, path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "example.com",
        "//example.com/",
        "http:example.com",
        "http:///example.com",
        "http://",
        "http://:80/",
        "ftp://example.com/",
        "file:///etc/passwd",
        "gopher://example.com/",
        "ws://example.com/",
        "unix://run/redis.sock",
        " http://example.com/",
        "http://user@example.com/",
        "http://user:secret@example.com/",
        "http://@example.com/",
        "http://a@b@c/",
        "http://example.com\\@127.0.0.1/",
        "http://example.com\\.evil/",
        "http://127.0.0.1\\@example.com/",
        "http://1.1.1.1 &@2.2.2.2# @3.3.3.3/",
        "http://exa mple.com/",
        "http://example.com\t/",
        "http://example.com/\r\nHost: evil",
        "http://example.com/\x00",
        "http://%31%32%37.0.0.1/",
        "http://127.0.0.1%2f/",
        "http://a..b/",
        "http://.a/",
        "http://-a/",
        "http://" + "a" * 64 + "/",
        "http://" + "a." * 127 + "com/",
        "http://foo:0/",
        "http://foo:-1/",
        "http://foo:65536/",
        "http://foo:1_0/",
        "http://foo:+80/",
        "http://foo: 80/",
        "http://foo:８０/",
        "http://foo:80:90/",
        "http://foo:80x/",
        "http://[::1/",
        "http://::1/",
        "http://[::1]x/",
        "http://[]/",
        "http://[v1.x]/",
        "http://[127.0.0.1]/",
        "http://example.com/" + "x" * 9_000,
        # IPv4 addresses in the forms of inet_aton, and what a Unicode reader might take for digits.
        "http://2130706433/",
        "http://017700000001/",
        "http://0x7f000001/",
        "http://0x7f.1/",
        "http://0X7F.0.0.1/",
        "http://127.1/",
        "http://127.0.1/",
        "http://0177.0.0.1/",
        "http://127.0.0.01/",
        "http://127.0.0.1.1/",
        "http://256.0.0.1/",
        "http://127.0.0.0x1/",
        "http://127.0.0.1./",
        "http://1.0x/",
        "http://0/",
        "http://１２７.0.0.1/",
        "http://①②⑦.0.0.1/",
        "http://٣.1.1.1/",
        "http://\ud800/",
    ],
)
def test_a_url_that_may_be_read_in_two_ways_is_refused(text: str) -> None:
    with pytest.raises(BadUrlError):
        parse_url(text)


@pytest.mark.parametrize("text", ["http://127。0。0。1/", "http://[::ffff:7f00:1]/", "http://[0:0::FFFF:127.0.0.1]/"])
def test_an_address_in_disguise_is_known_as_an_address(text: str) -> None:
    assert str(parse_url(text).address) == "127.0.0.1"


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("/b", "https://example.com/b"),
        ("b?c", "https://example.com/x/b?c"),
        ("../b", "https://example.com/b"),
        ("//other.example/b", "https://other.example/b"),
        ("http://other.example:8080/#f", "http://other.example:8080/"),
        ("\\\\evil.example", "https://example.com/x/\\\\evil.example"),
    ],
)
def test_a_location_is_read_from_where_it_was_sent(location: str, expected: str) -> None:
    assert str(join_url(parse_url("https://example.com/x/y?z"), location)) == expected


@pytest.mark.parametrize("location", ["//user@b/", "javascript:1", "ftp://b/", "http://[::1", "//0x7f.1/"])
def test_a_location_that_is_no_plain_url_is_refused(location: str) -> None:
    with pytest.raises(BadUrlError):
        join_url(parse_url("https://example.com/"), location)


@pytest.mark.parametrize("text", ["http://example.com:x/?key=hunter2", "http://exa mple/?key=hunter2"])
def test_errors_do_not_repeat_the_url(text: str) -> None:
    with pytest.raises(BadUrlError) as caught:
        parse_url(text)
    assert "hunter2" not in caught.value.message


@given(
    st.one_of(st.text(), st.text().map("http://".__add__), st.from_regex(r"http://[^/]{1,20}(/.*)?", fullmatch=True))
)
def test_any_text_is_a_target_or_refused_and_reads_the_same_again(text: str) -> None:
    try:
        target = parse_url(text)
    except BadUrlError:
        return
    assert parse_url(str(target)) == target
