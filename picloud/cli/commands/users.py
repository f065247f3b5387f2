"""``picloud users``: who may sign in or have keys, and what they are in the whole installation."""

from __future__ import annotations

from typing import Any

import click

from picloud.cli.asking import ask_password
from picloud.cli.client import Client, api_path
from picloud.cli.help import example
from picloud.cli.options import (
    confirm,
    connected,
    context_option,
    json_option,
    limit_option,
    open_client,
    reason_option,
    yes_option,
)
from picloud.cli.output import Column, Row, note, print_fields, print_json, print_rows
from picloud.cli.own_database import change_database, from_database_option, own_database, own_url
from picloud.cli.text import age, local_clock

ROLES = ("member", "admin", "owner")


def _state(row: Row) -> str:
    if row["disabled_at"]:
        return "disabled"
    return "enabled" if row["has_password"] or row["kind"] == "service" else "no password"


_COLUMNS = (
    Column("NAME", "name", may_shrink=True),
    Column("KIND", "kind"),
    Column("ROLE", "role"),
    Column("STATE", _state),
    Column("AGE", lambda row: age(row["created_at"]), is_number=True, is_optional=True),
    Column("APPS", lambda row: ", ".join(row["apps"]), may_shrink=True, is_optional=True),
)


@example("picloud users create anna", "picloud users create ci --service")
@click.group()
def users() -> None:
    """List, make and disable users; change roles and passwords."""


@example("picloud users ls --json")
@users.command("ls")
@limit_option
@json_option
@connected
def list_users(client: Client, *, limit: int, as_json: bool) -> None:
    """List users and services, by name."""
    print_rows(client.items("/users", limit=limit), _COLUMNS, as_json=as_json, empty="no users")


@example("picloud users show anna")
@users.command("show")
@click.argument("name")
@json_option
@connected
def show_user(client: Client, *, name: str, as_json: bool) -> None:
    """Show a user or a service with its apps and roles."""
    found = client.get(api_path("users", name))
    if as_json:
        print_json(found)
        return
    print_fields(
        (
            ("name", found["name"]),
            ("kind", found["kind"]),
            ("role", found["role"]),
            ("state", _state(found)),
            ("created", local_clock(found["created_at"])),
            ("disabled", local_clock(found["disabled_at"])),
            ("apps", "\n".join(f"{app}: {role}" for app, role in found["apps"].items())),
        )
    )


@example(
    "picloud users create anna                                   asks for the password",
    "picloud users create ci --service && picloud keys create ci --for ci",
    "picloud users create root --role owner --from-database      on the server, the first admin",
)
@users.command("create")
@click.argument("name")
@click.option("--role", type=click.Choice(ROLES), default="member", show_default=True, help="In the installation.")
@click.option("--service", is_flag=True, help="A program: it has keys and no password.")
@click.option("--no-password", is_flag=True, help="Somebody who cannot sign in yet.")
@from_database_option
@reason_option
@context_option
@json_option
def create_user(*, name: str, from_database: bool, as_json: bool, **given: Any) -> None:
    """Make a user, or a service.

    The password is asked for, or read from standard input. Only an owner makes admins and owners.
    """
    body: dict[str, Any] = {"name": name, "role": given["role"], "kind": "service" if given["service"] else "user"}
    if not (given["service"] or given["no_password"]):
        body["password"] = ask_password(twice=True)
    if from_database:
        made = _create_in_database(body)
    else:
        with open_client() as client:
            made = client.post("/users", body)
    if as_json:
        print_json(made)
    else:
        note(f"made the {made['kind']} {made['name']}, {made['role']} of the installation")


@example("picloud users role anna admin")
@users.command("role")
@click.argument("name")
@click.argument("role", type=click.Choice(ROLES))
@reason_option
@connected
def change_role(client: Client, *, name: str, role: str) -> None:
    """Change what somebody is in the whole installation.

    Roles in an app are those of `picloud members`.
    """
    client.patch(api_path("users", name), {"role": role})
    note(f"{name} is {role} now")


