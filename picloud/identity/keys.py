"""Who is calling: the principal behind an API key or a session, and what it is limited to.

A key is ``pic_`` + 30 random base62 digits + 6 digits of CRC32 over what stands before
them. The checksum refuses a typo without a query and lets secret scanners recognise a key
(the scheme of "Behind GitHub's new authentication token formats", GitHub blog, 2021). Only
its SHA-256 is stored: with 178 random bits a slow password hash would add nothing.

Nothing is cached here, so a revocation holds from its commit on, in every process. What ``picloud.access`` decides
about a caller needs no further query.
"""

from __future__ import annotations

import binascii
import datetime as dt
import hashlib
import secrets
import string
from typing import Any, TypeAlias

import msgspec
import psycopg
from psycopg.rows import namedtuple_row

from picloud.access import AppRole, Caller, Capability, InstanceRole, Membership, Principal, Scope
from picloud.control.pages import Page, int_cursor, page_of
from picloud.control.records import Connection, fetch_all, fetch_one, fetch_row
from picloud.errors import AuthenticationError, ConflictError, NotFoundError
from picloud.queries import Queries

_SQL = Queries("identity")

#: A blocking connection, as ``picloud up`` has one.
LocalConnection: TypeAlias = psycopg.Connection[Any]

PREFIX = "pic_"
_DIGITS = string.digits + string.ascii_uppercase + string.ascii_lowercase
_SECRET_LENGTH = 30
_CHECKSUM_LENGTH = 6


class Key(msgspec.Struct, frozen=True):
    """An API key as it may be shown: never the key itself.

    Attributes:
        app: the one app it is for; None: every app its principal may use.
        last_used_at: to the minute.
    """

    id: int
    name: str
    principal: str
    last_four: str
    app: str | None
    scopes: list[Scope]
    created_at: dt.datetime
    expires_at: dt.datetime | None
    last_used_at: dt.datetime | None
    revoked_at: dt.datetime | None


class KeyLimits(msgspec.Struct, frozen=True):
    """What a new key is limited to; nothing said: it may all that its principal may."""

    scopes: frozenset[Scope] = frozenset({Scope.INSTANCE_ADMIN})
    app_id: int | None = None
    expires_at: dt.datetime | None = None


#: All that the principal may, until it is revoked.
UNLIMITED = KeyLimits()


# The key itself


def new_key() -> str:
    """A key that was never made before."""
    body = PREFIX + "".join(secrets.choice(_DIGITS) for _ in range(_SECRET_LENGTH))
    return body + _checksum(body)


def is_well_formed(key: str) -> bool:
    """Does the checksum fit? Says nothing about whether the key was ever made."""
    body, checksum = key[:-_CHECKSUM_LENGTH], key[-_CHECKSUM_LENGTH:]
    secret = body[len(PREFIX) :]
    return (
        body.startswith(PREFIX)
        and len(secret) == _SECRET_LENGTH
        and all(digit in _DIGITS for digit in secret)
        and checksum == _checksum(body)
    )


def _checksum(body: str) -> str:
    number = binascii.crc32(body.encode("ascii"))
    digits = ""
    for _ in range(_CHECKSUM_LENGTH):
        number, digit = divmod(number, len(_DIGITS))
        digits = _DIGITS[digit] + digits
    return digits


def hash_of(credential: str) -> bytes:
    """What is stored of a key, or of a session's token."""
    return hashlib.sha256(credential.encode("ascii")).digest()


# On this machine, with the database at hand: `picloud up`, `picloud keys create`


def create_operator_key(connection: LocalConnection, name: str) -> str:
    """Make a key of whoever runs this machine: the principal ``local``, made too when there is none yet.

    Returns:
        The key, which cannot be read again.

    Raises:
        ConflictError: ``local`` is disabled, or is no administrator.
    """
    connection.execute(_SQL.ensure_operator)
    row = connection.execute(_SQL.operator).fetchone()
    if row is None or row[1]:
        raise ConflictError("the principal `local` is disabled or no administrator; use a key of another one")
    key = new_key()
    connection.execute(_SQL.insert_key, _new_key_row(row[0], name, key, UNLIMITED))
    return key


def ensure_operator_key(connection: LocalConnection, current: str | None = None) -> str:
    """A key of this machine's operator for its own profile.

    Args:
        connection: the caller commits.
        current: the key the profile holds already: kept while this database accepts it,
            so that starting again invalidates nobody's copy.
    """
    if current is not None and is_well_formed(current):
        with connection.cursor(row_factory=namedtuple_row) as cursor:
            row = cursor.execute(_SQL.caller_of_key, {"hash": hash_of(current)}).fetchone()
        if row is not None and _caller_of_key(row).may(Capability.INSTANCE_MANAGE_USERS):
            return current
    return create_operator_key(connection, "local")


