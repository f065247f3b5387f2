"""``picloud queues ls|show|create|rm``: the queues of apps, which hold their messages until a trigger consumes them."""

from __future__ import annotations

import click

from picloud.cli.client import Client, api_path
from picloud.cli.commands.of_apps import app_argument, items_of_apps
from picloud.cli.commands.removing import cancel_waiting_option, messages
from picloud.cli.help import example
from picloud.cli.options import confirm, connected, json_option, limit_option, yes_option
from picloud.cli.output import Column, Row, note, print_fields, print_json, print_rows
from picloud.cli.text import duration, local_clock


def _consumer(row: Row) -> str:
    if row["consumer"] is None:
        return "nobody"
    return str(row["consumer"]) if row["is_consumed"] else f"{row['consumer']} (off)"


_COLUMNS = (
    Column("APP", "app"),
    Column("NAME", "name"),
    Column("WAITING", lambda row: row["waiting"] or "·", is_number=True),
    Column("HELD", lambda row: row["held"] or "·", is_number=True),
    Column("IN FLIGHT", lambda row: row["in_flight"] or "·", is_number=True),
    Column("OLDEST", lambda row: duration(row["oldest_seconds"]) or "·", is_number=True),
    Column("CONSUMER", _consumer, may_shrink=True),
    Column("AT ONCE", lambda row: row["concurrency"] or "·", is_number=True, is_optional=True),
)


@example("picloud queues ls shop --json")
@click.command("ls")
@app_argument
@limit_option
@json_option
@connected
def list_queues(client: Client, *, app: str | None, limit: int, as_json: bool) -> None:
    """List the queues of an app, or of all, with what is in them.

    Held messages wait for a trigger that consumes their queue.
    """
    found = items_of_apps(client, app, "queues", limit)
    print_rows(found, _COLUMNS, as_json=as_json, empty="no queues")


@example("picloud queues show shop jobs")
@click.command("show")
@click.argument("app")
@click.argument("queue")
@json_option
@connected
def show_queue(client: Client, *, app: str, queue: str, as_json: bool) -> None:
    """Show one queue."""
    found = client.get(api_path("apps", app, "queues", queue))
    if as_json:
        print_json(found)
        return
    print_fields(
        (
            ("queue", f"{app}/{found['name']}"),
            ("consumer", _consumer(found)),
            ("script", found["script"]),
            ("at once", found["concurrency"]),
            ("waiting", found["waiting"]),
            ("held", found["held"]),
            ("in flight", found["in_flight"]),
            ("oldest", duration(found["oldest_seconds"])),
            ("created", local_clock(found["created_at"])),
        )
    )


@example("picloud queues create shop jobs")
@click.command("create")
@click.argument("app")
@click.argument("queue")
@json_option
@connected
def create_queue(client: Client, *, app: str, queue: str, as_json: bool) -> None:
    """Make a queue; its messages wait until a trigger consumes it."""
    made = client.post(api_path("apps", app, "queues"), {"name": queue})
    if as_json:
        print_json(made)
    else:
        note(f"made {made['name']}; `picloud triggers create {app} queue SCRIPT --queue {made['name']}` consumes it")


@example("picloud queues rm shop jobs --cancel-waiting --yes")
@click.command("rm")
@click.argument("app")
@click.argument("queue")
@cancel_waiting_option
@yes_option
@json_option
@connected
def remove_queue(client: Client, *, app: str, queue: str, cancel_waiting: bool, yes: bool, as_json: bool) -> None:
    """Remove a queue that no trigger consumes.

    Exits with 6 while there are messages in it, unless they are to be cancelled.
    """
    path = api_path("apps", app, "queues", queue)

    def question() -> str:
        found = client.get(path)
        count = found["waiting"] + found["held"]
        fate = f" {messages(count)} in it will be cancelled." if count and cancel_waiting else ""
        return f"Remove the queue {queue} of {app}?{fate}"

    confirm(question, yes=yes)
    removed = client.delete(path, cancel_waiting=cancel_waiting or None)
    if as_json:
        print_json(removed)
        return
    parts = (("cancelled", "cancelled"), ("in_flight", "under way, to their end"))
    fates = [f"{messages(removed[key])} {fate}" for key, fate in parts if removed[key]]
    note("; ".join([f"removed {queue}", *fates]))
