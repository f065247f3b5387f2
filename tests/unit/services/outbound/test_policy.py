"""Allow-lists as an instance admin writes them."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from picloud.errors import InvalidInputError
from picloud.services.outbound import AddressPolicy, parse_allowed
from picloud.services.outbound.policy import entry_text


@pytest.mark.parametrize(
    ("entry", "host", "address", "is_allowed"),
    [
        ("192.168.1.50", "nas.lan", "192.168.1.50", True),
        ("192.168.1.50", "nas.lan", "192.168.1.51", False),
        ("192.168.1.0/24", "192.168.1.7", "192.168.1.7", True),
        ("192.168.1.0/24", "192.168.2.7", "192.168.2.7", False),
        ("fd12::/16", "x", "fd12::1", True),
        ("0.0.0.0/0", "x", "10.0.0.1", True),
        ("0.0.0.0/0", "x", "fd12::1", False),
        ("nas.lan", "nas.lan", "10.0.0.1", True),
        ("NAS.lan.", "nas.lan", "10.0.0.1", True),
        ("nas.lan", "other.nas.lan", "10.0.0.1", False),
        ("nas.lan", "evilnas.lan", "10.0.0.1", False),
        ("*.lan", "nas.lan", "10.0.0.1", True),
        ("*.lan", "a.b.lan", "10.0.0.1", True),
        ("*.lan", "lan", "10.0.0.1", False),
        ("*.lan", "evillan", "10.0.0.1", False),
        ("*.müller.lan", "nas.xn--mller-kva.lan", "10.0.0.1", True),
    ],
)
def test_an_entry_allows_what_it_says(entry: str, host: str, address: str, is_allowed: bool) -> None:
    policy = AddressPolicy(parse_allowed([entry]))
    assert policy.allows(host, ip_address(address)) is is_allowed


@pytest.mark.parametrize(
    "entry", ["", "*", "*.", "a*.lan", "*.*.lan", "192.168.1.1/24", "10.0.0", "http://nas/", "a b"]
)
def test_what_is_no_entry_is_refused(entry: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse_allowed(["10.0.0.1", entry])
    assert repr(entry) in caught.value.message


@pytest.mark.parametrize(
    "entry",
    [
        "127.0.0.1", "127.0.0.0/8", "169.254.0.0/16", "::1", "fe80::/10", "::ffff:10.0.0.1",
        "fe80::1%eth0", "fe80::%eth0/64", "fd00::1%eth0",
    ],
)  # fmt: skip
def test_an_entry_without_effect_is_refused(entry: str) -> None:
    with pytest.raises(InvalidInputError):
        parse_allowed([entry])


@pytest.mark.parametrize(
    ("spelt", "text"),
    [
        ("192.168.1.50/32", "192.168.1.50"),
        ("192.168.1.0/255.255.255.0", "192.168.1.0/24"),
        ("FD12:0::1/128", "fd12::1"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("NAS.lan.", "nas.lan"),
        ("*.LAN", "*.lan"),
    ],
)
def test_an_entry_has_one_spelling(spelt: str, text: str) -> None:
    (entry,) = parse_allowed([spelt])
    assert entry_text(entry) == text
    assert parse_allowed([text]) == (entry,)
