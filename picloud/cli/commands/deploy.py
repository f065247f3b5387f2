"""``picloud deploy``: an app folder as one request, its plan as a diff."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from picloud.cli.client import Client, api_path
from picloud.cli.commands.check import folder_argument, read_folder, refusals_shown
from picloud.cli.help import example
from picloud.cli.options import connected, json_option
from picloud.cli.output import dim, note, print_json
from picloud.cli.text import printable

_SIGNS = {"create": ("+", "green"), "update": ("~", "yellow"), "delete": ("-", "red")}
#: A deploy of hundreds of scripts compiles all of them on the server.
ANSWER_SECONDS = 120.0


@example("picloud deploy demo --dry-run")
@click.command()
@folder_argument
@click.option("--dry-run", is_flag=True, help="Print the plan and change nothing.")
@click.option("--cancel-waiting", is_flag=True, help="Cancel what waits for scripts, triggers and queues that go.")
@json_option
@connected
def deploy(client: Client, *, directory: Path, dry_run: bool, cancel_waiting: bool, as_json: bool) -> None:
    """Apply an app folder to the server.

    Everything changes in one transaction, or nothing. What the folder no longer holds is
    removed: what was accepted for it still runs, and a queue stays while there are messages
    in it, unless they are to be cancelled. Deploying the same folder again changes nothing.
    """
    folder = read_folder(directory)
    with refusals_shown(directory):
        plan = client.post(
            api_path("apps", folder.manifest.app, "deploy"),
            {**folder.to_data(), "dry_run": dry_run, "cancel_waiting": cancel_waiting},
            answer_seconds=ANSWER_SECONDS,
        )
    if as_json:
        print_json(plan)
        return
    print_plan(plan)
    if not dry_run:
        note(f"{plan['app']} answers at {client.url}/@{plan['app']}/")


def print_plan(plan: dict[str, Any]) -> None:
    """What a deploy changed, or would change: a line each."""
    if plan["unchanged"]:
        click.echo(f"{plan['app']}: nothing to change")
    kept = plan.get("kept", [])  # an older server keeps nothing
    width = max([len("script"), *(len(row["kind"]) for row in (*plan["changes"], *kept))])
    for change in plan["changes"]:
        sign, color = _SIGNS.get(change["action"], ("?", "white"))
        click.echo(f"{click.style(sign, fg=color)} {_line(change, width)}")
    for row in kept:
        click.echo(f"= {_line(row, width)}")
    if not plan["unchanged"]:
        count = len(plan["changes"])
        noun = "change" if count == 1 else "changes"
        note(f"{plan['app']}: {count} {noun} {'planned, none made' if plan['dry_run'] else 'made'}")


def _line(row: dict[str, Any], width: int) -> str:
    about = f"  {dim(printable(row['note']))}" if row.get("note") else ""
    return f"{row['kind'].ljust(width)} {printable(row['name'])}{about}"
