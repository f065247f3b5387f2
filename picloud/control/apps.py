"""Apps and the domains mapped to them."""

from __future__ import annotations

import datetime as dt
import ipaddress
import re
from urllib.parse import urlsplit

import msgspec

from picloud.access import Principal
from picloud.access.caller import no_such_app
from picloud.control.pages import Page, page_of
from picloud.control.records import Connection, fetch_all, fetch_one, fetch_row, fetch_rows
from picloud.errors import ConflictError, InvalidInputError, NotFoundError
from picloud.manifest import parse_manifest
from picloud.queries import Queries
from picloud.settings import Settings

_SQL = Queries("control")

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_MAX_DOMAIN_LENGTH = 253


class App(msgspec.Struct, frozen=True):
    """An app with how much it holds.

    Attributes:
        http_allowed: private addresses its scripts may call.
    """

    id: int
    name: str
    revision: int
    paused: bool
    paused_at: dt.datetime | None
    created_at: dt.datetime
    scripts: int
    routes: int
    triggers: int
    domains: list[str]
    http_allowed: list[str]


class AppRow(msgspec.Struct, frozen=True):
    """What changes to an app need of it."""

    id: int
    name: str
    revision: int
    paused: bool


class Domain(msgspec.Struct, frozen=True):
    """A host name that serves one app and nothing else."""

    domain: str
    created_at: dt.datetime


class RemovedApp(msgspec.Struct, frozen=True):
    """What went with an app."""

    app: str
    #: Rows that were waiting or running; they ended as ``cancelled``.
    cancelled: int


async def list_apps(
    connection: Connection, *, limit: int, after: str | None, ids: list[int] | None = None
) -> Page[App]:
    """By name; only those with these ids, unless None."""
    wanted = {"name": None, "ids": ids, "after": after, "limit": limit + 1}
    rows = await fetch_all(connection, _SQL.apps, wanted, App)
    return page_of(rows, limit, lambda app: app.name)


async def read_app(connection: Connection, name: str) -> App:
    """Raises: NotFoundError."""
    found = await fetch_one(connection, _SQL.apps, {"name": name, "ids": None, "after": None, "limit": 1}, App)
    if found is None:
        raise no_such_app(name)
    return found


async def find_app(connection: Connection, name: str) -> AppRow:
    """The app without its counts. Raises: NotFoundError."""
    found = await fetch_one(connection, _SQL.app, {"name": name}, AppRow)
    if found is None:
        raise no_such_app(name)
    return found


async def lock_app(connection: Connection, name: str) -> AppRow:
    """The app, which nobody else changes before this transaction ends. Raises: NotFoundError."""
    found = await fetch_one(connection, _SQL.lock_app, {"name": name}, AppRow)
    if found is None:
        raise no_such_app(name)
    return found


async def hold_app(connection: Connection, name: str) -> AppRow:
    """The app, which nobody removes before this transaction ends; it may be changed. Raises: NotFoundError.

    Call it first of all: what is locked before could be what a removal waits for.
    """
    await hold_apps(connection)
    return await find_app(connection, name)


async def hold_apps(connection: Connection) -> None:
    """Let nobody remove an app before this transaction ends; comes before the lock of one whose rows it changes."""
    await connection.execute(_SQL.hold_apps)


async def raise_revision(connection: Connection, app: AppRow) -> int:
    """Say that requests to the app meet something new; caches of its routes notice when they insert."""
    row = await fetch_row(connection, _SQL.raise_revision, {"app_id": app.id})
    assert row is not None, "the app row is locked"
    return int(row.revision)


async def create_app(connection: Connection, principal: Principal, name: str) -> App:
    """Make an empty app.

    Raises:
        ConflictError: there is one of that name.
        ManifestError: the name cannot be a host name.
    """
    parse_manifest({"app": {"name": name}}, "request")
    if not await insert_app(connection, principal, name):
        raise ConflictError(f"there is an app {name!r} already")
    return await read_app(connection, name)


async def insert_app(connection: Connection, principal: Principal, name: str) -> bool:
    """Make the app unless there is one; tells whether this call made it."""
    row = await fetch_row(connection, _SQL.insert_app, {"name": name, "principal_id": principal.id})
    return row is not None


async def pause_app(connection: Connection, name: str) -> App:
    """Stop claiming the app's rows and refuse its requests; what runs goes on. Raises: NotFoundError."""
    if await fetch_row(connection, _SQL.pause_app, {"name": name}) is None:
        raise no_such_app(name)
    return await read_app(connection, name)


