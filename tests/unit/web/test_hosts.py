from __future__ import annotations

import pytest

from picloud.settings import Settings
from picloud_web.hosts import Hosts, Origin, trust

OWN = Origin(is_own=True)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1:8000", OWN),
        ("localhost:8000", OWN),
        ("LOCALHOST", OWN),
        ("localhost.:8000", OWN),
        ("[::1]:8000", OWN),
        ("", OWN),
        ("shop.localhost:8000", Origin(app="shop")),
        ("Shop.Localhost", Origin(app="shop")),
        ("shop.localhost.", Origin(app="shop")),
        ("evil.example", Origin(domain="evil.example")),
        ("192.168.1.5:8000", Origin(domain="192.168.1.5")),
        ("127.0.0.1.evil.example", Origin(domain="127.0.0.1.evil.example")),
        ("localhost.evil.example", Origin(domain="localhost.evil.example")),
        (".localhost", Origin(app="")),
    ],
)
def test_a_host_is_our_own_an_apps_or_perhaps_a_mapped_domain(host: str, expected: Origin) -> None:
    assert Hosts(Settings(bind="127.0.0.1:8000")).origin(host) == expected


def test_the_public_url_is_our_own_host() -> None:
    hosts = Hosts(Settings(public_url="https://cloud.example:8443/"))
    assert hosts.origin("cloud.example") == OWN
    assert hosts.origin("shop.cloud.example") == Origin(domain="shop.cloud.example")


def test_bound_to_every_address_each_address_is_our_own_but_no_name_is() -> None:
    hosts = Hosts(Settings(bind="0.0.0.0:8000"))
    assert hosts.origin("192.168.1.5:8000") == OWN
    assert hosts.origin("[fe80::1]:8000") == OWN
    assert hosts.origin("rebound.example:8000") == Origin(domain="rebound.example")


def test_only_listed_proxies_are_believed() -> None:
    is_trusted = trust(("10.0.0.0/8", "192.168.1.7"))
    assert is_trusted("10.1.2.3")
    assert is_trusted("192.168.1.7")
    assert not is_trusted("192.168.1.8")
    assert not is_trusted("no address")
    assert not trust(())("127.0.0.1")
