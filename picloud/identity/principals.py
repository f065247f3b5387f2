"""Principals: users and services, by their names."""

from __future__ import annotations

from picloud.access import InstanceRole, Principal
from picloud.control.records import Connection, fetch_row
from picloud.errors import NotFoundError
from picloud.queries import Queries

_SQL = Queries("identity")


async def find_principal(connection: Connection, name: str) -> Principal:
    """Raises: NotFoundError."""
    row = await fetch_row(connection, _SQL.principal, {"name": name})
    if row is None:
        raise NotFoundError(f"there is no user {name!r}", hint="`picloud users ls` lists them")
    return Principal(row.id, row.kind, row.name, InstanceRole(row.role))
