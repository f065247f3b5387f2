"""API keys, and who one belongs to."""

import msgspec

from picloud.control import identity
from picloud.control.identity import Key, Principal
from picloud.control.pages import Page
from picloud_web.api.endpoints import Call, Endpoints
from picloud_web.api.inputs import Input, Instant, Name, Paging

api = Endpoints("keys")


class NewKey(Input, frozen=True):
    """A key to be made, for the principal who asks."""

    name: Name
    expires_at: Instant | None = None


class MadeKey(msgspec.Struct, frozen=True):
    """A new key. `key` is shown this once: only its hash is stored."""

    id: int
    name: str
    key: str
    details: Key


@api.get("/me")
async def show_me(call: Call) -> Principal:
    """Who the presented key belongs to."""
    return call.principal


@api.get("/keys")
async def list_keys(call: Call, query: Paging) -> Page[Key]:
    """All keys, newest first, without the keys themselves."""
    async with call.reading() as connection:
        return await identity.list_keys(connection, limit=query.limit, after=query.after)


@api.post("/keys", statuses=(201,))
async def create_key(call: Call, body: NewKey) -> MadeKey:
    """Make a key; the answer is the only time it is shown."""
    async with call.transaction() as connection:
        made, key = await identity.create_key(connection, call.principal, body.name, expires_at=body.expires_at)
    return MadeKey(made.id, made.name, key, made)


@api.get("/keys/{id:int}")
async def show_key(call: Call) -> Key:
    """One key, without the key itself."""
    async with call.reading() as connection:
        return await identity.read_key(connection, call.path["id"])


@api.delete("/keys/{id:int}", statuses=(200,))
async def revoke_key(call: Call) -> Key:
    """Revoke a key; it is refused from now on, everywhere."""
    async with call.transaction() as connection:
        return await identity.revoke_key(connection, call.path["id"])


ENDPOINTS = api.collected()
