"""``picloud members``: who sees an app, changes what runs in it, or decides about both."""

from __future__ import annotations

import click

from picloud.cli.client import Client, api_path
from picloud.cli.help import example
from picloud.cli.options import confirm, connected, json_option, limit_option, reason_option, yes_option
from picloud.cli.output import Column, Row, note, print_rows
from picloud.cli.text import age

ROLES = ("viewer", "editor", "admin")

_COLUMNS = (
    Column("NAME", "name", may_shrink=True),
    Column("ROLE", "role"),
    Column("KIND", "kind"),
    Column("STATE", lambda row: "disabled" if row["disabled_at"] else "enabled"),
    Column("SINCE", lambda row: f"{age(row['added_at'])} ago", is_number=True, is_optional=True),
)


@example("picloud members add shop anna --role editor")
@click.group()
def members() -> None:
    """See and change who may do what in an app."""


@example("picloud members ls shop --json")
@members.command("ls")
@click.argument("app")
@limit_option
@json_option
@connected
def list_members(client: Client, *, app: str, limit: int, as_json: bool) -> None:
    """List the members of an app.

    Admins and owners of the installation are admins of every app without being listed.
    """
    rows: list[Row] = [{"id": each["name"], **each} for each in client.items(_path(app), limit=limit)]
    print_rows(rows, _COLUMNS, as_json=as_json, empty=f"{app} has no members; admins of the installation manage it")


@example("picloud members add shop anna                    who may look", "picloud members add shop ci --role editor")
@members.command("add")
@click.argument("app")
@click.argument("user")
@click.option("--role", type=click.Choice(ROLES), default="viewer", show_default=True, help="What they are in the app.")
@reason_option
@connected
def add_member(client: Client, *, app: str, user: str, role: str) -> None:
    """Make a user or a service a member of an app."""
    client.put(_path(app, user), {"role": role})
    note(f"{user} is {role} of {app}")


@example("picloud members role shop anna admin")
@members.command("role")
@click.argument("app")
@click.argument("name")
@click.argument("role", type=click.Choice(ROLES))
@reason_option
@connected
def change_member(client: Client, *, app: str, name: str, role: str) -> None:
    """Give a member another role."""
    before = client.get(_path(app, name))
    client.put(_path(app, name), {"role": role})
    note(f"{name} is {role} of {app}, was {before['role']}")


@example("picloud members rm shop anna --yes")
@members.command("rm")
@click.argument("app")
@click.argument("name")
@yes_option
@reason_option
@connected
def remove_member(client: Client, *, app: str, name: str, yes: bool) -> None:
    """End somebody's membership of an app."""
    confirm(f"Take {name} out of {app}?", yes=yes)
    client.delete(_path(app, name))
    note(f"{name} is no member of {app} any more")


def _path(app: str, *name: str) -> str:
    return api_path("apps", app, "members", *name)
