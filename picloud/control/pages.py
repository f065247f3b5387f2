"""Lists as pages: what fits, and a cursor that says where the next page starts.

A cursor names the last item handed out by its own sort key, never by its number in the
list: rows that arrive or leave in between neither repeat an item nor hide one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar
from uuid import UUID

import msgspec

from picloud.errors import InvalidInputError
from picloud.ids import parse_id

Item = TypeVar("Item")

DEFAULT_LIMIT = 50
MAX_LIMIT = 1_000


class Page(msgspec.Struct, Generic[Item], frozen=True):
    """Some items, and the cursor (``?after=``) of the page that follows; None: there is none."""

    items: list[Item]
    next: str | None


def page_of(rows: Sequence[Item], limit: int, key: Callable[[Item], object]) -> Page[Item]:
    """A page of at most ``limit`` of ``rows``, which were read with one more to see whether there is more."""
    items = list(rows[:limit])
    return Page(items, str(key(items[-1])) if len(rows) > limit else None)


def int_cursor(after: str | None) -> int | None:
    """The cursor of a list sorted by a number."""
    if after is None:
        return None
    if not after.isdecimal() or len(after) > 9:
        raise _wrong_cursor()
    return int(after)


def id_cursor(after: str | None) -> UUID | None:
    """The cursor of a list sorted by id."""
    if after is None:
        return None
    found = parse_id(after)
    if found is None:
        raise _wrong_cursor()
    return found


def _wrong_cursor() -> InvalidInputError:
    return InvalidInputError("after: not a cursor of this list", hint="pass the `next` of an earlier page unchanged")
