"""Keys and values of the app: what one run leaves, the next one finds.

A run sees what is committed, and over it what it has written itself. Its writes commit together with its end, with
everything else it did, or never. When another run changed a key that this one has read, this one runs again from the
start: nothing of the first try has happened.
"""

from __future__ import annotations

import json
from typing import Any, TypedDict

import rhai

from picloud.engine.sdk.context import RunContext
from picloud.engine.sdk.description import SdkModule, offered
from picloud.engine.sdk.options import read_options
from picloud.services.kv import KvBuffer

KV = SdkModule("kv", __doc__)


class SetOptions(TypedDict, total=False):
    """How long a key stays.

    Attributes:
        ttl_seconds: from the end of the run on; then the key is absent.
    """

    ttl_seconds: float


class ListOptions(TypedDict, total=False):
    """Which keys.

    Attributes:
        prefix: what they begin with.
        after: they come after this key; the last one of the page before.
        limit: 1 to 500, 100 when not given.
    """

    prefix: str
    after: str
    limit: int


@KV.host_type
class Collection:
    """Keys and values under one name."""

    __slots__ = ("_kv", "_name")

    def __init__(self, kv: KvBuffer, name: str) -> None:
        self._kv = kv
        self._name = name

    @offered
    def get(self, key: str, otherwise: Any = None) -> Any:
        """The value of a key; `otherwise` (or `()`) when it is absent.

        Example:
            let visits = kv::collection("visits").get("home", 0);
        """
        value = self._kv.get(self._name, key)
        return otherwise if value is None else rhai.Json(value)

    @offered
    def set(self, key: str, value: rhai.Json, options: SetOptions | None = None) -> None:
        """Leave a value under a key: anything that has a JSON form.

        Throws:
            value_too_large: it has more bytes than this installation allows.
            quota_exceeded: the app would keep more than it may.

        Example:
            kv::collection("sessions").set("s1", #{ user: 7 }, #{ ttl_seconds: 3600 });
        """
        ttl = read_options(options or {}, SetOptions).get("ttl_seconds")
        self._kv.set(self._name, key, value.data, None if ttl is None else round(ttl * 1_000))

    @offered
    def delete(self, key: str) -> bool:
        """Remove a key; whether it was there."""
        return self._kv.delete(self._name, key)

    @offered
    def has(self, key: str) -> bool:
        """Whether a key is there."""
        return self._kv.has(self._name, key)

    @offered
    def keys(self, prefix: str = "") -> list[str]:
        """All keys that begin with `prefix`, in order; at most 500.

        Throws:
            too_many_keys: there are more; `list` returns them page by page.
        """
        return self._kv.keys(self._name, prefix)

    @offered
    def list(self, options: ListOptions | None = None) -> Any:
        """Keys with their values, in order: an array of `#{ key, value }`.

        A listing does not notice keys that others add while the run goes on.

        Example:
            for entry in kv::collection("orders").list(#{ prefix: "2026-", limit: 20 }) {
                print(`${entry.key}: ${entry.value}`);
            }
        """
        wanted = read_options(options or {}, ListOptions)
        entries = self._kv.entries(self._name, wanted.get("prefix", ""), wanted.get("after"), wanted.get("limit", 100))
        return rhai.Json(
            b"[%s]" % b",".join(b'{"key":%s,"value":%s}' % (json.dumps(key).encode(), value) for key, value in entries)
        )

    @offered
    def increment(self, key: str, by: int = 1) -> int:
        """Add to a whole number and return the sum; an absent key counts from 0, a time to live goes on.

        Throws:
            invalid_input: the key holds something else, or the sum has no place in 64 bits.

        Example:
            let number = kv::collection("counters").increment("orders");
        """
        return self._kv.increment(self._name, key, by)


@KV.function
def collection(run: RunContext, name: str) -> Collection:
    """The collection of this name; it need not exist before.

    Example:
        let users = kv::collection("users");
    """
    return Collection(run.services.kv, name)
