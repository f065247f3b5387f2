"""``picloud releases``: what was deployed, and the way back."""

from __future__ import annotations

import click

from picloud.cli.client import Client, api_path
from picloud.cli.commands.deploy import ANSWER_SECONDS, diff_option, print_changes, print_drift, print_plan
from picloud.cli.commands.of_apps import app_argument, items_of_apps
from picloud.cli.help import example
from picloud.cli.options import confirm, connected, json_option, limit_option, yes_option
from picloud.cli.output import Column, Row, dim, note, print_fields, print_json, print_rows, table
from picloud.cli.text import age, local_clock


def _what(row: Row) -> str:
    what = "deploy" if row["restores"] is None else f"back to {row['restores']}"
    return f"{what}, changed since" if row["is_drifted"] else what


_COLUMNS = (
    Column("", lambda row: "*" if row["is_current"] else ""),
    Column("APP", "app"),
    Column("RELEASE", "number", is_number=True),
    Column("WHAT", _what),
    Column("LABELS", lambda row: ", ".join(row["labels"]), may_shrink=True),
    Column("SCRIPTS", "scripts", is_number=True, is_optional=True),
    Column("AGE", lambda row: age(row["created_at"]), is_number=True),
    Column("BY", "created_by", may_shrink=True, is_optional=True),
)
_SCRIPT_COLUMNS = (
    Column("SCRIPT", "name"),
    Column("VERSION", "version", is_number=True),
    Column("SHA256", lambda row: row["sha256"][:12]),
)


@example("picloud releases ls demo", "picloud releases rollback demo")
@click.group()
def releases() -> None:
    """See what was deployed; roll a whole app back."""


@example("picloud releases ls demo --json")
@releases.command("ls")
@app_argument
@limit_option
@json_option
@connected
def list_releases(client: Client, *, app: str | None, limit: int, as_json: bool) -> None:
    """List the releases of an app, or of all, newest first; * marks the one that runs.

    `changed since` marks an app that something other than a deploy has changed.
    """
    rows = items_of_apps(client, app, "releases", limit)
    print_rows(rows, _COLUMNS, as_json=as_json, empty="no releases: `picloud deploy DIR` makes one")


@example("picloud releases show demo 3 --diff")
@releases.command("show")
@click.argument("app")
@click.argument("release", metavar="N", type=click.IntRange(min=1))
@click.option("--diff", is_flag=True, help="Show what it changed in each script.")
@json_option
@connected
def show_release(client: Client, *, app: str, release: int, diff: bool, as_json: bool) -> None:
    """Show a release: the versions of its scripts, and what it changed.

    With --json also its manifest.
    """
    found = client.get(api_path("apps", app, "releases", release), diff="true" if diff else None)
    if as_json:
        print_json(found)
        return
    print_fields(
        (
            ("release", f"{app} {found['number']}{', which runs' if found['is_current'] else ''}"),
            ("what", _what(found)),
            ("labels", "\n".join(found["labels"])),
            ("sha256", found["sha256"]),
            ("deployed", local_clock(found["created_at"])),
            ("by", found["created_by"]),
        )
    )
    if found["versions"]:
        click.echo("\n" + table(found["versions"], _SCRIPT_COLUMNS))
    before = "nothing" if found["previous"] is None else f"release {found['previous']}"
    click.echo(f"\n{dim(f'after {before}')}")
    if not found["changes"]:
        click.echo("no change")
    print_changes(found["changes"])
    print_drift(app, found["drift"])


@example("picloud releases rollback demo --dry-run", "picloud releases rollback demo 3 --yes")
@releases.command("rollback")
@click.argument("app")
@click.argument("release", metavar="[N]", type=click.IntRange(min=1), required=False)
@click.option("--dry-run", is_flag=True, help="Print the plan and change nothing.")
@click.option("--cancel-waiting", is_flag=True, help="Cancel what waits for scripts, triggers and queues that go.")
@diff_option
@yes_option
@json_option
@connected
def roll_back(
    client: Client,
    *,
    app: str,
    release: int | None,
    dry_run: bool,
    cancel_waiting: bool,
    diff: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Make an app what it was in release N, or before the last deploy.

    Routes, triggers, queues and the versions of all scripts go back in one transaction; no
    version is written and none is lost. The rollback is a release too, so that a rollback to
    the number before it undoes it. Runs that have begun end as they began; keys, secrets and
    domains are not part of a release.
    """
    path = api_path("apps", app, "rollback")
    body = {"release": release, "cancel_waiting": cancel_waiting, "diff": diff or dry_run}
    if not dry_run:

        def question() -> str:
            plan = client.post(path, body | {"dry_run": True}, answer_seconds=ANSWER_SECONDS)
            print_changes(plan["changes"], plan["kept"])
            return f"Make {len(plan['changes'])} changes to {app}?"

        confirm(question, yes=yes)
    plan = client.post(path, body | {"dry_run": dry_run}, answer_seconds=ANSWER_SECONDS)
    if as_json:
        print_json(plan)
        return
    print_plan(plan)
    if plan["unchanged"] and not dry_run:
        note(f"{app} runs release {plan['release']}")
