"""Which keys a caller may make: none that may more, or lives longer, than what the caller presented.

A key that could make another one of its kind could not be taken back: whoever stole it would keep a copy that its
owner does not know. So only sessions and keys with an admin's scope make keys: those that have ``SelfManageKeys`` or,
for keys of an app, ``AppManageKeys``.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from picloud.access import ALL_SCOPES, Caller, Capability, Principal, Scope
from picloud.access.scopes import with_included
from picloud.control.apps import find_app
from picloud.control.records import Connection, fetch_row
from picloud.errors import InvalidInputError, PermissionDeniedError
from picloud.identity.keys import Key, KeyLimits, create_key, read_key, revoke_key
from picloud.identity.principals import find_principal
from picloud.queries import Queries

_SQL = Queries("identity")


@dataclass(frozen=True, slots=True)
class WantedKey:
    """A key somebody asks for; None: as the caller's own.

    Attributes:
        app: by its name.
        principal: by its name; only admins make keys of others.
    """

    name: str
    expires_at: dt.datetime | None = None
    scopes: list[Scope] | None = None
    app: str | None = None
    principal: str | None = None


async def make_key(connection: Connection, caller: Caller, wanted: WantedKey) -> tuple[Key, str]:
    """Make a key for the caller, or as an admin for somebody else.

    Args:
        connection: in a transaction of the caller's.

    Returns:
        The key as it may be shown, and the key itself.

    Raises:
        PermissionDeniedError: the key would be allowed more than the caller is.
        NotFoundError: there is no such app or principal, or not for this caller.
        InvalidInputError: it would have expired already.
    """
    scopes = frozenset(wanted.scopes) if wanted.scopes is not None else caller.scopes
    _check_scopes(caller, scopes)
    owner = await _owner(connection, caller, wanted.principal)
    app_id = await _app_id(connection, caller, wanted.app)
    expires_at = await _expiry(connection, caller, wanted.expires_at)
    return await create_key(connection, owner.id, wanted.name, KeyLimits(scopes, app_id, expires_at))


def _check_scopes(caller: Caller, scopes: frozenset[Scope]) -> None:
    beyond = with_included(scopes) - caller.effective_scopes
    if beyond:
        raise PermissionDeniedError(f"this key has not itself the scope {' and '.join(sorted(beyond & ALL_SCOPES))}")


async def revoke(connection: Connection, caller: Caller, key_id: int) -> Key:
    """Revoke a key of the caller's own, or as an admin one of somebody they manage. Every key may revoke itself.

    Raises:
        NotFoundError: there is no such key, or not for this caller.
        PermissionDeniedError: it belongs to somebody whom the caller does not manage.
    """
    if key_id != caller.key_id:
        caller.require(Capability.SELF_MANAGE_KEYS)
    key = await read_key(connection, key_id, **visible_keys(caller))
    if key.principal != caller.principal.name:
        await _managed(connection, caller, key.principal)
    return await revoke_key(connection, key_id)


def visible_keys(caller: Caller) -> dict[str, int | None]:
    """Which keys the caller may see: its own (with a key of one app, of that app); an admin everybody's."""
    if caller.may(Capability.INSTANCE_MANAGE_USERS):
        return {}
    return {"principal_id": caller.principal.id, "app_id": caller.app_id}


async def _owner(connection: Connection, caller: Caller, name: str | None) -> Principal:
    if name is None or name == caller.principal.name:
        return caller.principal
    caller.require(Capability.INSTANCE_MANAGE_USERS)
    return await _managed(connection, caller, name)


async def _managed(connection: Connection, caller: Caller, name: str) -> Principal:
    owner = await find_principal(connection, name)
    if not caller.principal.role.manages(owner.role):
        raise PermissionDeniedError(f"{name} is {owner.role}: only an owner makes or revokes keys of theirs")
    return owner


async def _app_id(connection: Connection, caller: Caller, name: str | None) -> int | None:
    if name is None:
        return caller.app_id
    caller.require(Capability.APP_READ, name)
    return (await find_app(connection, name)).id


async def _expiry(connection: Connection, caller: Caller, wanted: dt.datetime | None) -> dt.datetime | None:
    """When the key expires, by PostgreSQL's clock; a key that expires makes none that outlives it."""
    row = await fetch_row(
        connection,
        _SQL.expiry,
        {"wanted": wanted, "key_id": caller.key_id},
    )
    assert row is not None
    if row.is_over:
        raise InvalidInputError("expires_at: is in the past", hint="leave it out for a key that does not expire")
    expiry: dt.datetime | None = row.expires_at
    return expiry
