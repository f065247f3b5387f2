"""Passwords: which are taken, and how they are hashed and verified.

Argon2id with the parameters OWASP names for small machines ("Password Storage Cheat Sheet": 19 MiB, two passes, one
lane). A verification costs tens of milliseconds of a core and 19 MiB, so it runs in one of two threads, never in the
event loop; when too many wait for those, the next is refused: a flood of logins must not take a Pi's memory or its
patience.

Where nobody has the name that was given, or no password, a hash of nothing is verified instead: the work is the same.
"""

from __future__ import annotations

import asyncio
import threading
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from typing import TypeVar

import argon2

from picloud.errors import CapacityError, InvalidInputError

T = TypeVar("T")

LEAST_CHARACTERS = 8
MOST_BYTES = 1_024
#: Different characters; fewer are a pattern.
_LEAST_DIFFERENT = 4

_THREADS = 2
#: Besides the two that run; at 30 ms each the last of them is served within a quarter of a second.
_MOST_WAITING = 8

HASHER = argon2.PasswordHasher(time_cost=2, memory_cost=19 * 1_024, parallelism=1, hash_len=32, salt_len=16)

#: Of a random password that was forgotten; with the parameters above (a test compares them).
NOBODY_S_HASH = "$argon2id$v=19$m=19456,t=2,p=1$j2Sov2qOoCGFffBoMFc4rQ$sjn/BLpgvunipykRjQZeLLla4ReQNM9QQbfYjdBU4hg"

#: The most common passwords of eight characters and more in published leaks; what attackers try first.
COMMON = frozenset(resources.files("picloud.identity").joinpath("common_passwords.txt").read_text("utf-8").split())


class Hashing:
    """Hashes and verifies in threads of its own; one for each process."""

    def __init__(self) -> None:
        # Starts no thread before the first use, so that it may be made before the server forks.
        self._threads = ThreadPoolExecutor(_THREADS, "password")
        self._places = threading.BoundedSemaphore(_THREADS + _MOST_WAITING)

    async def hash(self, password: str) -> str:
        """The hash of a password that is allowed. Raises: CapacityError: too many wait already."""
        return await self._run(lambda: HASHER.hash(normalized(password)))

    async def verify(self, password: str, stored: str | None) -> bool:
        """Whether ``stored`` is the hash of this password; None is nobody's, and takes as long.

        Raises:
            CapacityError: too many wait already.
        """
        if not _is_storable(password):
            password, stored = "", None  # a long one would cost more than the others
        return await self._run(lambda: _is_password(stored or NOBODY_S_HASH, password) and stored is not None)

    async def _run(self, work: Callable[[], T]) -> T:
        if not self._places.acquire(blocking=False):
            raise CapacityError("too many people sign in at this moment")
        future = self._threads.submit(work)
        # When the thread is done, not when somebody stops waiting for it.
        future.add_done_callback(lambda _: self._places.release())
        return await asyncio.wrap_future(future)


def needs_rehash(stored: str) -> bool:
    """Whether it was made with other parameters than today's."""
    return HASHER.check_needs_rehash(stored)


def normalized(password: str) -> str:
    """The same characters typed on another keyboard are the same bytes (RFC 8265, OpaqueString: NFC)."""
    return unicodedata.normalize("NFC", password)


def check_password(password: str, name: str) -> None:
    """Refuse a password that would be guessed, or that costs too much to hash.

    Args:
        password: as it was typed.
        name: whose it shall be.

    Raises:
        InvalidInputError: says why; never repeats the password.
    """
    if not _is_storable(password):
        raise _refused(f"is longer than {MOST_BYTES} bytes, or no text")
    folded = normalized(password).casefold()
    if len(normalized(password)) < LEAST_CHARACTERS:
        raise _refused(f"is shorter than {LEAST_CHARACTERS} characters")
    if len(set(folded)) < _LEAST_DIFFERENT:
        raise _refused(f"has fewer than {_LEAST_DIFFERENT} different characters")
    if folded in COMMON:
        raise _refused("is one of those that everybody tries first")
    if _without_decoration(folded) in {name.casefold(), name.casefold().partition("@")[0]}:
        raise _refused("is the user's own name")


def _is_storable(password: str) -> bool:
    try:
        return len(password) <= MOST_BYTES and len(normalized(password).encode()) <= MOST_BYTES
    except UnicodeEncodeError:  # half of a surrogate pair
        return False


def _without_decoration(text: str) -> str:
    """``anna2024!`` is a name too."""
    return text.strip("0123456789!?.,-_#*+$ ")


def _is_password(stored: str, password: str) -> bool:
    try:
        return HASHER.verify(stored, normalized(password))
    except argon2.exceptions.VerifyMismatchError:
        return False


def _refused(why: str) -> InvalidInputError:
    return InvalidInputError(f"password: {why}", hint="several unrelated words make a good one")