# Who is calling


async def authenticate_key(connection: Connection, key: str) -> Caller:
    """Who presents ``key``, and what it is limited to.

    Raises:
        AuthenticationError: always with the same words, whatever is wrong with the key.
    """
    row = None
    if is_well_formed(key):
        row = await fetch_row(connection, _SQL.caller_of_key, {"hash": hash_of(key)})
    if row is None:
        raise AuthenticationError(
            "the API key is not valid", hint="`picloud keys create` makes a new one", code="invalid_key"
        )
    if row.is_use_worth_writing:
        await connection.execute(_SQL.touch_key, {"id": row.key_id})
    return _caller_of_key(row)


async def authenticate_session(connection: Connection, token: str) -> Caller:
    """Whose session this is.

    Raises:
        AuthenticationError: always with the same words, whatever is wrong with the session.
    """
    row = None
    if token.isascii():
        row = await fetch_row(connection, _SQL.caller_of_session, {"hash": hash_of(token)})
    if row is None:
        raise AuthenticationError("the session is over", hint="sign in again", code="invalid_session")
    if row.is_use_worth_writing:
        await connection.execute(_SQL.touch_session, {"id": row.session_id})
    return Caller(
        principal=_principal(row),
        memberships=_memberships(row),
        session_id=row.session_id,
        expires_in_seconds=row.expires_in_seconds,
        revision=row.revision,
    )


def _caller_of_key(row: Any) -> Caller:
    return Caller(
        principal=_principal(row),
        memberships=_memberships(row),
        scopes=frozenset(Scope(scope) for scope in row.scopes),
        app=row.app,
        app_id=row.app_id,
        key_id=row.key_id,
        credential=f"key …{row.last_four}",
        expires_in_seconds=row.expires_in_seconds,
        revision=row.revision,
    )


def _principal(row: Any) -> Principal:
    return Principal(row.id, row.kind, row.name, InstanceRole(row.role))


def _memberships(row: Any) -> dict[str, Membership]:
    held = zip(row.apps or (), row.app_ids or (), row.roles or (), strict=True)
    return {app: Membership(app_id, AppRole(role)) for app, app_id, role in held}


# Keys through the control API


async def create_key(
    connection: Connection, principal_id: int, name: str, limits: KeyLimits = UNLIMITED
) -> tuple[Key, str]:
    """Make a key of a principal; the second value is the key, which cannot be read again."""
    key = new_key()
    row = await fetch_row(connection, _SQL.insert_key, _new_key_row(principal_id, name, key, limits))
    assert row is not None
    return await read_key(connection, row.id), key


async def read_key(
    connection: Connection, key_id: int, *, principal_id: int | None = None, app_id: int | None = None
) -> Key:
    """One key, of this principal and app when they are given. Raises: NotFoundError."""
    wanted = {"id": key_id, "principal_id": principal_id, "app_id": app_id, "after": None, "limit": 1}
    found = await fetch_one(connection, _SQL.keys, wanted, Key)
    if found is None:
        raise NotFoundError(f"there is no key {key_id}")
    return found


async def list_keys(
    connection: Connection,
    *,
    limit: int,
    after: str | None,
    principal_id: int | None = None,
    app_id: int | None = None,
) -> Page[Key]:
    """Newest first, of one principal and one app when they are given; revoked and expired ones are among them."""
    wanted = {
        "id": None,
        "principal_id": principal_id,
        "app_id": app_id,
        "after": int_cursor(after),
        "limit": limit + 1,
    }
    return page_of(await fetch_all(connection, _SQL.keys, wanted, Key), limit, lambda key: key.id)


async def revoke_key(
    connection: Connection, key_id: int, *, principal_id: int | None = None, app_id: int | None = None
) -> Key:
    """Revoke a key; revoking it again changes nothing. Raises: NotFoundError."""
    await read_key(connection, key_id, principal_id=principal_id, app_id=app_id)
    await fetch_row(connection, _SQL.revoke_key, {"id": key_id})
    return await read_key(connection, key_id)


def _new_key_row(principal_id: int, name: str, key: str, limits: KeyLimits) -> dict[str, object]:
    return {
        "principal_id": principal_id,
        "name": name,
        "key_hash": hash_of(key),
        "last_four": key[-4:],
        "app_id": limits.app_id,
        "scopes": sorted(limits.scopes),
        "expires_at": limits.expires_at,
    }
