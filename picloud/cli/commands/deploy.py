"""``picloud deploy``: an app folder as one request, its plan as a diff."""

from __future__ import annotations

from collections.abc import Sequence
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
#: By the first character of a line.
_DIFF_COLORS = {"+": "green", "-": "red", "@": "cyan"}
#: A deploy of hundreds of scripts compiles all of them on the server.
ANSWER_SECONDS = 120.0

diff_option = click.option("--diff", is_flag=True, help="Show what changes in each script; --dry-run does anyway.")


@example("picloud deploy demo --dry-run", "picloud deploy demo --release $CI_COMMIT_SHA")
@click.command()
@folder_argument
@click.option("--dry-run", is_flag=True, help="Print the plan and change nothing.")
@click.option("--cancel-waiting", is_flag=True, help="Cancel what waits for scripts, triggers and queues that go.")
@diff_option
@click.option("--release", metavar="LABEL", help="What the release is called: the same again does nothing.")
@click.option(
    "--expect-revision", type=click.IntRange(min=0), metavar="N", help="Only if the app is at this revision; 0: new."
)
@click.option("--allow-missing-secrets", is_flag=True, help="Deploy though a secret it requires is not set.")
@json_option
@connected
def deploy(
    client: Client,
    *,
    directory: Path,
    dry_run: bool,
    cancel_waiting: bool,
    diff: bool,
    release: str | None,
    expect_revision: int | None,
    allow_missing_secrets: bool,
    as_json: bool,
) -> None:
    """Apply an app folder to the server.

    Everything changes in one transaction, or nothing. What the folder no longer holds is
    removed: what was accepted for it still runs, and a queue stays while there are messages
    in it, unless they are to be cancelled. Deploying the same folder again changes nothing.

    What the app is now is kept as a release: `picloud releases rollback` goes back to one.
    With --release a repeat is harmless: a label stands for one content, whatever came since.
    """
    folder = read_folder(directory)
    with refusals_shown(directory):
        plan = client.post(
            api_path("apps", folder.manifest.app, "deploy"),
            {
                **folder.to_data(),
                "dry_run": dry_run,
                "cancel_waiting": cancel_waiting,
                "diff": diff or dry_run,
                "allow_missing_secrets": allow_missing_secrets,
                "release": release,
            },
            headers={} if expect_revision is None else {"If-Match": f'"{expect_revision}"'},
            answer_seconds=ANSWER_SECONDS,
        )
    if as_json:
        print_json(plan)
        return
    print_plan(plan)
    if not dry_run:
        note(f"{plan['app']} answers at {client.url}/@{plan['app']}/")


def print_plan(plan: dict[str, Any]) -> None:
    """What a deploy or a rollback changed, or would change: a line each, and below it the difference of a source."""
    if plan["unchanged"]:
        click.echo(f"{plan['app']}: nothing to change")
    print_changes(plan["changes"], plan.get("kept", []))  # an older server keeps nothing
    print_drift(plan["app"], plan.get("drift", []))
    missing = plan.get("missing_secrets", [])
    for name in missing:
        note(f"{plan['app']} requires the secret {name}: `picloud secrets set {plan['app']} {name}`")
    if plan.get("note"):
        note(plan["note"])
    if not plan["unchanged"]:
        count = len(plan["changes"])
        noun = "change" if count == 1 else "changes"
        made = "planned, none made" if plan["dry_run"] else "made"
        number = plan.get("release")
        note(f"{plan['app']}: {count} {noun} {made}" + (f"; this is release {number}" if number else ""))


def print_changes(changes: Sequence[dict[str, Any]], kept: Sequence[dict[str, Any]] = ()) -> None:
    """A line for each change, and for what stays though nothing names it."""
    width = max([len("script"), *(len(row["kind"]) for row in (*changes, *kept))])
    for change in changes:
        sign, color = _SIGNS.get(change["action"], ("?", "white"))
        click.echo(f"{click.style(sign, fg=color)} {_line(change, width)}")
        for line in (change.get("diff") or "").splitlines():
            click.echo(f"    {click.style(printable(line), fg=_DIFF_COLORS.get(line[:1]))}")
    for row in kept:
        click.echo(f"= {_line(row, width)}")


def print_drift(app: str, drift: Sequence[dict[str, Any]]) -> None:
    """What something other than a deploy had changed, for people."""
    if not drift:
        return
    note(f"{app} was changed since its last release, by something other than a deploy:")
    for each in drift:
        note(f"  {each['kind']} {each['name']}: {each['what']}")


def _line(row: dict[str, Any], width: int) -> str:
    about = f"  {dim(printable(row['note']))}" if row.get("note") else ""
    return f"{row['kind'].ljust(width)} {printable(row['name'])}{about}"
