"""Who is calling: principals and API keys.

A key is ``pic_`` + 30 random base62 digits + 6 digits of CRC32 over what stands before
them. The checksum refuses a typo without a query and lets secret scanners recognise a key
(the scheme of "Behind GitHub's new authentication token formats", GitHub blog, 2021). Only
its SHA-256 is stored: with 178 random bits a slow password hash would add nothing.

Nothing is cached, so a revocation holds from its commit on, in every process.
"""

from __future__ import annotations

import binascii
import datetime as dt
import hashlib
import secrets
import string
from typing import Any, Literal, TypeAlias

import msgspec
import psycopg

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


class Principal(msgspec.Struct, frozen=True):
    """Somebody or something that acts."""

    id: int
    kind: Literal["user", "service"]
    name: str
    is_admin: bool


class Key(msgspec.Struct, frozen=True):
    """An API key as it may be shown: never the key itself."""

    id: int
    name: str
    principal: str
    last_four: str
    created_at: dt.datetime
    expires_at: dt.datetime | None
    revoked_at: dt.datetime | None


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


def _hash(key: str) -> bytes:
    return hashlib.sha256(key.encode("ascii")).digest()


# On this machine, with the database at hand: `picloud up`, `picloud keys create`


def create_admin_key(connection: LocalConnection, name: str) -> str:
    """Make a key of the principal ``admin``, and that principal when there is none yet.

    Returns:
        The key, which cannot be read again.

    Raises:
        ConflictError: ``admin`` is disabled, or is no administrator.
    """
    connection.execute(_SQL.ensure_admin)
    row = connection.execute(_SQL.admin).fetchone()
    if row is None or row[1]:
        raise ConflictError("the principal `admin` is disabled or no administrator; use a key of another one")
    key = new_key()
    connection.execute(_SQL.insert_key, _new_key_row(row[0], name, key, None))
    return key


def ensure_local_admin(connection: LocalConnection, current: str | None = None) -> str:
    """A key of an administrator for this machine's own profile.

    Args:
        connection: the caller commits.
        current: the key the profile holds already: kept while this database accepts it,
            so that starting again invalidates nobody's copy.
    """
    if current is not None and is_well_formed(current):
        row = connection.execute(_SQL.principal_of_key, {"key_hash": _hash(current)}).fetchone()
        if row is not None and row[3]:
            return current
    return create_admin_key(connection, "local")


# Through the control API


async def authenticate(connection: Connection, key: str) -> Principal:
    """Who presents ``key``.

    Raises:
        AuthenticationError: always with the same words, whatever is wrong with the key.
    """
    found = None
    if is_well_formed(key):
        found = await fetch_one(connection, _SQL.principal_of_key, {"key_hash": _hash(key)}, Principal)
    if found is None:
        raise AuthenticationError(
            "the API key is not valid", hint="`picloud keys create` makes a new one", code="invalid_key"
        )
    return found


async def create_key(
    connection: Connection, principal: Principal, name: str, *, expires_at: dt.datetime | None
) -> tuple[Key, str]:
    """Make a key of ``principal``; the second value is the key, which cannot be read again."""
    key = new_key()
    row = await fetch_row(connection, _SQL.insert_key, _new_key_row(principal.id, name, key, expires_at))
    assert row is not None
    return await read_key(connection, row.id), key


async def read_key(connection: Connection, key_id: int) -> Key:
    """Raises: NotFoundError."""
    found = await fetch_one(connection, _SQL.keys, {"id": key_id, "after": None, "limit": 1}, Key)
    if found is None:
        raise NotFoundError(f"there is no key {key_id}")
    return found


async def list_keys(connection: Connection, *, limit: int, after: str | None) -> Page[Key]:
    """Newest first; revoked and expired ones are among them."""
    rows = await fetch_all(connection, _SQL.keys, {"id": None, "after": int_cursor(after), "limit": limit + 1}, Key)
    return page_of(rows, limit, lambda key: key.id)


async def revoke_key(connection: Connection, key_id: int) -> Key:
    """Revoke a key; revoking it again changes nothing. Raises: NotFoundError."""
    await fetch_row(connection, _SQL.revoke_key, {"id": key_id})
    return await read_key(connection, key_id)


def _new_key_row(principal_id: int, name: str, key: str, expires_at: dt.datetime | None) -> dict[str, object]:
    return {
        "principal_id": principal_id,
        "name": name,
        "key_hash": _hash(key),
        "last_four": key[-4:],
        "expires_at": expires_at,
    }
