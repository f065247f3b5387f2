"""Members of an app: who sees it, who changes what runs, who decides about both.

Admins and owners of the installation are admins of every app without being listed; so the last member may go.
"""

from __future__ import annotations

import datetime as dt
from typing import Literal

import msgspec

from picloud.access import AppRole
from picloud.control.apps import find_app, hold_app
from picloud.control.pages import Page, page_of
from picloud.control.records import Connection, fetch_all, fetch_one
from picloud.errors import NotFoundError
from picloud.identity.principals import find_principal
from picloud.queries import Queries

_SQL = Queries("users")


class Member(msgspec.Struct, frozen=True):
    """Somebody's place in an app."""

    name: str
    kind: Literal["user", "service"]
    role: AppRole
    added_at: dt.datetime
    disabled_at: dt.datetime | None


async def list_members(connection: Connection, app: str, *, limit: int, after: str | None) -> Page[Member]:
    """By name. Raises: NotFoundError: there is no such app."""
    wanted = {"app_id": (await find_app(connection, app)).id, "name": None, "after": after, "limit": limit + 1}
    rows = await fetch_all(connection, _SQL.members, wanted, Member)
    return page_of(rows, limit, lambda member: member.name)


async def read_member(connection: Connection, app: str, name: str) -> Member:
    """Raises: NotFoundError: there is no such app, or nobody of that name is its member."""
    found = await _member(connection, (await find_app(connection, app)).id, name)
    if found is None:
        raise _no_member(app, name)
    return found


async def put_member(connection: Connection, app: str, name: str, role: AppRole) -> tuple[Member | None, Member]:
    """Make somebody a member, or give a member another role.

    Args:
        connection: in a transaction of the caller's.

    Returns:
        The member before (None: it was none) and after.

    Raises:
        NotFoundError: there is no such app or user.
    """
    app_id = (await hold_app(connection, app)).id
    principal = await find_principal(connection, name)
    before = await _member(connection, app_id, name)
    values = {"app_id": app_id, "principal_id": principal.id, "role": role}
    await connection.execute(_SQL.put_member, values)
    after = await _member(connection, app_id, name)
    assert after is not None
    return before, after


async def remove_member(connection: Connection, app: str, name: str) -> Member:
    """The member that was. Raises: NotFoundError: there is no such app or member."""
    app_id = (await hold_app(connection, app)).id
    before = await _member(connection, app_id, name)
    if before is None:
        raise _no_member(app, name)
    principal = await find_principal(connection, name)
    await connection.execute(_SQL.delete_member, {"app_id": app_id, "principal_id": principal.id})
    return before


async def _member(connection: Connection, app_id: int, name: str) -> Member | None:
    return await fetch_one(
        connection, _SQL.members, {"app_id": app_id, "name": name, "after": None, "limit": 1}, Member
    )


def _no_member(app: str, name: str) -> NotFoundError:
    return NotFoundError(f"{name} is no member of {app}", hint=f"`picloud members ls {app}` lists them")
