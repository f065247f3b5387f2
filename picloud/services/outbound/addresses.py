"""Which IP addresses are public, which are private, and which are never reached.

The tables follow the IANA special-purpose address registries for IPv4 and IPv6 and not
``ipaddress.is_private`` and its siblings, which change between releases of Python and know
no metadata addresses. An IPv6 address that only wraps an IPv4 one is judged by what it wraps.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Literal

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network

Reach = Literal["public", "private", "never"]


@dataclass(frozen=True, slots=True)
class Kind:
    """What an address is.

    Attributes:
        reach: ``public``: anybody may; ``private``: by the app's allow-list; ``never``: nobody may.
        what: as a message says it, "a loopback address".
    """

    reach: Reach
    what: str


_METADATA = "a metadata address of a cloud provider"
_LINK_LOCAL = "a link-local address"
_DOCUMENTATION = "an address reserved for documentation"
_RESERVED = "a reserved address"
_MULTICAST = "a multicast address"
_PRIVATE = "a private address"
_PUBLIC = Kind("public", "a public address")

#: The first network that contains an address decides; what is in none is public.
_IPV4: tuple[tuple[str, Reach, str], ...] = (
    ("0.0.0.0/8", "never", "an unspecified address"),
    ("127.0.0.0/8", "never", "a loopback address"),
    ("169.254.169.254/32", "never", _METADATA),
    ("169.254.0.0/16", "never", _LINK_LOCAL),
    # Public or shared by the registries, but answered by the machine's own cloud: Alibaba, and
    # Azure's WireServer. 100.100.100.100 is the Tailscale client on the machine itself.
    ("100.100.100.200/32", "never", _METADATA),
    ("168.63.129.16/32", "never", _METADATA),
    ("100.100.100.100/32", "never", "an address of this machine's Tailscale"),
    ("192.0.0.0/24", "never", _RESERVED),
    ("192.0.2.0/24", "never", _DOCUMENTATION),
    ("198.51.100.0/24", "never", _DOCUMENTATION),
    ("203.0.113.0/24", "never", _DOCUMENTATION),
    ("192.88.99.0/24", "never", "an address of retired 6to4 relays"),
    ("224.0.0.0/4", "never", _MULTICAST),
    ("240.0.0.0/4", "never", _RESERVED),
    ("10.0.0.0/8", "private", _PRIVATE),
    ("172.16.0.0/12", "private", _PRIVATE),
    ("192.168.0.0/16", "private", _PRIVATE),
    ("100.64.0.0/10", "private", "an address shared by a provider's customers, or of a Tailscale network"),
    ("198.18.0.0/15", "private", "an address reserved for benchmarks"),
)

#: The last entry is everything: only 2000::/3 has been given out (RFC 4291, section 2.4).
_IPV6: tuple[tuple[str, Reach, str], ...] = (
    ("::/128", "never", "the unspecified address"),
    ("::1/128", "never", "the loopback address"),
    ("fe80::/10", "never", _LINK_LOCAL),
    ("fec0::/10", "never", "a site-local address"),
    ("ff00::/8", "never", _MULTICAST),
    # AWS, Google, Oracle, Scaleway, Linode, Alibaba; then the Tailscale client itself.
    ("fd00:ec2::/32", "never", _METADATA),
    ("fd20:ce::254/128", "never", _METADATA),
    ("fd00:c1::a9fe:a9fe/128", "never", _METADATA),
    ("fd00:42::42/128", "never", _METADATA),
    ("fd00:a9fe:a9fe::1/128", "never", _METADATA),
    ("fd00:100::100:200/128", "never", _METADATA),
    ("fd7a:115c:a1e0::53/128", "never", "an address of this machine's Tailscale"),
    ("fc00::/7", "private", _PRIVATE),
    ("2001:db8::/32", "never", _DOCUMENTATION),
    ("3fff::/20", "never", _DOCUMENTATION),
    ("2001::/23", "never", _RESERVED),
    ("2000::/3", "public", _PUBLIC.what),
    ("::/0", "never", _RESERVED),
)

_KINDS: dict[int, tuple[tuple[IPNetwork, Kind], ...]] = {
    version: tuple((ip_network(network), Kind(reach, what)) for network, reach, what in table)
    for version, table in ((4, _IPV4), (6, _IPV6))
}

#: RFC 6052: the IPv4 address is in the last 32 bits. Networks with a prefix of their own cannot be known.
_NAT64 = IPv6Network("64:ff9b::/96")


def plain_address(text: str) -> IPAddress | None:
    """The address ``text`` spells, None when it spells none; an IPv4-mapped one becomes the IPv4 that is dialled.

    A zone (``fe80::1%eth0``) is kept; ``kind_of`` refuses it.
    """
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def wrapped(address: IPAddress) -> tuple[IPv4Address, ...]:
    """The IPv4 addresses where packets to an IPv6 address end: IPv4-mapped, NAT64, 6to4, Teredo."""
    if isinstance(address, IPv4Address):
        return ()
    if address.ipv4_mapped is not None:
        return (address.ipv4_mapped,)
    if address in _NAT64:
        return (IPv4Address(int(address) & 0xFFFF_FFFF),)
    if address.sixtofour is not None:
        return (address.sixtofour,)
    if address.teredo is not None:
        return address.teredo
    return ()


def kind_of(address: IPAddress) -> Kind:
    """What an address is; one that wraps others is the worst of them."""
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        return Kind("never", "an address of one network interface")
    inner = wrapped(address)
    if not inner:
        return _listed(address)
    order: tuple[Reach, ...] = ("never", "private", "public")
    return min((_listed(each) for each in inner), key=lambda kind: order.index(kind.reach))


def _listed(address: IPAddress) -> Kind:
    for network, kind in _KINDS[address.version]:
        if address in network:
            return kind
    return _PUBLIC
