"""Which origin a request is for: PiCloud's own, or one app's.

People sign in on PiCloud's own host, so scripts must not be able to act there
as the person who looks at them. Therefore an app has origins of its own
(``{app}.localhost`` and the domains mapped to it), on which nothing but that app
is served; and whatever an app answers on PiCloud's own host is put into a
sandbox (``picloud_web.responses``). A ``Host`` that belongs to neither is
refused: a name that an attacker points at this machine (DNS rebinding) must not
become an origin of PiCloud.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

import falcon.asgi

from picloud.settings import Settings

_LOCALHOST_SUFFIX = ".localhost"
_WILDCARDS = ("0.0.0.0", "::", "")  # noqa: S104  # compared with, never bound
#: Hosts whose origin is remembered; beyond that they are worked out again.
_MOST_REMEMBERED = 1_024


@dataclass(frozen=True, slots=True)
class Origin:
    """What a host stands for; exactly one of the three.

    Attributes:
        is_own: PiCloud's own host.
        app: the app whose host this is, by its name.
        domain: perhaps a mapped domain: the directory knows.
    """

    is_own: bool = False
    app: str | None = None
    domain: str | None = None


_OWN = Origin(is_own=True)


class Hosts:
    """Reads ``Host`` headers."""

    def __init__(self, settings: Settings) -> None:
        bound = settings.bind_host.lower()
        names = {"localhost", "127.0.0.1", "::1", bound}
        if settings.public_url:
            names.add((urlsplit(settings.public_url).hostname or "").lower())
        self._own_names = frozenset(names - {""})
        #: Bound to every address, each of them is PiCloud's own. No name is: only names can be pointed here by others.
        self._addresses_are_own = bound in _WILDCARDS
        self._remembered: dict[str, Origin] = {}

    def origin(self, host: str) -> Origin:
        """The origin named by a ``Host`` header, its port included."""
        found = self._remembered.get(host)
        if found is None:
            found = self._work_out(host)
            if len(self._remembered) < _MOST_REMEMBERED:
                self._remembered[host] = found
        return found

    def _work_out(self, host: str) -> Origin:
        name = _without_port(host).lower().rstrip(".")
        if not name or name in self._own_names:
            return _OWN  # an HTTP/1.0 client names no host: it dialled this address
        if name.endswith(_LOCALHOST_SUFFIX):
            return Origin(app=name.removesuffix(_LOCALHOST_SUFFIX))
        if _is_address(name):
            return _OWN if self._addresses_are_own else Origin(domain=name)
        return Origin(domain=name)


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def peer_address(request: falcon.asgi.Request) -> str:
    """The address at the other end of the connection; empty: it came through a socket file."""
    client = request.scope.get("client")
    if client is None:
        return ""
    # Any iterable (ASGI, "HTTP connection scope"), even one that can be read only once.
    request.scope["client"] = known = tuple(client)
    return str(known[0])


def trust(networks: Iterable[str]) -> Callable[[str], bool]:
    """Whether a peer's ``X-Forwarded-*`` headers are believed, by ``PICLOUD_TRUSTED_PROXIES``."""
    trusted = [ipaddress.ip_network(network, strict=False) for network in networks]

    def is_trusted(address: str) -> bool:
        if not trusted:
            return False
        try:
            peer = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(peer in network for network in trusted)

    return is_trusted
