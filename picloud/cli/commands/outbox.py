"""``picloud outbox``: rows that still have to run."""

from __future__ import annotations

import click

from picloud.cli.client import Client, api_path
from picloud.cli.help import example
from picloud.cli.options import as_query, connected, filters, id_type, json_option, limit_option
from picloud.cli.output import Column, Row, note, print_fields, print_json, print_rows
from picloud.cli.text import age, compact_json, local_clock, until


def _state(row: Row) -> str:
    if row["state"] != "pending" or row["due"]:
        return "due" if row["state"] == "pending" else str(row["state"])
    return f"in {until(row['available_at'])}"


_COLUMNS = (
    Column("ID", "id"),
    Column("APP", "app"),
    Column("SCRIPT", "script"),
    Column("STATE", _state),
    Column("FIRED BY", lambda row: row["trigger"] or row["source"], may_shrink=True, is_optional=True),
    Column("RUNS", lambda row: f"{row['attempts']}/{row['max_attempts']}", is_number=True, is_optional=True),
    Column("AGE", lambda row: age(row["created_at"]), is_number=True, is_optional=True),
)


@example("picloud outbox ls --app shop")
@click.group()
def outbox() -> None:
    """See and cancel what is still to run."""


@example("picloud outbox ls --app shop --status pending")
@outbox.command("ls")
@filters("app", "script", "source", "trigger", "since")
@click.option("--status", type=click.Choice(("pending", "published", "running", "held")), help="Only in this state.")
@limit_option
@json_option
@connected
def list_rows(client: Client, /, *, limit: int, as_json: bool, **given: object) -> None:
    """List rows still to run, the longest accepted first."""
    rows = client.items("/outbox", limit=limit, **as_query(given))
    print_rows(rows, _COLUMNS, as_json=as_json, empty="nothing waits and nothing runs")


@example("picloud outbox show 019a1b2c-3d4e-7f50-8a6b-7c8d9e0f1a2b")
@outbox.command("show")
@click.argument("row_id", metavar="ID", type=id_type)
@json_option
@connected
def show_row(client: Client, *, row_id: str, as_json: bool) -> None:
    """Show one row with the event it carries."""
    found = client.get(api_path("outbox", row_id))
    if as_json:
        print_json(found)
        return
    print_fields(
        (
            ("id", found["id"]),
            ("script", f"{found['app'] or '(gone)'}/{found['script'] or '(gone)'}"),
            ("state", _state(found)),
            ("fired by", f"{found['source']}  {found['trigger'] or ''}".strip()),
            ("runs", f"{found['attempts']} of {found['max_attempts']}"),
            ("accepted", local_clock(found["created_at"])),
            ("not before", local_clock(found["available_at"])),
            ("started", local_clock(found["started_at"])),
            ("worker", found["worker_id"]),
            ("key", found["order_key"]),
            ("root", found["root_execution_id"] if found["root_execution_id"] != found["id"] else None),
            ("caused by", found["parent_execution_id"]),
            ("depth", found["trigger_depth"] or None),
            ("crashes", found["crashes"] or None),
            ("lost", found["lost"] or None),
            ("event", compact_json(found["event"])),
        )
    )


@example("picloud outbox cancel 019a1b2c-3d4e-7f50-8a6b-7c8d9e0f1a2b")
@outbox.command("cancel")
@click.argument("row_id", metavar="ID", type=id_type)
@json_option
@connected
def cancel_row(client: Client, *, row_id: str, as_json: bool) -> None:
    """Take a row back, whether it waits or runs.

    What a running script did through PiCloud is undone. Exits with 6 when it has ended already.
    """
    cancelled = client.post(api_path("outbox", row_id, "cancel"))
    if as_json:
        print_json(cancelled)
    else:
        note(f"cancelled {row_id}")
