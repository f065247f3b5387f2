"""Which addresses are public, private, or never reached."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from picloud.services.outbound.addresses import Reach, kind_of, plain_address

NEVER = """
    0.0.0.0 0.1.2.3 127.0.0.1 127.255.255.254 169.254.0.1 169.254.169.254 169.254.170.2 100.100.100.200 100.100.100.100
    168.63.129.16 192.0.0.192 192.0.2.1 198.51.100.7 203.0.113.9 192.88.99.1 224.0.0.1 239.255.255.255 240.0.0.1
    255.255.255.255
    :: ::1 fe80::1 fe80::a9fe:a9fe febf::1 fec0::1 ff02::1 fd00:ec2::254 fd00:ec2::23 fd20:ce::254 fd00:c1::a9fe:a9fe
    fd00:42::42 fd00:a9fe:a9fe::1 fd00:100::100:200 2001:db8::1 3fff::1 100::1 5f00::1 4000::1 2001:20::1
    ::127.0.0.1 ::8.8.8.8 ::ffff:0:7f00:1 64:ff9b:1::7f00:1 2606:2800::1%eth0 fe80::1%eth0
    ::ffff:127.0.0.1 ::ffff:169.254.169.254 64:ff9b::127.0.0.1 64:ff9b::a9fe:a9fe 2002:7f00:1:: 2002:a9fe:a9fe::1
"""

PRIVATE = """
    10.0.0.1 10.255.255.255 172.16.0.1 172.31.255.255 192.168.1.50 100.64.0.1 100.127.255.254 198.18.0.1
    fc00::1 fd12:3456::1 ::ffff:10.0.0.1 64:ff9b::192.168.1.50 2002:c0a8:132::1
"""

PUBLIC = """
    1.1.1.1 8.8.8.8 93.184.216.34 172.15.255.255 172.32.0.1 100.63.255.255 100.128.0.1 192.167.255.255 169.253.0.1
    2606:2800:220:1::1 2a00:1450:4001::200e ::ffff:8.8.8.8 64:ff9b::8.8.8.8 2002:808:808::1
"""

EXPECTED: list[tuple[str, Reach]] = [
    *((text, "never") for text in NEVER.split()),
    *((text, "private") for text in PRIVATE.split()),
    *((text, "public") for text in PUBLIC.split()),
]


@pytest.mark.parametrize(("text", "reach"), EXPECTED)
def test_every_address_is_of_its_kind(text: str, reach: Reach) -> None:
    assert kind_of(ip_address(text)).reach == reach


def teredo(server: str, client: str) -> IPv6Address:
    """RFC 4380, section 4: the client's address is stored inverted."""
    hidden = int(IPv4Address(client)) ^ 0xFFFF_FFFF
    return IPv6Address((0x2001_0000 << 96) | (int(IPv4Address(server)) << 64) | hidden)


@pytest.mark.parametrize(
    ("server", "client", "reach"),
    [
        ("8.8.8.8", "1.1.1.1", "public"),
        ("8.8.8.8", "127.0.0.1", "never"),
        ("127.0.0.1", "8.8.8.8", "never"),
        ("8.8.8.8", "10.0.0.1", "private"),
        ("10.0.0.1", "169.254.169.254", "never"),
    ],
)
def test_a_teredo_address_is_the_worse_of_its_two(server: str, client: str, reach: Reach) -> None:
    assert kind_of(teredo(server, client)).reach == reach


@given(st.ip_addresses())
def test_what_python_calls_local_or_not_for_one_host_is_never_reached(address: IPv4Address | IPv6Address) -> None:
    if address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified:
        assert kind_of(address).reach == "never"


@given(st.ip_addresses())
def test_what_python_calls_private_is_not_public(address: IPv4Address | IPv6Address) -> None:
    wraps = isinstance(address, IPv6Address) and (address.ipv4_mapped or address.sixtofour or address.teredo)
    if address.is_private and not wraps:
        assert kind_of(address).reach != "public"


@given(st.ip_addresses(v=4))
def test_an_address_keeps_its_kind_in_every_wrapping(address: IPv4Address) -> None:
    number = int(address)
    for wrapper in (
        IPv6Address((0xFFFF << 32) | number),
        IPv6Address((0x0064_FF9B << 96) | number),
        IPv6Address((0x2002 << 112) | (number << 80)),
        teredo("8.8.8.8", str(address)),
    ):
        assert kind_of(wrapper).reach == kind_of(address).reach


@given(st.ip_addresses(v=4))
def test_a_mapped_address_is_dialled_as_the_address_it_is(address: IPv4Address) -> None:
    assert plain_address(f"::ffff:{address}") == address


@pytest.mark.parametrize(
    "network", ["127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "::1/128", "fe80::/10", "ff00::/8", "0.0.0.0/8"]
)
def test_both_ends_of_a_refused_network_are_refused(network: str) -> None:
    range_ = IPv6Network(network) if ":" in network else IPv4Network(network)
    assert kind_of(range_[0]).reach == "never"
    assert kind_of(range_[-1]).reach == "never"
