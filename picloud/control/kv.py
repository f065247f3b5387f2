"""The key-value store of an app as people and programs see and change it.

A write takes the same lock and fires the same triggers as one of a script; see
``kv_write_v1`` in the schema. Scripts have their own way to the store
(``picloud.services.kv``): what they write waits for the end of their run.
"""

from __future__ import annotations

import datetime as dt
from typing import Any, NamedTuple

import msgspec

from picloud.control.apps import find_app, hold_app
from picloud.control.pages import Page, page_of
from picloud.control.records import Connection, fetch_all, fetch_row, fetch_rows, stored_json
from picloud.errors import ConflictError, InvalidInputError, LimitExceededError, NotFoundError
from picloud.queries import Queries
from picloud.services.kv import MAX_KEY_BYTES, KvLimits
from picloud.triggers.globs import wrong_name

_SQL = Queries("kv")

#: Conditions of a write, beside the version that must be there.
ABSENT, PRESENT = 0, -1

#: Writes by the API that can be under way for one app at a moment: more than the web processes have connections.
_MOST_AT_ONCE = 100

#: A page with values ends when it has become as large as this.
_MOST_PAGE_BYTES = 4 * 1024 * 1024


class Collection(msgspec.Struct, frozen=True):
    """A collection and how much it holds; one without keys does not exist."""

    name: str
    keys: int
    #: Of keys and values.
    bytes: int


class StoredKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key of a collection; ``bytes`` are those of its value, which is there when it was asked for."""

    key: str
    version: int
    bytes: int
    expires_at: dt.datetime | None
    updated_at: dt.datetime
    value: Any = msgspec.UNSET


class Entry(msgspec.Struct, frozen=True):
    """What lies under a key."""

    value: Any
    version: int
    expires_at: dt.datetime | None


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """What a write has made.

    Attributes:
        created: the key was not there before.
        fired: how many executions its triggers have begun.
    """

    collection: str
    key: str
    version: int
    created: bool
    fired: int


async def list_collections(connection: Connection, app_name: str, *, limit: int, after: str | None) -> Page[Collection]:
    """By name, in the order of bytes. Raises: NotFoundError: there is no such app."""
    app = await find_app(connection, app_name)
    parameters = {"app_id": app.id, "after": after or "", "limit": limit + 1}
    rows = await fetch_all(connection, _SQL.collections, parameters, Collection)
    return page_of(rows, limit, lambda collection: collection.name)


async def list_keys(
    connection: Connection,
    app_name: str,
    collection: str,
    *,
    prefix: str,
    with_values: bool,
    limit: int,
    after: str | None,
) -> Page[StoredKey]:
    """Keys that begin with ``prefix``, in the order of their bytes; a page with values may be shorter than ``limit``.

    Raises:
        NotFoundError: there is no such app. A collection that is not there has no keys.
        InvalidInputError: no collection could have this name.
    """
    _check_collection(collection)
    app = await find_app(connection, app_name)
    parameters = {
        "app_id": app.id,
        "collection": collection,
        "prefix": prefix,
        "after": after or "",
        "limit": limit + 1,
        "with_values": with_values,
        "most_bytes": _MOST_PAGE_BYTES,
    }
    rows = await fetch_rows(connection, _SQL.keys, parameters)
    items = [_key(row, with_values=with_values) for row in rows[:limit]]
    return Page(items, items[-1].key if items and rows[0].found > len(items) else None)


async def read_entry(connection: Connection, app_name: str, collection: str, key: str) -> Entry:
    """Raises: NotFoundError: there is no such app, or the key is not there."""
    _check_names(collection, key)
    app = await find_app(connection, app_name)
    row = await fetch_row(connection, _SQL.entry, _Place(app.id, collection, key)._asdict())
    if row is None:
        raise _no_key(collection, key)
    return Entry(stored_json(row.value), row.version, row.expires_at)


async def write_entry(
    connection: Connection,
    app_name: str,
    collection: str,
    key: str,
    value: bytes,
    limits: KvLimits,
    *,
    ttl_ms: int | None = None,
    if_version: int | None = None,
) -> Written:
    """Leave ``value`` under the key, and fire the triggers of that. Call it in a transaction of its own.

    Args:
        value: JSON, without space around it.
        ttl_ms: how long it stays; None: for ever, whatever was there before.
        if_version: the version that must be there, or ``ABSENT`` or ``PRESENT``; None: whatever is there.

    Raises:
        NotFoundError: there is no such app.
        InvalidInputError: the names cannot be used; ``value_too_large``.
        ConflictError: ``precondition_failed``: another version is there.
        LimitExceededError: ``quota_exceeded``: the app would keep more than it may.
    """
    _check_names(collection, key)
    if len(value) > limits.max_value_bytes:
        raise InvalidInputError(
            f"the value has {len(value)} bytes, more than PICLOUD_KV_MAX_VALUE_BYTES ({limits.max_value_bytes}) allows",
            code="value_too_large",
        )
    place = await _held_place(connection, app_name, collection, key)
    await _check_quota(connection, place, value, limits)
    row = await _write(connection, place, value, ttl_ms, if_version)
    return Written(
        collection=collection, key=key, version=row.version, created=row.old_version == ABSENT, fired=row.fired
    )


async def delete_entry(
    connection: Connection, app_name: str, collection: str, key: str, *, if_version: int | None = None
) -> int:
    """Remove the key; how many executions its triggers have begun. Call it in a transaction of its own.

    Raises:
        NotFoundError: there is no such app, or the key is not there.
        ConflictError: ``precondition_failed``: another version is there.
    """
    _check_names(collection, key)
    place = await _held_place(connection, app_name, collection, key)
    row = await _write(connection, place, None, None, if_version)
    if row.old_version == ABSENT:
        raise _no_key(collection, key)
    return int(row.fired)


class _Place(NamedTuple):
    """Names a key among those of all apps."""

    app_id: int
    collection: str
    key: str


async def _held_place(connection: Connection, app_name: str, collection: str, key: str) -> _Place:
    """Where the key lies, in an app that is not removed before this transaction ends."""
    return _Place((await hold_app(connection, app_name)).id, collection, key)


async def _write(
    connection: Connection, place: _Place, value: bytes | None, ttl_ms: int | None, if_version: int | None
) -> Any:
    parameters = place._asdict() | {"data": value, "ttl_ms": ttl_ms, "if_version": if_version}
    row = await fetch_row(connection, _SQL.write, parameters)
    assert row is not None, "kv_write_v1 answers one row"
    if not row.is_written:
        found = f"is there, at version {row.old_version}" if row.old_version else "is not there"
        raise ConflictError(f"{place.collection}/{place.key} {found}", code="precondition_failed")
    return row


async def _check_quota(connection: Connection, place: _Place, value: bytes, limits: KvLimits) -> None:
    """Refuse a write that would make the app keep more than it may.

    Near a quota writers of an app wait for each other, so that together they do not pass it. Far from it they do not:
    every write would wait for the commit of the one before. Runs are not waited for; see docs/configuration.md.
    """
    used = await _usage(connection, place)
    if (
        limits.max_keys - used.keys < _MOST_AT_ONCE
        or limits.max_bytes - used.bytes < _MOST_AT_ONCE * limits.max_value_bytes
    ):
        await connection.execute(_SQL.lock_quota, place._asdict())
        # Again, in a statement of its own: it sees what was committed before the lock was granted.
        used = await _usage(connection, place)
    grown_keys = 1 if used.stored_bytes is None else 0
    grown_bytes = len(place.key.encode()) + len(value) - (used.stored_bytes or 0)
    if grown_keys and used.keys + grown_keys > limits.max_keys:
        raise _quota_exceeded(f"{used.keys} keys", "PICLOUD_KV_MAX_KEYS", limits.max_keys)
    if grown_bytes > 0 and used.bytes + grown_bytes > limits.max_bytes:
        raise _quota_exceeded(
            f"{used.bytes} bytes and would keep {grown_bytes} more", "PICLOUD_KV_MAX_BYTES", limits.max_bytes
        )


async def _usage(connection: Connection, place: _Place) -> Any:
    used = await fetch_row(connection, _SQL.usage, place._asdict())
    assert used is not None, "a sum is always there"
    return used


def _quota_exceeded(used: str, setting: str, allowed: int) -> LimitExceededError:
    return LimitExceededError(f"the app keeps {used}; {setting} allows {allowed}", code="quota_exceeded")


def _key(row: Any, *, with_values: bool) -> StoredKey:
    return StoredKey(
        key=row.key,
        version=row.version,
        bytes=row.bytes,
        expires_at=row.expires_at,
        updated_at=row.updated_at,
        value=stored_json(row.value) if with_values else msgspec.UNSET,
    )


def _check_names(collection: str, key: str) -> None:
    _check_collection(collection)
    if wrong := wrong_key(key):
        raise InvalidInputError(wrong)


def _check_collection(collection: str) -> None:
    if wrong := wrong_name("collection", collection):
        raise InvalidInputError(wrong)


def wrong_key(key: str) -> str | None:
    """Why ``key`` cannot be a key, or None; the rule is that of ``picloud.services.kv``."""
    try:
        size = len(key.encode())
    except UnicodeEncodeError:  # a lone surrogate
        size = 0
    if 0 < size <= MAX_KEY_BYTES and "\0" not in key and "\U0010ffff" not in key:
        return None
    return f"a key has 1 to {MAX_KEY_BYTES} bytes, neither U+0000 nor U+10FFFF, not {key[:60]!r}"


def _no_key(collection: str, key: str) -> NotFoundError:
    return NotFoundError(f"there is no {collection}/{key}")
