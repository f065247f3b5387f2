"""Chance nobody can foresee: from the operating system's generator, fit for secrets.

A run that is tried again draws again.
"""

from __future__ import annotations

import base64
from typing import Any

from picloud.engine.sdk.context import RunContext
from picloud.engine.sdk.description import SdkModule
from picloud.engine.sdk.errors import ArgumentError

RANDOM = SdkModule("random", __doc__)

#: No script may have more in one value anyway; asked first, so that nobody makes us build a gigabyte.
_MOST = 1 << 20


@RANDOM.function(name="int")
def integer(run: RunContext, low: int, high: int) -> int:
    """An integer from `low` to `high`, both included.

    Throws:
        invalid_input: `low` is greater than `high`.

    Example:
        let eyes = random::int(1, 6);
        1 <= eyes && eyes <= 6  // true
    """
    if low > high:
        raise ArgumentError(f"the lowest must come first: {low} is greater than {high}")
    return run.chance.randint(low, high)


@RANDOM.function(name="float")
def number(run: RunContext) -> float:
    """A number from 0 up to, and without, 1.

    Example:
        random::float() < 1.0  // true
    """
    return run.chance.random()


@RANDOM.function(name="bytes")
def raw(run: RunContext, count: int) -> bytes:
    """A blob of `count` bytes.

    Throws:
        invalid_input: `count` is negative or more than 1,048,576.

    Example:
        random::bytes(16).len  // 16
    """
    return run.chance.randbytes(_checked(count))


@RANDOM.function
def token(run: RunContext, length: int = 32) -> str:
    """Text of `length` characters out of `A-Z a-z 0-9 - _`, 6 bits of chance in each; 32 characters are a good secret.

    Throws:
        invalid_input: `length` is negative or more than 1,048,576.

    Example:
        random::token(20).len  // 20
    """
    return base64.urlsafe_b64encode(run.chance.randbytes(_checked(length) * 3 // 4 + 1)).decode()[:length]


@RANDOM.function
def choice(run: RunContext, items: list[Any]) -> Any:
    """One of the items.

    Throws:
        invalid_input: there are none.

    Example:
        random::choice(["a", "b"]) in ["a", "b"]  // true
    """
    if not items:
        raise ArgumentError("there is nothing to choose from")
    return run.chance.choice(items)


@RANDOM.function
def shuffle(run: RunContext, items: list[Any]) -> list[Any]:
    """The items in a random order, as a new array.

    Example:
        random::shuffle([1, 2, 3]).len  // 3
    """
    return run.chance.sample(items, len(items))


def _checked(count: int) -> int:
    if not 0 <= count <= _MOST:
        raise ArgumentError(f"a number from 0 to {_MOST} is expected, not {count}")
    return count
