"""Which private addresses the scripts of an app may call: a list that instance admins keep.

Whoever may call into a network from inside it is a part of that network, so this is no
setting of an app: neither its manifest nor anybody who may only deploy it can change it.
What is refused whatever the list says is decided where calls are made
(``picloud.services.outbound``). Workers read the list by the app's revision, so a change
holds for every run that begins after it.
"""

from __future__ import annotations

from collections.abc import Iterable

from picloud.access import Principal
from picloud.control.apps import AppRow, find_app, lock_app, raise_revision
from picloud.control.records import Connection, fetch_row
from picloud.errors import InvalidInputError, NotFoundError, PermissionDeniedError
from picloud.queries import Queries

_SQL = Queries("control")

#: Every call of a script reads the whole list.
MOST_ENTRIES = 100


async def read_allowed(connection: Connection, name: str) -> list[str]:
    """The list of an app. Raises: NotFoundError."""
    return await _entries(connection, await find_app(connection, name))


async def replace_allowed(connection: Connection, principal: Principal, name: str, entries: Iterable[str]) -> list[str]:
    """Make ``entries`` the list of an app; what was written in two ways is one entry.

    Raises:
        PermissionDeniedError: ``principal`` is no instance admin.
        NotFoundError: there is no such app.
        InvalidInputError: an entry cannot be used, or there are too many.
    """
    _require_admin(principal)
    app = await lock_app(connection, name)
    return await _write(connection, app, normal_entries(entries))


async def change_allowed(
    connection: Connection, principal: Principal, name: str, *, allow: Iterable[str], forbid: Iterable[str]
) -> list[str]:
    """Take ``forbid`` from the list of an app, then add ``allow`` to it; returns what it is now.

    Raises:
        PermissionDeniedError: ``principal`` is no instance admin.
        NotFoundError: there is no such app; or one of ``forbid`` is not on its list. That is no harmless repetition:
            an address of a network that is allowed would stay allowed.
        InvalidInputError: an entry cannot be used, or there would be too many.
    """
    _require_admin(principal)
    app = await lock_app(connection, name)
    before = await _entries(connection, app)
    unwanted = normal_entries(forbid)
    for entry in unwanted:
        if entry not in before:
            raise NotFoundError(
                f"{entry} is not on the list of {name}",
                hint=f"it holds {', '.join(before)}" if before else "it is empty: no private address is allowed",
            )
    kept = [entry for entry in before if entry not in unwanted]
    return await _write(connection, app, list(dict.fromkeys([*kept, *normal_entries(allow)])))


def normal_entries(entries: Iterable[str]) -> list[str]:
    """The entries as they are stored: each in one spelling, and once.

    Raises:
        InvalidInputError: names the first that cannot be used.
    """
    # With it comes the HTTP library: the web process does without until an admin changes a list.
    from picloud.services.outbound.policy import entry_text, parse_allowed

    return list(dict.fromkeys(map(entry_text, parse_allowed(entries))))


async def _entries(connection: Connection, app: AppRow) -> list[str]:
    row = await fetch_row(connection, _SQL.http_allowed, {"app_id": app.id})
    return list(row.http_allowed) if row is not None else []


async def _write(connection: Connection, app: AppRow, entries: list[str]) -> list[str]:
    if len(entries) > MOST_ENTRIES:
        raise InvalidInputError(
            f"the list would have {len(entries)} entries; {MOST_ENTRIES} are allowed",
            hint="allow a network instead of its addresses, or *.lan instead of the names below it",
        )
    if entries != await _entries(connection, app):
        await fetch_row(connection, _SQL.set_http_allowed, {"app_id": app.id, "entries": entries})
        await raise_revision(connection, app)
    return entries


def _require_admin(principal: Principal) -> None:
    # The door asks for an admin too. Should it let others in some day, it must not be to this.
    if not principal.is_admin:
        raise PermissionDeniedError("only an instance admin decides which private addresses an app may call")
