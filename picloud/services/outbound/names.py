"""Looking names up, within a time: the system's resolver cannot be interrupted, so a thread waits for it."""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Callable
from typing import Any, Protocol

from picloud.services.outbound.addresses import IPAddress, plain_address
from picloud.services.outbound.errors import ConnectionFailedError, HostNotFoundError, OutboundTimeoutError

#: Look-ups under way at once in a process. More wait for a place: names whose servers never
#: answer hold theirs until the system gives up, and must not use up the machine's threads.
_MAX_LOOKUPS = 64

_UNKNOWN = {getattr(socket, name) for name in ("EAI_NONAME", "EAI_NODATA") if hasattr(socket, name)}


class Resolver(Protocol):
    """Finds the addresses of a name, in the order they should be tried."""

    def resolve(self, host: str, timeout_seconds: float) -> tuple[IPAddress, ...]:
        """At least one address.

        Raises:
            OutboundError: the name has none, or none was found in time.
        """
        ...


class SystemResolver:
    """Asks as every program on the machine does: hosts file, local names, DNS."""

    def __init__(self, look_up: Callable[..., list[Any]] = socket.getaddrinfo) -> None:
        self._look_up = look_up
        self._places = threading.BoundedSemaphore(_MAX_LOOKUPS)

    def resolve(self, host: str, timeout_seconds: float) -> tuple[IPAddress, ...]:
        if not self._places.acquire(timeout=timeout_seconds):
            raise _too_slow(host, timeout_seconds)
        answers: queue.SimpleQueue[list[Any] | OSError | UnicodeError] = queue.SimpleQueue()
        try:
            # A daemon, since a pool's threads hold up the end of the process.
            threading.Thread(target=self._answer, args=(host, answers), name="picloud-dns", daemon=True).start()
        except RuntimeError as error:
            self._places.release()
            raise ConnectionFailedError(f"{host} could not be looked up: {error}") from None
        try:
            answer = answers.get(timeout=timeout_seconds)
        except queue.Empty:
            raise _too_slow(host, timeout_seconds) from None
        return _addresses(host, answer)

    def _answer(self, host: str, answers: queue.SimpleQueue[list[Any] | OSError | UnicodeError]) -> None:
        try:
            answers.put(self._look_up(host, None, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG))
        except (OSError, UnicodeError) as error:
            answers.put(error)
        finally:
            self._places.release()


def _addresses(host: str, answer: list[Any] | OSError | UnicodeError) -> tuple[IPAddress, ...]:
    if isinstance(answer, UnicodeError) or (isinstance(answer, socket.gaierror) and answer.errno in _UNKNOWN):
        raise HostNotFoundError(f"no host is called {host}", hint="check the URL for typing mistakes")
    if isinstance(answer, OSError):
        raise ConnectionFailedError(f"{host} could not be looked up: {answer.strerror or answer}")
    found = [plain_address(str(entry[4][0])) for entry in answer]
    addresses = tuple(dict.fromkeys(address for address in found if address is not None))
    if not addresses:
        raise HostNotFoundError(f"{host} has no address", hint="check the URL for typing mistakes")
    return addresses


def _too_slow(host: str, timeout_seconds: float) -> OutboundTimeoutError:
    return OutboundTimeoutError(
        f"{host} was not looked up within {timeout_seconds:.3g} seconds", hint="the name server may be out of reach"
    )
