"""Users and services as admins manage them.

A user is a person, who may have a password; a service is a program, which has keys only. Nobody gives a role above
their own: an admin manages members, an owner everybody. Somebody who can sign in as owner must always remain.

Whoever is disabled is nobody at once: their sessions end, their keys are refused while they are disabled, and what
waits to run as them is dead-lettered by the worker (``principal_disabled``). Only those of whom nothing is left to tell
are removed.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass, field
from typing import Literal

import msgspec
import psycopg

from picloud.access import AppRole, Caller, InstanceRole, Principal
from picloud.control.pages import Page, page_of
from picloud.control.records import Connection, fetch_row, fetch_rows
from picloud.errors import ConflictError, InvalidInputError, NotFoundError, PermissionDeniedError
from picloud.identity.sessions import end_sessions
from picloud.queries import Queries

_SQL = Queries("users")

_NAME = re.compile(r"[a-z0-9]([a-z0-9._@+-]{0,98}[a-z0-9])?")
#: The operator of the machine, and the word for nobody in the audit log.
_RESERVED = frozenset({"local", "nobody"})

Kind = Literal["user", "service"]


class User(msgspec.Struct, frozen=True):
    """A user or a service.

    Attributes:
        role: in the whole installation.
        has_password: it can sign in; a service never can.
        apps: its role in each app it is a member of; admins and owners are admin of every app besides.
    """

    id: int
    kind: Kind
    name: str
    role: InstanceRole
    created_at: dt.datetime
    disabled_at: dt.datetime | None
    has_password: bool
    apps: dict[str, AppRole]


@dataclass(frozen=True, slots=True)
class NewUser:
    """Somebody to be made.

    Attributes:
        password_hash: None: it cannot sign in yet.
    """

    name: str
    kind: Kind = "user"
    role: InstanceRole = InstanceRole.MEMBER
    password_hash: str | None = None


@dataclass(frozen=True, slots=True)
class UserChange:
    """What shall be different; None: that stays as it is."""

    role: InstanceRole | None = None
    disabled: bool | None = None


@dataclass(frozen=True, slots=True)
class Login:
    """A user who can sign in, and the stored hash of the password."""

    principal: Principal
    hash: str = field(repr=False)


async def list_users(connection: Connection, *, limit: int, after: str | None) -> Page[User]:
    """By name; those who are disabled are among them."""
    rows = await _people(connection, None, after, limit + 1)
    return page_of(rows, limit, lambda user: user.name)


async def read_user(connection: Connection, name: str) -> User:
    """Raises: NotFoundError."""
    found = await _people(connection, name, None, 1)
    if not found:
        raise NotFoundError(f"there is no user {name!r}", hint="`picloud users ls` lists them")
    return found[0]


async def create_user(connection: Connection, caller: Caller, wanted: NewUser) -> User:
    """Make a user or a service.

    Args:
        connection: in a transaction of the caller's.

    Raises:
        ConflictError: there is one of that name, used by either kind.
        InvalidInputError: it cannot be called that, or is a service with a password.
        PermissionDeniedError: it would have a role that is not the caller's to give.
    """
    check_name(wanted.name)
    if wanted.kind == "service" and wanted.password_hash is not None:
        raise InvalidInputError("password: a service has none", hint="give it a key: `picloud keys create`")
    await hold_people(connection)
    _may_give(await _actor(connection, caller), wanted.role)
    principal_id = await insert_principal(connection, wanted)
    if wanted.password_hash is not None:
        await set_password(connection, principal_id, wanted.password_hash)
    return await read_user(connection, wanted.name)


async def insert_principal(connection: Connection, wanted: NewUser) -> int:
    """The new principal's id. Raises: ConflictError: the name is taken."""
    values = {"kind": wanted.kind, "name": wanted.name, "role": wanted.role}
    row = await fetch_row(connection, _SQL.insert_principal, values)
    if row is None:
        raise ConflictError(f"there is a user or a service {wanted.name!r} already")
    return int(row.id)


async def change_user(connection: Connection, caller: Caller, name: str, change: UserChange) -> tuple[User, User]:
    """Change a role, disable or enable somebody.

    Args:
        connection: in a transaction of the caller's.

    Returns:
        The user before and after.

    Raises:
        NotFoundError: there is no such user.
        PermissionDeniedError: not the caller's to change.
        ConflictError: nobody who can sign in as owner would be left.
    """
    before = await _managed(connection, caller, name)
    if change.role is not None and change.role is not before.role:
        _may_give(await _actor(connection, caller), change.role)
    if change.disabled and name == caller.principal.name:
        raise ConflictError("nobody disables themselves", hint="ask another admin")
    ends_as_owner = change.disabled or change.role not in {None, InstanceRole.OWNER}
    if ends_as_owner:
        await _require_another_owner(connection, before)
    await connection.execute(_SQL.change_principal, {"id": before.id, "role": change.role, "disabled": change.disabled})
    if change.disabled:
        await end_sessions(connection, before.id)
    return before, await read_user(connection, name)


