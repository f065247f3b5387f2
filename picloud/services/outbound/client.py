"""One outbound call, from request to response."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable

import httpx2

from picloud.services.outbound.addresses import IPAddress
from picloud.services.outbound.deadline import Clock, Deadline
from picloud.services.outbound.errors import TooManyRedirectsError
from picloud.services.outbound.exchange import exchange
from picloud.services.outbound.guard import Guard, is_of_this_machine
from picloud.services.outbound.messages import OutboundLimits, OutboundRequest, OutboundResponse, first_call
from picloud.services.outbound.names import Resolver, SystemResolver
from picloud.services.outbound.policy import AddressPolicy
from picloud.services.outbound.redirects import next_call
from picloud.services.outbound.streams import Connect, connect_tcp, open_stream


class OutboundClient:
    """Makes calls for every app and from every thread of a process; keeps nothing between them.

    No connections, no cookies, no proxies. Nothing is tried a second time: whether a request
    may be repeated is for the caller to know.

    Args:
        tls: the system's trusted certificates when not given.
        resolver, connect, is_machine_address, clock: the outside world, for tests.
    """

    def __init__(
        self,
        limits: OutboundLimits | None = None,
        *,
        tls: ssl.SSLContext | None = None,
        resolver: Resolver | None = None,
        connect: Connect = connect_tcp,
        is_machine_address: Callable[[IPAddress], bool] = is_of_this_machine,
        clock: Clock = time.monotonic,
    ) -> None:
        self._limits = limits or OutboundLimits()
        # trust_env would let variables of the process choose whom to trust.
        self._tls = tls or httpx2.create_ssl_context(trust_env=False)
        self._tls.set_alpn_protocols(["http/1.1"])
        self._connect = connect
        self._clock = clock
        self._guard = Guard(
            resolver or SystemResolver(),
            max_lookup_seconds=self._limits.max_lookup_seconds,
            is_of_this_machine=is_machine_address,
            clock=clock,
        )

    def send(self, request: OutboundRequest, policy: AddressPolicy) -> OutboundResponse:
        """Send a request and follow where it leads; blocks for ``timeout_seconds`` at most.

        Args:
            policy: of the app; it is asked again for every redirect.

        Raises:
            OutboundError: there is no response; ``code`` says why.
        """
        call = first_call(request, self._limits)
        seconds = min(request.timeout_seconds, self._limits.max_seconds)
        deadline = Deadline(seconds, what=f"{call.method} {call.target.origin}", clock=self._clock)
        for _ in range(self._limits.max_redirects + 1):
            addresses = self._guard.addresses(call.target, policy, deadline)
            stream = open_stream(addresses, call.target, deadline, tls=self._tls, connect=self._connect)
            with exchange(call, stream, limits=self._limits, deadline=deadline) as answer:
                following = next_call(call, answer) if request.follow_redirects else None
                if following is None:
                    headers, body = answer.read()
                    return OutboundResponse(answer.status, headers, body, str(call.target))
            call = following
        raise TooManyRedirectsError(
            f"{call.target.origin} is one redirect more than the {self._limits.max_redirects} that are followed",
            hint="check whether the URLs redirect to one another in a circle",
        )
