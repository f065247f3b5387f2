"""Where the scripts of one app may call: what an instance admin allows, and what is PiCloud's own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv6Network, ip_network

from picloud.errors import InvalidInputError
from picloud.services.outbound.addresses import IPAddress, IPNetwork, kind_of
from picloud.services.outbound.errors import BadUrlError
from picloud.services.outbound.urls import parse_host


@dataclass(frozen=True, slots=True)
class OwnPlaces:
    """What belongs to PiCloud and is refused whatever an allow-list says.

    Hosts are names or addresses, as the settings have them; an empty one and the path of a
    Unix socket are passed over. Every address of the machine that makes the call is refused
    besides: this is for hosts elsewhere.

    Attributes:
        hosts: those of PostgreSQL, Redis and PiCloud's machines. Refused on every port, by
            name and by each address the name has.
        endpoints: host and port of PiCloud's doors. Refused by name, and by each address that
            is not public: a public address may be a shared front with other sites behind it.
    """

    hosts: tuple[str, ...] = ()
    endpoints: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    """Where one app may call.

    Attributes:
        allowed_private: networks, and names (``nas.lan``, ``*.lan``) whose private addresses
            are reached; from ``parse_allowed``. A name trusts whoever answers for it in DNS;
            a network does not.
        own: PiCloud's own places.
    """

    allowed_private: tuple[IPNetwork | str, ...] = ()
    own: OwnPlaces = OwnPlaces()

    def allows(self, host: str, address: IPAddress) -> bool:
        """Whether a private address, reached as ``host``, is on the list."""
        return any(
            _matches(allowed, host) if isinstance(allowed, str) else address in allowed
            for allowed in self.allowed_private
        )


def parse_allowed(entries: Iterable[str]) -> tuple[IPNetwork | str, ...]:
    """Read an allow-list: addresses, networks, names, and names under ``*.``.

    Raises:
        InvalidInputError: names the first entry that is none of these, or that could never
            have an effect.
    """
    return tuple(_parse_entry(entry.strip()) for entry in entries)


def entry_text(entry: IPNetwork | str) -> str:
    """The one spelling of an entry: an address without the length of its prefix."""
    if isinstance(entry, str):
        return entry
    return str(entry.network_address if entry.prefixlen == entry.max_prefixlen else entry)


def _parse_entry(entry: str) -> IPNetwork | str:
    try:
        network = ip_network(entry)
    except ValueError:
        return _parse_name(entry)
    if isinstance(network, IPv6Network) and network.network_address.ipv4_mapped is not None:
        raise InvalidInputError(f"{entry!r} stands for IPv4 addresses: write them as IPv4")
    kind = kind_of(network.network_address)
    # The last address of a network names no interface, even where the first one does.
    has_zone = isinstance(network, IPv6Network) and network.network_address.scope_id is not None
    if kind.reach == "never" and (has_zone or kind == kind_of(network.broadcast_address)):
        raise InvalidInputError(f"{entry!r} cannot be allowed: it is {kind.what}, and no app ever reaches one")
    return network


def _parse_name(entry: str) -> str:
    star = "*." if entry.startswith("*.") else ""
    try:
        return star + parse_host(entry.removeprefix(star))
    except BadUrlError:
        raise InvalidInputError(
            f"{entry!r} is not something to allow",
            hint="allow an address (192.168.1.50), a network without host bits (192.168.1.0/24), "
            "a name (nas.lan) or all names below one (*.lan)",
        ) from None


def _matches(pattern: str, host: str) -> bool:
    return host.endswith(pattern[1:]) if pattern.startswith("*.") else host == pattern
