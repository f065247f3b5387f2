"""API keys, and who the caller is."""

from typing import Annotated

import msgspec

from picloud.access import AppRole, Capability, InstanceRole, Scope
from picloud.control.pages import Page
from picloud.identity import key_rules, keys
from picloud.identity.key_rules import WantedKey
from picloud.identity.keys import Key
from picloud_web.api.endpoints import Call, Endpoints
from picloud_web.api.inputs import Input, Instant, Name, Paging, Text

api = Endpoints("keys")

Scopes = Annotated[list[Scope], msgspec.Meta(min_length=1, max_length=len(Scope))]


class Me(msgspec.Struct, frozen=True, kw_only=True):
    """Who is calling, and what the key or session that was presented is limited to.

    Attributes:
        key_id: null: it is a session.
        scopes: as they were given, without those they include.
        app: the one app the key is for; null: it is bound to none.
        apps: what the caller is in its apps; an admin of the installation is admin of every app, named or not.
    """

    id: int
    kind: str
    name: str
    role: InstanceRole
    credential: str
    key_id: int | None
    scopes: list[Scope]
    app: str | None
    apps: dict[str, AppRole]


class NewKey(Input, frozen=True, kw_only=True):
    """A key to be made. What is left out is as with the key that asks: a key makes none that may more than itself.

    Attributes:
        app: the one app it shall be for.
        principal: whom it shall belong to; for instance admins.
    """

    name: Name
    expires_at: Instant | None = None
    scopes: Scopes | None = None
    app: Text | None = None
    principal: Text | None = None


class NewAppKey(Input, frozen=True, kw_only=True):
    """A key for one app."""

    name: Name
    expires_at: Instant | None = None
    scopes: Scopes | None = None


class MadeKey(msgspec.Struct, frozen=True):
    """A new key. `key` is shown this once: only its hash is stored."""

    id: int
    name: str
    key: str
    details: Key


@api.get("/me", needs=Capability.SELF)
async def show_me(call: Call) -> Me:
    """Who is calling, and what they may."""
    caller = call.caller
    return Me(
        id=caller.principal.id,
        kind=caller.principal.kind,
        name=caller.principal.name,
        role=caller.principal.role,
        credential=caller.credential,
        key_id=caller.key_id,
        scopes=sorted(caller.scopes),
        app=caller.app,
        apps={name: each.role for name, each in caller.memberships.items() if caller.role_in(name)},
    )


@api.get("/keys", needs=Capability.SELF_MANAGE_KEYS)
async def list_keys(call: Call, query: Paging) -> Page[Key]:
    """Keys, newest first, without the keys themselves: the caller's own; for instance admins all."""
    async with call.reading() as connection:
        return await keys.list_keys(
            connection, limit=query.limit, after=query.after, **key_rules.visible_keys(call.caller)
        )


@api.post("/keys", needs=Capability.SELF_MANAGE_KEYS, statuses=(201,))
async def create_key(call: Call, body: NewKey) -> MadeKey:
    """Make a key; the answer is the only time it is shown."""
    return await _make(call, WantedKey(body.name, body.expires_at, body.scopes, body.app, body.principal))


@api.get("/keys/{id:int}", needs=Capability.SELF_MANAGE_KEYS)
async def show_key(call: Call) -> Key:
    """One key, without the key itself."""
    async with call.reading() as connection:
        return await keys.read_key(connection, call.path["id"], **key_rules.visible_keys(call.caller))


@api.delete("/keys/{id:int}", needs=Capability.SELF, statuses=(200,))
async def revoke_key(call: Call) -> Key:
    """Revoke a key; it is refused from now on, everywhere. Every key may revoke itself."""
    async with call.transaction() as connection:
        return await key_rules.revoke(connection, call.caller, call.path["id"])


@api.get("/apps/{app}/keys", needs=Capability.APP_MANAGE_KEYS)
async def list_app_keys(call: Call, query: Paging) -> Page[Key]:
    """The keys that are for one app, newest first, whoever they belong to."""
    async with call.reading() as connection:
        ids = await call.app_ids(connection)
        return await keys.list_keys(connection, limit=query.limit, after=query.after, app_id=ids[0] if ids else None)


@api.post("/apps/{app}/keys", needs=Capability.APP_MANAGE_KEYS, statuses=(201,))
async def create_app_key(call: Call, body: NewAppKey) -> MadeKey:
    """Make a key for one app, which belongs to the caller; the answer is the only time it is shown."""
    return await _make(call, WantedKey(body.name, body.expires_at, body.scopes, call.app))


@api.delete("/apps/{app}/keys/{id:int}", needs=Capability.APP_MANAGE_KEYS, statuses=(200,))
async def revoke_app_key(call: Call) -> Key:
    """Revoke a key of one app, whoever it belongs to."""
    async with call.transaction() as connection:
        ids = await call.app_ids(connection)
        return await keys.revoke_key(connection, call.path["id"], app_id=ids[0] if ids else None)


async def _make(call: Call, wanted: WantedKey) -> MadeKey:
    async with call.transaction() as connection:
        made, key = await key_rules.make_key(connection, call.caller, wanted)
        call.entry.object, call.entry.after = str(made.id), made
    return MadeKey(made.id, made.name, key, made)


ENDPOINTS = api.collected()
