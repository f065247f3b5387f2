"""``picloud audit``: who did what to which object."""

from __future__ import annotations

import json
from typing import Any

import click

from picloud.cli.client import Client, api_path
from picloud.cli.help import example
from picloud.cli.options import as_query, connected, filters, json_option, limit_option
from picloud.cli.output import Column, print_fields, print_json, print_rows
from picloud.cli.text import age, local_clock

_COLUMNS = (
    Column("ID", "id", is_number=True),
    Column("AGE", lambda row: age(row["at"]), is_number=True),
    Column("WHO", "principal"),
    Column("WITH", "credential", is_optional=True),
    Column("DID", "action"),
    Column("APP", lambda row: row["app"] or ""),
    Column("OBJECT", "object", may_shrink=True),
    Column("WHY", lambda row: row["reason"] or "", may_shrink=True, is_optional=True),
)


@example("picloud audit ls --app shop --since 7d")
@click.group()
def audit() -> None:
    """See who did what to which object, and why."""


@example("picloud audit ls --user anna", "picloud audit ls --action set_secret --json")
@audit.command("ls")
@click.option("--app", metavar="APP", help="Only what was done in this app.")
@click.option("--user", metavar="USER", help="Only what this user or service did.")
@click.option("--action", metavar="ACTION", help="Only this: an operation of the control API, as put_script.")
@click.option("--object", metavar="NAME", help="Only what was done to this: a script's name, a letter's id, …")
@filters("since")
@limit_option
@json_option
@connected
def list_entries(
    client: Client, /, *, app: str | None, user: str | None, limit: int, as_json: bool, **given: object
) -> None:
    """List what was done, newest first.

    Instance admins see all of it; admins of an app name that app.
    """
    path = "/audit" if app is None else api_path("apps", app, "audit")
    rows = client.items(path, limit=limit, principal=user, **as_query(given))
    print_rows(rows, _COLUMNS, as_json=as_json, empty="nothing was done")


@example("picloud audit show 42")
@audit.command("show")
@click.argument("entry_id", metavar="ID", type=int)
@json_option
@connected
def show_entry(client: Client, *, entry_id: int, as_json: bool) -> None:
    """Show one entry, with what was there before and after."""
    found = client.get(api_path("audit", entry_id))
    if as_json:
        print_json(found)
        return
    print_fields(
        (
            ("at", local_clock(found["at"])),
            ("who", f"{found['principal']} ({found['credential']})"),
            ("did", found["action"]),
            ("app", found["app"] or "-"),
            ("object", found["object"] or "-"),
            ("why", found["reason"] or "-"),
            ("request", found["request_id"] or "-"),
            ("before", _told(found["before"])),
            ("after", _told(found["after"])),
        )
    )


def _told(value: Any) -> str:
    return "-" if value is None else json.dumps(value, ensure_ascii=False, indent=2)