@example("picloud users disable anna --reason 'left the company'")
@users.command("disable")
@click.argument("name")
@yes_option
@reason_option
@connected
def disable_user(client: Client, *, name: str, yes: bool) -> None:
    """Sign somebody out everywhere and refuse their keys, at once.

    What waits to run as them becomes dead letters. `picloud users enable` undoes it; sessions
    do not come back.
    """
    confirm(f"Disable {name}?", yes=yes)
    client.patch(api_path("users", name), {"disabled": True})
    note(f"{name} is disabled")


@example("picloud users enable anna")
@users.command("enable")
@click.argument("name")
@reason_option
@connected
def enable_user(client: Client, *, name: str) -> None:
    """Let somebody sign in again and use their keys."""
    client.patch(api_path("users", name), {"disabled": False})
    note(f"{name} is enabled")


@example(
    "picloud users password                          your own",
    "picloud users password anna                     somebody else's",
    "picloud users password anna --from-database     on the server, when nobody can sign in",
)
@users.command("password")
@click.argument("name", required=False)
@from_database_option
@reason_option
@context_option
def change_password(*, name: str | None, from_database: bool) -> None:
    """Set a password, your own without NAME.

    For your own the old one is asked for first. On standard input each password is a line. All
    other sessions of the user end.
    """
    if from_database:
        if name is None:
            raise click.UsageError("--from-database needs the NAME of a user")
        _set_in_database(name, ask_password("New password", twice=True))
    else:
        with open_client() as client:
            if name is None:
                body = {"old": ask_password("Old password"), "new": ask_password("New password", twice=True)}
                client.post("/me/password", body)
            else:
                new = ask_password(f"New password of {name}", twice=True)
                client.put(api_path("users", name, "password"), {"password": new})
    note("the password is changed; other sessions have ended")


@example("picloud users rm anna --yes")
@users.command("rm")
@click.argument("name")
@yes_option
@reason_option
@connected
def remove_user(client: Client, *, name: str, yes: bool) -> None:
    """Remove a disabled user of whom no app, script, route, trigger or secret tells."""
    confirm(f"Remove {name}, with all keys and memberships?", yes=yes)
    client.delete(api_path("users", name))
    note(f"removed {name}")


@example("picloud users setup-link")
@users.command("setup-link")
def print_setup_link() -> None:
    """Print the one-time link that makes the first admin; on the server.

    It works once, for 15 minutes, while nobody who can sign in is admin or owner.
    """
    from picloud.identity.setup import make_setup_link

    with own_database("setup") as connection:
        click.echo(make_setup_link(connection, own_url()))
    note("it works once, for 15 minutes; whoever opens it becomes owner")


def _create_in_database(body: dict[str, Any]) -> dict[str, Any]:
    """Make a user as the operator of this machine."""
    import msgspec

    from picloud.access import Caller, InstanceRole
    from picloud.control.audit import Entry
    from picloud.control.records import Connection
    from picloud.identity import users as people

    name, password = body["name"], body.get("password")
    people.check_name(name)
    hashed = None if password is None else _hashed(password, name)
    wanted = people.NewUser(name, body["kind"], InstanceRole(body["role"]), hashed)
    entry = Entry("create_user", object=name)

    async def create(connection: Connection, operator: Caller) -> people.User:
        made = entry.after = await people.create_user(connection, operator, wanted)
        return made

    made: dict[str, Any] = msgspec.to_builtins(change_database(entry, create))
    return made


def _set_in_database(name: str, password: str) -> None:
    from picloud.access import Caller
    from picloud.control.audit import Entry
    from picloud.control.records import Connection
    from picloud.identity import users as people

    hashed = _hashed(password, name)

    async def reset(connection: Connection, operator: Caller) -> None:
        await people.reset_password(connection, operator, name, hashed)

    change_database(Entry("reset_password", object=name), reset)


def _hashed(password: str, name: str) -> str:
    from picloud.identity import passwords

    passwords.check_password(password, name)
    return passwords.HASHER.hash(passwords.normalized(password))
