"""Which addresses a call may dial: all that its host has, or none.

One refused address refuses the host. A host with a public and a private address is either
the start of a rebinding attack or in need of an entry in the allow-list, and quietly
dialling the rest would hide which.
"""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

from picloud.services.outbound.addresses import IPAddress, kind_of, plain_address, wrapped
from picloud.services.outbound.deadline import Clock, Deadline
from picloud.services.outbound.errors import (
    AddressNotAllowedError,
    ConnectionFailedError,
    OutboundError,
    OutboundTimeoutError,
)
from picloud.services.outbound.names import Resolver
from picloud.services.outbound.policy import AddressPolicy
from picloud.services.outbound.urls import Target

#: How long the addresses of PiCloud's own hosts are believed; a container that moves is found again.
_OWN_ADDRESSES_SECONDS = 30.0

#: Addresses nobody has (RFC 5737, RFC 3849): a machine that lets us bind them lets us bind any.
_NOBODYS = {4: "203.0.113.213", 6: "2001:db8:203:113::213"}


@dataclass(frozen=True, slots=True)
class _Known:
    addresses: frozenset[IPAddress]
    until: float
    is_certain: bool


class Guard:
    """Judges where a call leads; one for all apps and threads."""

    def __init__(
        self,
        resolver: Resolver,
        *,
        max_lookup_seconds: float,
        is_of_this_machine: Callable[[IPAddress], bool],
        clock: Clock = time.monotonic,
    ) -> None:
        self._resolver = resolver
        self._max_lookup_seconds = max_lookup_seconds
        self._is_of_this_machine = is_of_this_machine
        self._clock = clock
        # Two threads may look the same name up at once; the later answer stays.
        self._own: dict[str, _Known] = {}

    def addresses(self, target: Target, policy: AddressPolicy, deadline: Deadline) -> tuple[IPAddress, ...]:
        """The addresses to dial for ``target``, each of them judged.

        Raises:
            AddressNotAllowedError: one of them may not be reached.
            OutboundError: the host has no address, or none was found in time.
        """
        if self._is_own_name(target, policy):
            raise _own_refused(target)
        if target.address is not None:
            found: tuple[IPAddress, ...] = (target.address,)
        else:
            seconds = min(self._max_lookup_seconds, deadline.remaining_seconds())
            found = self._resolver.resolve(target.host, seconds)
        for address in found:
            self._check(address, target, policy, deadline)
        return found

    def _check(self, address: IPAddress, target: Target, policy: AddressPolicy, deadline: Deadline) -> None:
        kind = kind_of(address)
        if kind.reach == "never":
            raise AddressNotAllowedError(
                f"{_led(target, address)} {kind.what}, which no app may call",
                hint="call a public address, or a private one that an instance admin has allowed",
            )
        # What an address wraps is where its packets end: that is compared and allowed as well.
        faces = (address, *wrapped(address))
        if any(map(self._is_of_this_machine, faces)):
            raise _own_refused(target)
        is_private = kind.reach == "private"
        if is_private and not any(policy.allows(target.host, face) for face in faces):
            raise AddressNotAllowedError(
                f"{_led(target, address)} {kind.what}, which this app may not call",
                hint=f"an instance admin can allow {target.host} or {address} for this app",
            )
        self._check_own(faces, target, policy, deadline, is_private=is_private)

    def _check_own(
        self,
        faces: tuple[IPAddress, ...],
        target: Target,
        policy: AddressPolicy,
        deadline: Deadline,
        *,
        is_private: bool,
    ) -> None:
        for host in map(_compared, policy.own.hosts):
            known = self._own_addresses(host, deadline)
            if known.addresses.intersection(faces):
                raise _own_refused(target)
            if is_private and not known.is_certain:
                raise AddressNotAllowedError(
                    f"{target.origin} has a private address, and whether it is PiCloud's own cannot be told now",
                    hint="an operator can see to it that the host names in PiCloud's settings are found",
                )
        if not is_private:
            return
        for host, port in policy.own.endpoints:
            if port == target.port and self._own_addresses(_compared(host), deadline).addresses.intersection(faces):
                raise _own_refused(target)

    def _is_own_name(self, target: Target, policy: AddressPolicy) -> bool:
        own = policy.own
        return target.host in map(_compared, own.hosts) or any(
            target.host == _compared(host) and target.port == port for host, port in own.endpoints
        )

    def _own_addresses(self, host: str, deadline: Deadline) -> _Known:
        literal = plain_address(host)
        if literal is not None:
            return _Known(frozenset({literal}), 0.0, is_certain=True)
        if not host or host.startswith("/"):
            return _Known(frozenset(), 0.0, is_certain=True)
        known = self._own.get(host)
        if known is None or known.until < self._clock():
            self._own[host] = known = self._look_own_up(host, known, deadline)
        return known

    def _look_own_up(self, host: str, before: _Known | None, deadline: Deadline) -> _Known:
        seconds = min(self._max_lookup_seconds, deadline.remaining_seconds())
        try:
            found = frozenset(self._resolver.resolve(host, seconds))
        except OutboundError as error:
            if isinstance(error, OutboundTimeoutError) and seconds < self._max_lookup_seconds:
                # The call was too short to know. Kept, that would keep other apps from knowing.
                raise deadline.passed() from None
            # What was known stays true until somebody knows better.
            addresses = before.addresses if before is not None else frozenset[IPAddress]()
            return _Known(addresses, self._clock() + _OWN_ADDRESSES_SECONDS, is_certain=bool(addresses))
        return _Known(found, self._clock() + _OWN_ADDRESSES_SECONDS, is_certain=True)


def is_of_this_machine(address: IPAddress) -> bool:
    """True when packets to ``address`` would come back to this machine: the kernel lets us bind it.

    What listens on every interface answers there as it does on the loopback. On machines
    set to let anything be bound (``ip_nonlocal_bind``) this cannot be told, and is False.
    """
    return _can_bind(address.version, str(address)) and not _can_bind(address.version, _NOBODYS[address.version])


def _can_bind(version: int, address: str) -> bool:
    try:
        with socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except OSError as error:
        if error.errno in {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EINVAL}:
            return False
        # Out of files or of memory: that is no answer, and must not read as "not ours".
        raise ConnectionFailedError(f"this machine cannot open another socket: {error.strerror}") from None
    return True


def _compared(host: str) -> str:
    return host.strip("[]").removesuffix(".").lower()


def _led(target: Target, address: IPAddress) -> str:
    if target.address is not None:
        return f"{target.origin} is"
    return f"{target.origin} is at {address},"


def _own_refused(target: Target) -> AddressNotAllowedError:
    return AddressNotAllowedError(
        f"{target.origin} is one of PiCloud's own hosts, which no app may call",
        hint="use functions::invoke to run another function of this app",
    )
