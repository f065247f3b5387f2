"""Ids of executions (UUIDv7) and the day each belongs to.

The writer makes the id, so that an ambiguous COMMIT can be sent again under the
same one. The first 48 bits are Unix milliseconds (RFC 9562, section 5.7): ids
sort by time, and the payload's partition is found from the id alone.
"""

from __future__ import annotations

import datetime as dt
import os
import time
import uuid

_EPOCH = dt.date(1970, 1, 1)
_MS_PER_DAY = 86_400_000


def new_id() -> uuid.UUID:
    """A UUIDv7 of this moment; ids made in one millisecond are in no order."""
    return id_of(time.time_ns() // 1_000_000, int.from_bytes(os.urandom(10), "big"))


def id_of(milliseconds: int, random_bits: int) -> uuid.UUID:
    """The UUIDv7 of an instant, in Unix milliseconds, and 80 random bits."""
    value = (
        milliseconds << 80 | 0x7 << 76 | (random_bits >> 62 & 0xFFF) << 64 | 0b10 << 62 | random_bits & (1 << 62) - 1
    )
    return uuid.UUID(int=value)


def day_of(identifier: uuid.UUID) -> dt.date:
    """The UTC day on which a UUIDv7 was made: the partition of its payload."""
    return _EPOCH + dt.timedelta(days=(identifier.int >> 80) // _MS_PER_DAY)


def parse_id(text: str) -> uuid.UUID | None:
    """The id in ``text``, or None when it is not one."""
    try:
        return uuid.UUID(text)
    except ValueError:
        return None