async def resume_app(connection: Connection, name: str) -> App:
    """Raises: NotFoundError."""
    if await fetch_row(connection, _SQL.resume_app, {"name": name}) is None:
        raise no_such_app(name)
    return await read_app(connection, name)


async def lock_app_to_remove(connection: Connection, name: str) -> AppRow:
    """The app, for which nothing more arrives before this transaction ends, and which nobody changes.

    Raises:
        NotFoundError: there is no such app.
    """
    # The table lock comes first: taken after the row's, it could wait for somebody who waits for the row.
    await connection.execute(_SQL.limit_waiting)
    await connection.execute(_SQL.stop_arrivals)
    return await lock_app(connection, name)


async def remove_app(connection: Connection, name: str) -> RemovedApp:
    """Remove an app with its scripts, routes, domains and dead letters; its executions stay as history.

    Waiting and running rows end as ``cancelled``: a completion that comes later finds no row.

    Raises:
        NotFoundError: there is no such app.
    """
    app = await lock_app_to_remove(connection, name)
    cancelled = await fetch_rows(connection, _SQL.cancel_rows_of_app, {"app_id": app.id})
    await connection.execute(_SQL.delete_app, {"app_id": app.id})
    return RemovedApp(name, cancelled[0].count if cancelled else 0)


# Domains


async def list_domains(connection: Connection, name: str) -> Page[Domain]:
    """All domains of an app: they are few, and the page is the only one. Raises: NotFoundError."""
    app = await find_app(connection, name)
    return Page(await fetch_all(connection, _SQL.domains, {"app_id": app.id}, Domain), None)


async def add_domain(connection: Connection, name: str, domain: str, settings: Settings) -> Domain:
    """Map a domain to an app.

    Raises:
        NotFoundError: there is no such app.
        InvalidInputError: it is no host name, or one that must stay PiCloud's own.
        ConflictError: it is mapped already.
    """
    wanted = checked_domain(domain, settings)
    app = await lock_app(connection, name)
    made = await fetch_one(connection, _SQL.insert_domain, {"domain": wanted, "app_id": app.id}, Domain)
    if made is None:
        raise ConflictError(f"{wanted} is mapped to an app already")
    await raise_revision(connection, app)
    return made


async def remove_domain(connection: Connection, name: str, domain: str) -> None:
    """Raises: NotFoundError."""
    app = await lock_app(connection, name)
    wanted = domain.lower().rstrip(".")
    if await fetch_row(connection, _SQL.delete_domain, {"domain": wanted, "app_id": app.id}) is None:
        raise NotFoundError(f"{domain} is not mapped to {name}")
    await raise_revision(connection, app)


def checked_domain(domain: str, settings: Settings) -> str:
    """The domain as it is stored: lower case, ASCII.

    PiCloud's own names are refused: there the dashboard and the control API live, and an
    app that answered under them would act as the person who looks at it.

    Raises:
        InvalidInputError: says what is wrong with it.
    """
    try:
        wanted = domain.lower().rstrip(".").encode("idna").decode("ascii")
    except UnicodeError:
        raise InvalidInputError(f"domain: {domain!r} is not a host name") from None
    labels = wanted.split(".")
    # A last label of digits makes browsers read the whole as an IPv4 address (WHATWG URL, "ends in a number").
    if _is_ip_address(wanted) or re.fullmatch(r"[0-9]+|0x[0-9a-f]*", labels[-1]):
        raise InvalidInputError(f"domain: {domain!r} is an IP address; map a name")
    if wanted == "localhost" or labels[-1] == "localhost":
        raise InvalidInputError("domain: localhost and names below it belong to PiCloud")
    if len(wanted) > _MAX_DOMAIN_LENGTH or len(labels) < 2 or not all(_LABEL.fullmatch(label) for label in labels):
        raise InvalidInputError(
            f"domain: {domain!r} is not a host name", hint="a name such as shop.example.org, without port"
        )
    if wanted in own_names(settings):
        raise InvalidInputError(f"domain: {wanted} is PiCloud's own name")
    return wanted


def own_names(settings: Settings) -> frozenset[str]:
    """The host names under which PiCloud itself answers."""
    return frozenset({settings.bind_host.lower(), (urlsplit(settings.base_url).hostname or "").rstrip(".")})


def _is_ip_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        return False
    return True
