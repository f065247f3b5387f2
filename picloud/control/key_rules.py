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
from picloud.control.identity import Key, KeyLimits, create_key
from picloud.control.principals import find_principal
from picloud.control.records import Connection, fetch_row
from picloud.errors import InvalidInputError, PermissionDeniedError
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


async def _owner(connection: Connection, caller: Caller, name: str | None) -> Principal:
    if name is None or name == caller.principal.name:
        return caller.principal
    caller.require(Capability.INSTANCE_MANAGE_USERS)
    owner = await find_principal(connection, name)
    if not caller.principal.role.includes(owner.role):
        raise PermissionDeniedError(f"{name} is {owner.role}, and may more than {caller.principal.name}")
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
