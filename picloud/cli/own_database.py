"""For commands that may change the database itself, on a machine that can reach it: no server is asked, no key needed.

Whoever can do that could write anything there anyway. What they change is in the audit log all the same.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

from picloud.cli.options import settings_with
from picloud.errors import ConfigurationError, UnavailableError

if TYPE_CHECKING:
    from picloud.access import Caller
    from picloud.control.audit import Entry
    from picloud.control.records import Connection
    from picloud.identity.keys import LocalConnection

T = TypeVar("T")

from_database_option = click.option(
    "--from-database", is_flag=True, help="Change PICLOUD_DATABASE_URL itself; no server is asked."
)


@contextmanager
def own_database(name: str) -> Generator[LocalConnection]:
    """A connection to the configured database, or to that of a `picloud up` that runs here.

    Args:
        name: shown in pg_stat_activity.

    Raises:
        ConfigurationError: no database is configured or running here.
        SchemaError: it has no schema yet, or another one.
        UnavailableError: it does not answer.
    """
    import psycopg

    from picloud.database import connect
    from picloud.migrations import check_schema

    url = _url()
    try:
        with connect(url, name=name) as connection:
            check_schema(connection)
            yield connection
    except psycopg.OperationalError as error:
        raise _no_answer(error) from None


def change_database(entry: Entry, change: Callable[[Connection, Caller], Awaitable[T]]) -> T:
    """Run ``change`` in a transaction, as the operator of this machine, and write ``entry`` to the audit log with it.

    Raises:
        ConfigurationError: no database is configured or running here.
        SchemaError: it has no schema yet, or another one.
        UnavailableError: it does not answer.
    """
    import asyncio

    import psycopg

    from picloud.access import Caller, InstanceRole, Principal
    from picloud.control.audit import write_entry
    from picloud.database import connection_options

    operator = Caller(Principal(0, "service", "local", InstanceRole.OWNER), credential="this machine")

    async def run() -> T:
        opened: Any = await psycopg.AsyncConnection.connect(_url(), autocommit=True, **connection_options("people"))
        async with opened as connection, connection.transaction():
            done = await change(connection, operator)
            await write_entry(connection, entry, operator, None)
            return done

    with own_database("people"):  # says what is wrong with it, also with the connection below
        return asyncio.run(run())


def own_url() -> str:
    """Where people reach the platform of this machine."""
    from picloud.local.data_folder import running_url
    from picloud.local.up import local_url

    settings = settings_with()
    return settings.public_url or running_url(settings) or local_url(settings)


def _url() -> str:
    from picloud.local.data_folder import with_running_servers

    url = with_running_servers(settings_with()).database_url
    if not url:
        raise ConfigurationError(
            "PICLOUD_DATABASE_URL is not set, and no `picloud up` is running here",
            hint="after `picloud up --data DIR` set PICLOUD_DATA_DIR; a service's environment file has the URL",
        )
    return url


def _no_answer(error: Exception) -> UnavailableError:
    told = str(error).strip().partition("\n")[0]
    return UnavailableError(f"PostgreSQL does not answer: {told}")
