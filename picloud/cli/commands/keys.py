"""``picloud keys``: API keys."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click

from picloud.access import Scope
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
    yes_option,
)
from picloud.cli.output import Column, Row, note, print_fields, print_json, print_rows
from picloud.cli.own_database import own_database
from picloud.cli.text import age, local_clock, parse_time

SCOPES = [scope.value for scope in Scope]


def _state(row: Row) -> str:
    if row["revoked_at"]:
        return "revoked"
    expires_at = row["expires_at"]
    return "expired" if expires_at and parse_time(expires_at) <= datetime.now(UTC) else "valid"


_COLUMNS = (
    Column("ID", "id", is_number=True),
    Column("NAME", "name", may_shrink=True),
    Column("KEY", lambda row: f"pic_…{row['last_four']}"),
    Column("OF", "principal", is_optional=True),
    Column("STATE", _state),
    Column("APP", lambda row: row["app"] or "", is_optional=True),
    Column("SCOPES", lambda row: " ".join(row["scopes"]), may_shrink=True, is_optional=True),
    Column("AGE", lambda row: age(row["created_at"]), is_number=True, is_optional=True),
    Column("USED", lambda row: age(row["last_used_at"]) if row["last_used_at"] else "never", is_optional=True),
    Column("EXPIRES", lambda row: local_clock(row["expires_at"])[:16], is_optional=True),
)


@example("picloud keys ls")
@click.group()
def keys() -> None:
    """List, make and revoke API keys."""


@example("picloud keys ls --json")
@keys.command("ls")
@click.option("--app", metavar="APP", help="Only keys that are for this one app, whoever they belong to.")
@limit_option
@json_option
@connected
def list_keys(client: Client, *, app: str | None, limit: int, as_json: bool) -> None:
    """List API keys, newest first: your own; as an instance admin all."""
    path = "/keys" if app is None else api_path("apps", app, "keys")
    print_rows(client.items(path, limit=limit), _COLUMNS, as_json=as_json, empty="no keys")


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
            ("app", found["app"] or "any"),
            ("scopes", " ".join(found["scopes"])),
            ("last used", local_clock(found["last_used_at"])),
            ("created", local_clock(found["created_at"])),
            ("expires", local_clock(found["expires_at"])),
            ("revoked", local_clock(found["revoked_at"])),
        )
    )


@example(
    "picloud keys create ci --app shop --scope script:write --expires 90d > key.txt",
    "picloud keys create first --from-database | picloud login URL",
)
@keys.command("create")
@click.argument("name")
@click.option("--expires", type=Lifetime(), help="From then on it is refused: in 12h, 90d, or RFC 3339.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(SCOPES),
    help="What it may; several times for several.  [default: all you may]",
)
@click.option("--app", metavar="APP", help="The one app it is for.  [default: all of your apps]")
@click.option("--for", "principal", metavar="USER", help="Whom it belongs to; for instance admins.  [default: you]")
@click.option("--from-database", is_flag=True, help="Make an administrator's key in PICLOUD_DATABASE_URL itself.")
@context_option
@json_option
def create_key(*, name: str, from_database: bool, as_json: bool, **limits: Any) -> None:
    """Make a key, and print it: this once.

    It may at most what the key it is made with may, and only in the scopes that are named.

    The first key of an installation is made with --from-database, where the database can
    be reached; no server is asked.
    """
    given = {key: value for key, value in limits.items() if value}
    if from_database and given:
        raise click.UsageError("a key made from the database has no limits: leave them out")
    made = {"name": name, "key": _key_from_database(name)} if from_database else _key_from_server(name, given)
    if as_json:
        print_json(made)
        return
    click.echo(made["key"])
    note("keep it now: it cannot be shown again")


def _key_from_server(name: str, limits: dict[str, Any]) -> dict[str, Any]:
    expires: datetime | None = limits.pop("expires", None)
    body = {"name": name, **limits} | as_query({} if expires is None else {"expires_at": expires})
    with open_client() as client:
        made: dict[str, Any] = client.post("/keys", body)
    return made


def _key_from_database(name: str) -> str:
    """A key of this machine's operator, the principal ``local``. Whoever can reach the database could write one anyway.

    Raises:
        ConfigurationError: no database is configured or running here.
        SchemaError: it has no schema yet, or another one.
        UnavailableError: it does not answer.
    """
    from picloud.identity.keys import create_operator_key

    with own_database("keys") as connection:
        return create_operator_key(connection, name)


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
