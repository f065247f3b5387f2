"""``picloud keys``: API keys."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click

from picloud.cli.client import Client, api_path
from picloud.cli.help import example
from picloud.cli.options import (
    Lifetime,
    as_query,
    confirm,
    connected,
    context_option,
    json_option,
    limit_option,
    open_client,
    settings_with,
    yes_option,
)
from picloud.cli.output import Column, Row, note, print_fields, print_json, print_rows
from picloud.cli.text import age, local_clock
from picloud.errors import ConfigurationError, UnavailableError


def _state(row: Row) -> str:
    return "revoked" if row["revoked_at"] else "valid"


_COLUMNS = (
    Column("ID", "id", is_number=True),
    Column("NAME", "name", may_shrink=True),
    Column("KEY", lambda row: f"pic_…{row['last_four']}"),
    Column("OF", "principal", is_optional=True),
    Column("STATE", _state),
    Column("AGE", lambda row: age(row["created_at"]), is_number=True, is_optional=True),
    Column("EXPIRES", lambda row: local_clock(row["expires_at"])[:16], is_optional=True),
)


@example("picloud keys ls")
@click.group()
def keys() -> None:
    """List, make and revoke API keys."""


@example("picloud keys ls --json")
@keys.command("ls")
@limit_option
@json_option
@connected
def list_keys(client: Client, *, limit: int, as_json: bool) -> None:
    """List API keys, newest first."""
    print_rows(client.items("/keys", limit=limit), _COLUMNS, as_json=as_json, empty="no keys")


@example("picloud keys show 3")
@keys.command("show")
@click.argument("key_id", metavar="ID", type=int)
@json_option
@connected
def show_key(client: Client, *, key_id: int, as_json: bool) -> None:
    """Show one key, without the key itself."""
    found = client.get(api_path("keys", key_id))
    if as_json:
        print_json(found)
        return
    print_fields(
        (
            ("name", found["name"]),
            ("key", f"pic_…{found['last_four']}"),
            ("of", found["principal"]),
            ("state", _state(found)),
            ("created", local_clock(found["created_at"])),
            ("expires", local_clock(found["expires_at"])),
            ("revoked", local_clock(found["revoked_at"])),
        )
    )


@example(
    "picloud keys create ci --expires 90d > key.txt", "picloud keys create first --from-database | picloud login URL"
)
@keys.command("create")
@click.argument("name")
@click.option("--expires", type=Lifetime(), help="From then on it is refused: in 12h, 90d, or RFC 3339.")
@click.option("--from-database", is_flag=True, help="Make an administrator's key in PICLOUD_DATABASE_URL itself.")
@context_option
@json_option
def create_key(*, name: str, expires: datetime | None, from_database: bool, as_json: bool) -> None:
    """Make a key for whoever runs this, and print it: this once.

    The first key of an installation is made with --from-database, where the database can
    be reached; no server is asked.
    """
    if from_database and expires is not None:
        raise click.UsageError("a key made from the database does not expire: leave --expires out")
    made = {"name": name, "key": _key_from_database(name)} if from_database else _key_from_server(name, expires)
    if as_json:
        print_json(made)
        return
    click.echo(made["key"])
    note("keep it now: it cannot be shown again")


def _key_from_server(name: str, expires: datetime | None) -> dict[str, Any]:
    body = {"name": name} | as_query({} if expires is None else {"expires_at": expires})
    with open_client() as client:
        made: dict[str, Any] = client.post("/keys", body)
    return made


def _key_from_database(name: str) -> str:
    """A key of the principal ``admin``. Whoever can reach the database could write one anyway.

    Raises:
        ConfigurationError: no database is configured or running here.
        SchemaError: it has no schema yet, or another one.
        UnavailableError: it does not answer.
    """
    import psycopg

    from picloud.control.identity import create_operator_key
    from picloud.database import connect
    from picloud.local.data_folder import with_running_servers
    from picloud.migrations import check_schema

    url = with_running_servers(settings_with()).database_url
    if not url:
        raise ConfigurationError(
            "PICLOUD_DATABASE_URL is not set", hint="in a service, its environment file has it (ops/picloud.env)"
        )
    try:
        with connect(url, name="keys") as connection:
            check_schema(connection)
            return create_operator_key(connection, name)
    except psycopg.OperationalError as error:
        told = str(error).strip().partition("\n")[0]
        raise UnavailableError(f"PostgreSQL does not answer: {told}") from None


@example("picloud keys rm 3 --yes")
@keys.command("rm")
@click.argument("key_id", metavar="ID", type=int)
@yes_option
@connected
def revoke_key(client: Client, *, key_id: int, yes: bool) -> None:
    """Revoke a key; it is refused from now on, everywhere."""
    confirm(f"Revoke key {key_id}?", yes=yes)
    revoked = client.delete(api_path("keys", key_id))
    note(f"revoked {revoked['name']} (pic_…{revoked['last_four']})")
