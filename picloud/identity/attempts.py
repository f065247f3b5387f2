"""What slows the guessing of passwords down: attempts are counted by name and by address, for all processes together.

After a few attempts each further one has to wait, twice as long as the one before, a quarter of an hour at most. An
attempt is counted before it is made, so that a hundred at once are a hundred; one that was right is taken back.

Whoever guesses at somebody's name from elsewhere must not lock its owner out: an address from which a name was signed
in to within the last month is counted for itself, apart from others behind the same address too. Sessions and keys are
not affected by any of this.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from picloud.control.records import Connection, fetch_row
from picloud.errors import CapacityError
from picloud.queries import Queries

_SQL = Queries("sessions")

#: Attempts that need not wait. Many people may share an address.
FREE_BY_NAME = 5
FREE_BY_ADDRESS = 20
MOST_SECONDS = 15 * 60


class TooManyAttemptsError(CapacityError):
    """Raised when a name or an address has failed so often that the next attempt has to wait."""

    code = "too_many_attempts"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt that was counted.

    Attributes:
        subjects: what it was counted under.
        by_name: that of them which is about the name.
        known: under which the address is known to the name, once an attempt was right.
    """

    subjects: tuple[str, ...]
    by_name: str
    known: str


async def count_attempt(connection: Connection, name: str, address: str) -> Attempt:
    """Count an attempt that is about to be made.

    Args:
        name: as a principal may be called, whether there is one or not.
        address: of the client; empty: it has none (a socket file).

    Raises:
        TooManyAttemptsError: it has to wait; nothing was counted.
    """
    network = network_of(address)
    known = f"known:{name}/{network}"
    row = await fetch_row(connection, _SQL.known, {"subject": known})
    if row is not None and row.is_known:
        await _charge(connection, known, FREE_BY_NAME)
        return Attempt((known,), known, known)
    by_address, by_name = f"from:{network}", f"name:{name}"
    async with connection.transaction():
        # Always in this order, so that no two wait for each other.
        await _charge(connection, by_address, FREE_BY_ADDRESS)
        await _charge(connection, by_name, FREE_BY_NAME)
    return Attempt((by_address, by_name), by_name, known)


async def take_back(connection: Connection, attempt: Attempt) -> None:
    """The attempt was not made after all."""
    await connection.execute(_SQL.refund, {"subjects": list(attempt.subjects)})


async def forgive(connection: Connection, attempt: Attempt) -> None:
    """The attempt was right: the name's count begins anew, and the address is known to it."""
    await take_back(connection, attempt)
    await connection.execute(_SQL.forgive, {"subject": attempt.by_name})
    await connection.execute(_SQL.remember_known, {"subject": attempt.known})


def network_of(address: str) -> str:
    """Whose attempts are counted together: those of an IPv4 address, or of an IPv6 network as one household has it."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return "here"
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, 64), strict=False))


async def _charge(connection: Connection, subject: str, free: int) -> None:
    values = {"subject": subject, "free": free, "most_seconds": MOST_SECONDS}
    if await fetch_row(connection, _SQL.charge, values) is None:
        row = await fetch_row(connection, _SQL.wait, values)
        seconds = 1 if row is None else int(row.seconds)
        raise TooManyAttemptsError(
            f"too many attempts; the next one is looked at in {seconds} s", retry_after_seconds=seconds
        )
