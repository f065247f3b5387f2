"""Who sent a request: what is believed of proxies, and which cookie counts."""

from __future__ import annotations

from typing import Any

import falcon.asgi
import falcon.testing
import pytest

from picloud.identity.attempts import network_of
from picloud.settings import Settings
from picloud_web.api.senders import Senders, session_cookie

PROXY = "10.0.0.1"


def _request(peer: str | None, headers: dict[str, str], *, scheme: str = "http") -> falcon.asgi.Request:
    host = headers.get("Host", "localhost")
    scope: dict[str, Any] = falcon.testing.create_scope(headers=headers, scheme=scheme, host=host)
    scope["client"] = None if peer is None else (peer, 50_000)
    return falcon.asgi.Request(scope, None)  # type: ignore[arg-type]  # no body is read


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("192.0.2.7", None, "192.0.2.7"),
        ("192.0.2.7", "198.51.100.1", "192.0.2.7"),
        (PROXY, "198.51.100.1", "198.51.100.1"),
        (PROXY, "203.0.113.9, 198.51.100.1", "198.51.100.1"),
        (PROXY, "198.51.100.1, 10.0.0.2", "198.51.100.1"),
        (PROXY, "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        (PROXY, None, PROXY),
        (None, "198.51.100.1", "198.51.100.1"),
        (None, None, ""),
    ],
)
def test_the_address_is_the_last_one_that_no_trusted_proxy_has(
    peer: str | None, forwarded: str | None, address: str
) -> None:
    senders = Senders(Settings(trusted_proxies=("10.0.0.0/8",)))
    headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}
    assert senders.of(_request(peer, headers)).address == address


@pytest.mark.parametrize(
    ("public_url", "peer", "scheme", "headers", "is_secure"),
    [
        ("", "192.0.2.7", "http", {}, False),
        ("", "192.0.2.7", "https", {}, True),
        ("", "192.0.2.7", "http", {"X-Forwarded-Proto": "https"}, False),
        ("", PROXY, "http", {"X-Forwarded-Proto": "https"}, True),
        ("https://picloud.example", "192.0.2.7", "http", {"Host": "picloud.example"}, True),
        ("https://picloud.example", "127.0.0.1", "http", {"Host": "localhost:8000"}, False),
        ("http://picloud.example", "192.0.2.7", "http", {"Host": "picloud.example"}, False),
    ],
)
def test_https_is_what_the_connection_a_trusted_proxy_or_the_public_url_says(
    public_url: str, peer: str, scheme: str, headers: dict[str, str], is_secure: bool
) -> None:
    senders = Senders(Settings(trusted_proxies=("10.0.0.0/8",), public_url=public_url))
    cookies = {"Cookie": "picloud_session=plain; __Host-picloud_session=bound"}
    sender = senders.of(_request(peer, headers | cookies, scheme=scheme))
    assert sender.is_secure == is_secure
    assert sender.session == ("bound" if is_secure else "plain")
    assert "plain" not in repr(sender)
    assert "bound" not in repr(sender)


def test_the_cookie_of_https_is_one_browsers_take_from_the_host_itself_only() -> None:
    cookie = session_cookie("t", 60, is_secure=True)
    assert cookie == "__Host-picloud_session=t; Max-Age=60; Path=/; HttpOnly; SameSite=Strict; Secure"


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", "here"),
        ("unknown", "here"),
    ],
)
def test_attempts_of_one_household_are_counted_together(address: str, network: str) -> None:
    assert network_of(address) == network
