"""The key-value store as one run sees it: what is committed, and over it what the run has written itself.

Reads go to the database once a key and are remembered with their version, so
that the end of the run can tell whether they still hold; writes go to a buffer
and nowhere else. A listing notes the version of every key it returns, but not
that there were no others: a key that somebody adds meanwhile is no conflict.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from picloud.errors import InvalidInputError, LimitExceededError
from picloud.services.effects import MOST_BYTES, MOST_KEYS, KeyId, KvWrite
from picloud.triggers.globs import wrong_name

MAX_KEY_BYTES = 1_024
#: What one listing returns at most; `after` goes on from there.
MAX_LISTED = 500

#: Whole numbers of the script engine have 64 bits.
_LEAST, _MOST = -(2**63), 2**63 - 1
#: A hundred years: what is meant to stay has no time to live.
_MOST_TTL_MS = 100 * 366 * 86_400_000

#: PostgreSQL stores no U+0000, and the end of a listing is told by U+10FFFF.
_UNFIT = frozenset("\0\U0010ffff")

_WHOLE_NUMBER = re.compile(rb"-?\d+")


class Stored(NamedTuple):
    """A key as it is in the database.

    Attributes:
        value: JSON; None: absent, or its time has passed.
        version: 0: there is no row at all.
    """

    value: bytes | None
    version: int
    expires_at: dt.datetime | None = None


ABSENT = Stored(None, 0)


class Usage(NamedTuple):
    """What an app keeps, or may keep."""

    keys: int
    bytes: int


class KvStore(Protocol):
    """What a buffer needs of the database."""

    def read(self, key: KeyId) -> Stored:
        """The key as it is committed now."""
        ...

    def page(
        self, app_id: int, collection: str, prefix: str, after: str | None, limit: int
    ) -> list[tuple[str, Stored]]:
        """Living keys that begin with ``prefix`` and come after ``after``, in the order of their bytes."""
        ...

    def usage(self, app_id: int) -> Usage:
        """What the app keeps; may lag a few seconds while that is far below its quota."""
        ...


@dataclass(frozen=True, slots=True)
class KvLimits:
    """Quotas of each app."""

    max_keys: int
    max_bytes: int
    max_value_bytes: int


@dataclass(slots=True)
class Overlay:
    """What earlier runs of a chain have written and will commit together with this one."""

    writes: dict[KeyId, KvWrite] = field(default_factory=dict[KeyId, KvWrite])


class KvBuffer:
    """The store of one app, for one run. Belongs to the thread that runs it."""

    __slots__ = ("_app_id", "_growth", "_limits", "_overlay", "_size", "_store", "_values", "reads", "writes")

    def __init__(self, app_id: int, store: KvStore, limits: KvLimits, overlay: Overlay | None = None) -> None:
        self._app_id = app_id
        self._store = store
        self._limits = limits
        self._overlay = overlay.writes if overlay else {}
        self._values: dict[KeyId, Stored] = {}
        self._size = 0
        self._growth: dict[KeyId, Usage] = {}
        self.reads: dict[KeyId, int] = {}
        self.writes: dict[KeyId, KvWrite] = {}

    def get(self, collection: str, key: str) -> bytes | None:
        """The value as JSON, or None when the key is absent."""
        return self._now(self._key(collection, key)).value

    def set(self, collection: str, key: str, value: bytes, ttl_ms: int | None = None) -> None:
        """Leave ``value`` (JSON) under the key.

        Args:
            ttl_ms: milliseconds from the commit on; None: it stays, also when it had a time to live before.
        """
        if ttl_ms is not None and not 0 < ttl_ms <= _MOST_TTL_MS:
            raise InvalidInputError(
                f"ttl_seconds must be more than 0 and at most a hundred years, not {ttl_ms / 1000:g}"
            )
        self._write(self._key(collection, key), KvWrite(value, ttl_ms))

    def delete(self, collection: str, key: str) -> bool:
        """Remove the key; whether it was there."""
        name = self._key(collection, key)
        was_there = self._now(name).value is not None
        if was_there:
            self._write(name, KvWrite(None))
        return was_there

    def has(self, collection: str, key: str) -> bool:
        return self.get(collection, key) is not None

    def increment(self, collection: str, key: str, by: int) -> int:
        """Add to a whole number (absent: 0) and return the sum; a time to live goes on."""
        name = self._key(collection, key)
        found = self._now(name)
        if found.value is not None and not _WHOLE_NUMBER.fullmatch(found.value):
            raise InvalidInputError(f"{collection}/{key} holds {_shortened(found.value)}, not a whole number")
        total = int(found.value or b"0") + by
        if not _LEAST <= total <= _MOST:
            raise InvalidInputError(f"{collection}/{key} would leave the range of 64 bits")
        earlier = self.writes.get(name) or self._overlay.get(name)
        ttl_ms = earlier.ttl_ms if earlier else None
        self._write(name, KvWrite(b"%d" % total, ttl_ms, found.expires_at))
        return total

    def entries(
        self, collection: str, prefix: str = "", after: str | None = None, limit: int = 100
    ) -> list[tuple[str, bytes]]:
        """Keys that begin with ``prefix`` and come after ``after``, with their values, in the order of their bytes.

        Args:
            limit: 1 to ``MAX_LISTED``.
        """
        if not 1 <= limit <= MAX_LISTED:
            raise InvalidInputError(f"limit is 1 to {MAX_LISTED}, not {limit}")
        self._check_collection(collection)
        found: list[tuple[str, bytes]] = []
        for key, value in self._merged(collection, prefix, after, limit):
            found.append((key, value))
            if len(found) == limit:
                break
        return found

    def keys(self, collection: str, prefix: str = "") -> list[str]:
        """All keys that begin with ``prefix``.

        Raises:
            LimitExceededError: more than ``MAX_LISTED``; ``entries`` returns them page by page.
        """
        self._check_collection(collection)
        found: list[str] = []
        for key, _ in self._merged(collection, prefix, None, MAX_LISTED):
            if len(found) == MAX_LISTED:
                raise LimitExceededError(
                    f"more than {MAX_LISTED} keys of {collection} begin with {prefix!r}: list them page by page",
                    code="too_many_keys",
                )
            found.append(key)
        return found

    def _merged(self, collection: str, prefix: str, after: str | None, page: int) -> Iterator[tuple[str, bytes]]:
        """What is committed and what is written here, key by key in order."""
        own = {**self._overlay, **self.writes}
        pending = sorted(
            name.key
            for name in own
            if name.app_id == self._app_id
            and name.collection == collection
            and name.key.startswith(prefix)
            and (after is None or name.key > after)
        )
        pending.reverse()
        for key, stored in self._committed(collection, prefix, after, page):
            while pending and pending[-1] < key:
                yield from self._own(own, collection, pending.pop())
            if pending and pending[-1] == key:
                yield from self._own(own, collection, pending.pop())
            elif stored.value is not None:
                self._remember(KeyId(self._app_id, collection, key), stored)
                yield key, stored.value
        while pending:
            yield from self._own(own, collection, pending.pop())

    def _own(self, own: dict[KeyId, KvWrite], collection: str, key: str) -> Iterator[tuple[str, bytes]]:
        value = own[KeyId(self._app_id, collection, key)].value
        if value is not None:
            yield key, value

    def _committed(self, collection: str, prefix: str, after: str | None, page: int) -> Iterator[tuple[str, Stored]]:
        while rows := self._store.page(self._app_id, collection, prefix, after, page + 1):
            yield from rows
            if len(rows) <= page:
                return
            after = rows[-1][0]

    def _now(self, name: KeyId) -> Stored:
        """The key as this run sees it."""
        write = self.writes.get(name) or self._overlay.get(name)
        if write is not None:
            return Stored(write.value, 0, write.expires_at)
        known = self._values.get(name)
        if known is None:
            known = self._store.read(name)
            self._remember(name, known)
        return known

    def _remember(self, name: KeyId, stored: Stored) -> None:
        if name not in self.reads:
            self._make_room(name)
            self.reads[name] = stored.version
            self._values[name] = stored

    def _write(self, name: KeyId, write: KvWrite) -> None:
        if write.value is not None and len(write.value) > self._limits.max_value_bytes:
            raise LimitExceededError(
                f"the value for {name.collection}/{name.key} has {len(write.value)} bytes,"
                f" more than PICLOUD_KV_MAX_VALUE_BYTES ({self._limits.max_value_bytes}) allows",
                code="value_too_large",
            )
        self._make_room(name)
        earlier = self.writes.get(name)
        self._size += len(write.value or b"") - len(earlier.value or b"" if earlier else b"")
        if self._size > MOST_BYTES:
            raise LimitExceededError(f"one run may write {MOST_BYTES} bytes to kv", code="too_many_effects")
        if write.value is None:
            self._growth.pop(name, None)
        else:
            self._check_quota(name, write.value)
        # The last write of a key decides its place among the others.
        self.writes.pop(name, None)
        self.writes[name] = write

    def _make_room(self, name: KeyId) -> None:
        if name in self.reads or name in self.writes:
            return
        if len(self.reads.keys() | self.writes.keys()) >= MOST_KEYS:
            raise LimitExceededError(f"one run may read and write {MOST_KEYS} keys", code="too_many_effects")

    def _check_quota(self, name: KeyId, value: bytes) -> None:
        """Refuse a write that would make the app keep more than it may.

        A key that was not read counts as new; only when that would be too much, what is there is looked at.
        """
        used = self._store.usage(self._app_id)
        self._growth[name] = self._grown(name, value, self._values.get(name, ABSENT))
        if self._fits(used):
            return
        for each in self._growth:
            if each not in self._values:
                written = value if each == name else self.writes[each].value
                self._growth[each] = self._grown(each, written, self._store.read(each))
        if not self._fits(used):
            raise LimitExceededError(
                f"the app keeps {used.keys} keys and {used.bytes} bytes; this installation allows"
                f" {self._limits.max_keys} (PICLOUD_KV_MAX_KEYS) and {self._limits.max_bytes} (PICLOUD_KV_MAX_BYTES)",
                code="quota_exceeded",
            )

    def _fits(self, used: Usage) -> bool:
        keys = sum(each.keys for each in self._growth.values())
        size = sum(each.bytes for each in self._growth.values())
        too_many = keys > 0 and used.keys + keys > self._limits.max_keys
        return not too_many and not (size > 0 and used.bytes + size > self._limits.max_bytes)

    @staticmethod
    def _grown(name: KeyId, value: bytes | None, before: Stored) -> Usage:
        """What writing ``value`` adds to what the app keeps."""
        key_bytes = len(name.key.encode())
        old = 0 if before.value is None else key_bytes + len(before.value)
        new = 0 if value is None else key_bytes + len(value)
        return Usage((value is not None) - (before.value is not None), new - old)

    def _key(self, collection: str, key: str) -> KeyId:
        self._check_collection(collection)
        if not key or not _UNFIT.isdisjoint(key) or len(key.encode()) > MAX_KEY_BYTES:
            raise InvalidInputError(
                f"a key has 1 to {MAX_KEY_BYTES} bytes, neither U+0000 nor U+10FFFF, not {_shortened(key.encode())}"
            )
        return KeyId(self._app_id, collection, key)

    @staticmethod
    def _check_collection(collection: str) -> None:
        wrong = wrong_name("collection", collection)
        if wrong:
            raise InvalidInputError(wrong)


def _shortened(text: bytes) -> str:
    shown = text[:60].decode("utf-8", "replace")
    return repr(shown + "…" if len(text) > 60 else shown)
