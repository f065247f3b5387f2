"""The first admin: made by a link that works once, for a quarter of an hour, while there is no admin.

The link carries its secret in the fragment, which browsers send to nobody; the page behind it posts the secret. There
is never more than one link, and only a hash of its secret is stored. Without it nobody gets in: there is no default
password, and no time at which everybody may do everything.
"""

from __future__ import annotations

import datetime as dt
import hmac
import secrets

from picloud.access import InstanceRole, Principal
from picloud.control.records import Connection, fetch_row
from picloud.errors import AuthenticationError, ConflictError
from picloud.identity.keys import LocalConnection, hash_of
from picloud.identity.users import NewUser, check_name, hold_people, insert_principal, set_password
from picloud.queries import Queries

_SQL = Queries("users")

VALID_FOR = dt.timedelta(minutes=15)
_SECRET_BYTES = 32


def needs_admin(connection: LocalConnection) -> bool:
    """Whether nobody can sign in yet and manage the others."""
    row = connection.execute(_SQL.has_admin).fetchone()
    return row is not None and not row[0]


def make_setup_link(connection: LocalConnection, url: str) -> str:
    """A new link, under PiCloud's own ``url``; the one before is worth nothing from now on.

    Raises:
        ConflictError: there is an admin already.
    """
    if not needs_admin(connection):
        raise _there_is_one()
    secret = secrets.token_urlsafe(_SECRET_BYTES)
    connection.execute(_SQL.put_setup_link, {"hash": hash_of(secret), "valid_for": VALID_FOR})
    return f"{url.rstrip('/')}/setup#{secret}"


async def check_setup(connection: Connection, secret: str, name: str) -> None:
    """Refuse early what ``redeem`` would refuse, before a password is hashed for it.

    Raises:
        AuthenticationError: the secret is not the link's, or it is too old.
        InvalidInputError: nobody can be called that.
    """
    row = await fetch_row(connection, _SQL.setup_link, {})
    given = hash_of(secret) if secret.isascii() else b""
    if not hmac.compare_digest(bytes(row.secret_hash) if row is not None else bytes(32), given):
        raise AuthenticationError(
            "this link was used already, or is older than 15 minutes",
            hint="`picloud users setup-link` on the server makes a new one",
            code="invalid_setup_link",
        )
    check_name(name)


async def redeem(connection: Connection, secret: str, name: str, password_hash: str) -> Principal:
    """Make the owner that a link is for; the link is used up.

    Args:
        connection: in a transaction of the caller's.

    Raises:
        AuthenticationError: as ``check_setup``.
        ConflictError: there is an admin already, or somebody of that name.
    """
    await hold_people(connection)
    await check_setup(connection, secret, name)
    row = await fetch_row(connection, _SQL.has_admin, {})
    if row is None or row.has_admin:
        raise _there_is_one()
    principal_id = await insert_principal(connection, NewUser(name, role=InstanceRole.OWNER))
    await set_password(connection, principal_id, password_hash)
    await connection.execute(_SQL.delete_setup_link)
    return Principal(principal_id, "user", name, InstanceRole.OWNER)


def _there_is_one() -> ConflictError:
    return ConflictError("there is an admin already", hint="admins make further users: `picloud users create`")
