"""Who connects how often: a token bucket for each address, and a count of its connections.

An IPv6 peer is its /64: who has one address there has all of them. A peer on a Unix
socket has no address and no limit; the permissions of the socket's folder decide
who that may be.
"""

from __future__ import annotations

import ipaddress
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import cast

#: Addresses remembered; who was pushed out by others begins with a full bucket again.
_MOST_PEERS = 10_000


def peer_key(peername: object) -> str | None:
    """The address a transport's ``peername`` counts as; None: it has none."""
    if not isinstance(peername, tuple) or not peername:
        return None
    host = cast("tuple[object, ...]", peername)[0]
    try:
        address = ipaddress.ip_address(str(host).partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, 64), strict=False))


class PeerRates:
    """A token bucket for each peer.

    Args:
        per_second: tokens that come back.
        burst: tokens of a full bucket.
        clock: monotonic seconds.
    """

    def __init__(self, per_second: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._burst = burst
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens, and when there were as many

    def take(self, peer: str | None) -> bool:
        """Take a token; False: there is none."""
        if peer is None:
            return True
        now = self._clock()
        tokens, since = self._buckets.pop(peer, (float(self._burst), now))
        tokens = min(float(self._burst), tokens + (now - since) * self._per_second)
        is_taken = tokens >= 1
        self._buckets[peer] = (tokens - 1 if is_taken else tokens, now)
        if len(self._buckets) > _MOST_PEERS:
            self._buckets.popitem(last=False)
        return is_taken


class PeerConnections:
    """How many connections there are, in all and of each peer."""

    def __init__(self, most: int, most_of_one: int) -> None:
        self._most = most
        self._most_of_one = most_of_one
        self._all = 0
        self._of_one: Counter[str] = Counter()

    def enter(self, peer: str | None) -> str | None:
        """Count one more; a text says why it may not come in (and was not counted)."""
        if self._all >= self._most:
            return "too many connections"
        if peer is not None and self._of_one[peer] >= self._most_of_one:
            return "too many connections from your address"
        self._all += 1
        if peer is not None:
            self._of_one[peer] += 1
        return None

    def leave(self, peer: str | None) -> None:
        """One that came in has gone."""
        self._all -= 1
        if peer is not None:
            self._of_one[peer] -= 1
            if not self._of_one[peer]:
                del self._of_one[peer]