async def remove_user(connection: Connection, caller: Caller, name: str) -> User:
    """Remove somebody who is disabled and of whom no app, script, route, trigger, secret or waiting row tells.

    Keys, memberships and the password go too. Executions, dead letters and the audit log stay.

    Args:
        connection: in a transaction of the caller's.

    Returns:
        The user as it was.

    Raises:
        NotFoundError: there is no such user.
        PermissionDeniedError: not the caller's to remove.
        ConflictError: it is not disabled, or something still names it.
    """
    before = await _managed(connection, caller, name)
    if before.disabled_at is None:
        # What such a principal sends at this moment could be accepted after the look below.
        raise ConflictError(f"{name} is not disabled", hint=f"`picloud users disable {name}` first")
    waiting = await fetch_row(connection, _SQL.has_waiting_rows, {"id": before.id})
    if waiting is not None and waiting.exists:
        raise ConflictError(f"executions wait that were accepted for {name}", hint="try again when they have ended")
    try:
        async with connection.transaction():
            await connection.execute(_SQL.delete_principal, {"id": before.id})
    except psycopg.errors.ForeignKeyViolation as error:
        table = error.diag.table_name or "something"
        raise ConflictError(
            f"{name} cannot be removed: {table} still name it", hint="leave it disabled: it is nobody then"
        ) from None
    return before


async def reset_password(connection: Connection, caller: Caller, name: str, password_hash: str) -> None:
    """Give a user another password; their sessions end.

    Args:
        connection: in a transaction of the caller's.

    Raises:
        NotFoundError: there is no such user.
        PermissionDeniedError: not the caller's to change.
        InvalidInputError: it is a service.
    """
    user = await _managed(connection, caller, name)
    if user.kind == "service":
        raise InvalidInputError(f"{name} is a service, which has no password")
    if user.id == caller.principal.id:
        raise PermissionDeniedError("one's own password is changed by who knows it", hint="POST /me/password")
    await set_password(connection, user.id, password_hash)
    await end_sessions(connection, user.id)


async def set_password(connection: Connection, principal_id: int, password_hash: str) -> None:
    """Store the hash of a password that was checked."""
    await connection.execute(_SQL.set_password, {"id": principal_id, "hash": password_hash})


async def find_login(connection: Connection, name: str) -> Login | None:
    """Who signs in under this name; None: nobody of that name, or somebody who is disabled or has no password."""
    row = await fetch_row(connection, _SQL.password, {"name": name})
    if row is None:
        return None
    return Login(Principal(row.id, row.kind, row.name, InstanceRole(row.role)), row.hash)


async def hold_login(connection: Connection, login: Login) -> bool:
    """Whether the password is still the same and its user not disabled; both stay so until this transaction ends."""
    return await fetch_row(connection, _SQL.same_login, {"id": login.principal.id, "hash": login.hash}) is not None


async def upgrade_password(connection: Connection, login: Login, password_hash: str) -> None:
    """Store the same password under today's parameters, unless it was changed in between."""
    values = {"id": login.principal.id, "hash": password_hash, "before": login.hash}
    await connection.execute(_SQL.upgrade_password, values)


def check_name(name: str) -> None:
    """Raises: InvalidInputError: nobody can be called that."""
    if not is_name(name):
        raise InvalidInputError(
            f"name: {name!r} is no user's name", hint="1 to 100 of a-z 0-9 . _ @ + -, a letter or digit first and last"
        )
    if name in _RESERVED:
        raise InvalidInputError(f"name: {name!r} has a meaning of its own here")


def is_name(text: str) -> bool:
    """Whether somebody could be called that."""
    return _NAME.fullmatch(text) is not None


async def hold_people(connection: Connection) -> None:
    """Let nobody else change people before this transaction ends."""
    await connection.execute(_SQL.hold_people)


async def _people(connection: Connection, name: str | None, after: str | None, limit: int) -> list[User]:
    rows = await fetch_rows(connection, _SQL.people, {"name": name, "after": after, "limit": limit})
    return [msgspec.convert(row._asdict(), User) for row in rows]


async def _managed(connection: Connection, caller: Caller, name: str) -> User:
    """The user, whom the caller may change; nobody else changes people before this transaction ends."""
    await hold_people(connection)
    actor = await _actor(connection, caller)
    user = await read_user(connection, name)
    is_oneself = user.id == caller.principal.id
    if not (actor.manages(user.role) or is_oneself):
        raise PermissionDeniedError(f"{name} is {user.role}: only an owner changes that")
    return user


async def _actor(connection: Connection, caller: Caller) -> InstanceRole:
    """What the caller is at this moment: two owners may be about to end each other."""
    if caller.principal.id == 0:
        return caller.principal.role
    row = await fetch_row(connection, _SQL.actor, {"id": caller.principal.id})
    if row is None or not InstanceRole(row.role).includes(InstanceRole.ADMIN):
        raise PermissionDeniedError(f"{caller.principal.name} is no admin any more")
    return InstanceRole(row.role)


def _may_give(actor: InstanceRole, role: InstanceRole) -> None:
    if not actor.manages(role):
        raise PermissionDeniedError(f"only an owner makes somebody {role}")


async def _require_another_owner(connection: Connection, user: User) -> None:
    if user.role is not InstanceRole.OWNER or user.disabled_at is not None:
        return
    row = await fetch_row(connection, _SQL.other_owners, {"id": user.id, "signs_in": user.has_password})
    if row is None or not row.count:
        raise ConflictError(f"{user.name} is the last owner who can act", hint="make somebody else owner first")
