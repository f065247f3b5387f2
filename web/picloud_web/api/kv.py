"""The key-value store of an app: one JSON value under each key of a collection.

Collection and key are percent-encoded in the path; a key may also hold slashes as they are.
"""

import re
from typing import Annotated, Any

import msgspec

from picloud.access import Capability
from picloud.control import kv
from picloud.control.kv import ABSENT, PRESENT, Collection, StoredKey, Written
from picloud.control.pages import Page
from picloud.errors import InvalidInputError
from picloud.services.kv import KvLimits
from picloud.settings import MIB
from picloud_web.api.endpoints import Call, Endpoints
from picloud_web.api.inputs import Input, Paging, Text

api = Endpoints("key-value store")

#: No PICLOUD_KV_MAX_VALUE_BYTES is larger.
_MAX_VALUE_BYTES = 8 * MIB
_HUNDRED_YEARS_SECONDS = 100 * 366 * 86_400

_ETAG = re.compile(r'"([1-9][0-9]{0,18})"')


class KeyFilters(Paging, frozen=True, kw_only=True):
    """A page of keys."""

    prefix: Text = ""
    values: Annotated[bool, msgspec.Meta(description="With their values; a page may then be shorter.")] = False


class Lifetime(Input, frozen=True):
    """How long a key stays; without `ttl_seconds` for ever."""

    ttl_seconds: Annotated[float, msgspec.Meta(ge=0.001, le=_HUNDRED_YEARS_SECONDS)] | None = None


class Conditions(Input, frozen=True):
    """What must be there for a change to be made (RFC 9110, section 13.1)."""

    if_match: Annotated[Text, msgspec.Meta(description="The version it must have, as `ETag` gives it.")] | None = (
        msgspec.field(default=None, name="If-Match")
    )
    if_none_match: Annotated[Text, msgspec.Meta(description="`*`: only where nothing is.")] | None = msgspec.field(
        default=None, name="If-None-Match"
    )


@api.get("/apps/{app}/kv", needs=Capability.APP_READ_DATA)
async def list_collections(call: Call, query: Paging) -> Page[Collection]:
    """The collections of an app, by name, with how much they hold."""
    async with call.reading() as connection:
        return await kv.list_collections(connection, call.app, limit=query.limit, after=query.after)


@api.get("/apps/{app}/kv/{collection:segment}", needs=Capability.APP_READ_DATA)
async def list_entries(call: Call, query: KeyFilters) -> Page[StoredKey]:
    """The keys of a collection, in the order of their bytes."""
    async with call.reading() as connection:
        return await kv.list_keys(
            connection,
            call.app,
            call.path["collection"],
            prefix=query.prefix,
            with_values=query.values,
            limit=query.limit,
            after=query.after,
        )


@api.get("/apps/{app}/kv/{collection:segment}/{key:path}", needs=Capability.APP_READ_DATA)
async def show_entry(call: Call) -> Any:
    """The value under a key; its version is the `ETag`."""
    async with call.reading() as connection:
        entry = await kv.read_entry(connection, call.app, call.path["collection"], call.path["key"])
    call.headers["ETag"] = f'"{entry.version}"'
    return entry.value


@api.put(
    "/apps/{app}/kv/{collection:segment}/{key:path}",
    needs=Capability.APP_WRITE_DATA,
    statuses=(200, 201),
    max_body_bytes=_MAX_VALUE_BYTES,
)
async def put_entry(call: Call, query: Lifetime, headers: Conditions, body: msgspec.Raw) -> Written:
    """Leave a JSON value under a key, and fire the triggers of that.

    `If-Match: "version"` writes only over that version, `If-None-Match: *` only where nothing is; else 412.
    """
    settings = call.services.settings
    ttl_ms = None if query.ttl_seconds is None else round(query.ttl_seconds * 1_000)
    async with call.transaction() as connection:
        written = await kv.write_entry(
            connection,
            call.app,
            call.path["collection"],
            call.path["key"],
            bytes(body),
            KvLimits(settings.kv_max_keys, settings.kv_max_bytes, settings.kv_max_value_bytes),
            ttl_ms=ttl_ms,
            if_version=_wanted_version(headers),
        )
        call.entry.after = {"version": written.version, "bytes": len(body)}
    if written.fired:
        await call.wake_relay()
    call.headers["ETag"] = f'"{written.version}"'
    call.status = 201 if written.created else 200
    return written


@api.delete("/apps/{app}/kv/{collection:segment}/{key:path}", needs=Capability.APP_WRITE_DATA)
async def remove_entry(call: Call, headers: Conditions) -> None:
    """Remove a key, and fire the triggers of that. `If-Match: "version"` removes only that version."""
    async with call.transaction() as connection:
        fired = await kv.delete_entry(
            connection, call.app, call.path["collection"], call.path["key"], if_version=_wanted_version(headers)
        )
    if fired:
        await call.wake_relay()


def _wanted_version(headers: Conditions) -> int | None:
    """The version that must be there.

    Raises:
        InvalidInputError: they say something that makes no sense here.
    """
    if_match, if_none_match = headers.if_match, headers.if_none_match
    if if_match is not None and if_none_match is not None:
        raise InvalidInputError("If-Match and If-None-Match exclude each other")
    if if_none_match is not None:
        if if_none_match.strip() != "*":
            raise InvalidInputError("If-None-Match: only * is understood: write where nothing is")
        return ABSENT
    if if_match is None:
        return None
    if if_match.strip() == "*":
        return PRESENT
    version = _ETAG.fullmatch(if_match.strip())
    if version is None or int(version[1]) >= 1 << 63:
        raise InvalidInputError('If-Match: expected * or one version as ETag gives it, as in "123"')
    return int(version[1])


ENDPOINTS = api.collected()
