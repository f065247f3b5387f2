"""``picloud scripts``: scripts of an app, and their immutable versions."""

from __future__ import annotations

from pathlib import Path

import click

from picloud.cli.client import Client, api_path
from picloud.cli.commands.of_apps import app_argument, items_of_apps
from picloud.cli.commands.removing import cancel_waiting_option, rows
from picloud.cli.help import example
from picloud.cli.options import confirm, connected, json_option, limit_option, yes_option
from picloud.cli.output import Column, note, print_fields, print_json, print_rows
from picloud.cli.text import age, compact_json, duration, local_clock, printable

_COLUMNS = (
    Column("APP", "app"),
    Column("NAME", "name"),
    Column("VERSION", "version", is_number=True),
    Column("TIMEOUT", lambda row: duration(row["timeout_seconds"]), is_number=True, is_optional=True),
    Column("CHANGED", lambda row: age(row["updated_at"]), is_number=True),
    Column("BY", "updated_by", may_shrink=True, is_optional=True),
)
_VERSION_COLUMNS = (
    Column("", lambda row: "*" if row["is_current"] else ""),
    Column("VERSION", "version", is_number=True),
    Column("SHA256", lambda row: row["sha256"][:12]),
    Column("AGE", lambda row: age(row["created_at"]), is_number=True),
    Column("BY", "created_by", may_shrink=True, is_optional=True),
)


@example("picloud scripts ls demo")
@click.group()
def scripts() -> None:
    """See scripts and their versions; roll back."""


@example("picloud scripts ls demo --json")
@scripts.command("ls")
@app_argument
@limit_option
@json_option
@connected
def list_scripts(client: Client, *, app: str | None, limit: int, as_json: bool) -> None:
    """List the scripts of an app, or of all."""
    rows = items_of_apps(client, app, "scripts", limit)
    print_rows(rows, _COLUMNS, as_json=as_json, empty="no scripts")


@example("picloud scripts show demo hello --source > hello.rhai")
@scripts.command("show")
@click.argument("app")
@click.argument("script")
@click.option("--version", type=click.IntRange(min=1), metavar="N", help="This version, not the current one.")
@click.option("--source", "only_source", is_flag=True, help="Print the source and nothing else.")
@json_option
@connected
def show_script(
    client: Client, *, app: str, script: str, version: int | None, only_source: bool, as_json: bool
) -> None:
    """Show one script, or one version of it, with its source."""
    path = api_path("apps", app, "scripts", script)
    found = client.get(path if version is None else path + api_path("versions", version))
    if as_json:
        print_json(found)
        return
    if only_source:
        click.echo(found["source"], nl=not found["source"].endswith("\n"))
        return
    print_fields(
        (
            ("script", f"{app}/{script}"),
            ("version", found["version"]),
            ("sha256", found["sha256"]),
            ("limits", compact_json(found["limits"])),
            ("changed", local_clock(found.get("updated_at") or found["created_at"])),
            ("by", found.get("updated_by") or found.get("created_by")),
        )
    )
    click.echo(f"\n{printable(found['source'])}", nl=not found["source"].endswith("\n"))


@example("picloud scripts create demo hello scripts/hello.rhai")
@scripts.command("create")
@click.argument("app")
@click.argument("script")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path))
@json_option
@connected
def create_script(client: Client, *, app: str, script: str, file: Path, as_json: bool) -> None:
    """Write a script, or a new version of it, from a file (- is standard input)."""
    with click.open_file(str(file), encoding="utf-8") as source:
        made = client.put(api_path("apps", app, "scripts", script), {"source": source.read()})
    if as_json:
        print_json(made)
    else:
        note(f"{app}/{script} is at version {made['version']}")


@example("picloud scripts rm demo hello --yes")
@scripts.command("rm")
@click.argument("app")
@click.argument("script")
@cancel_waiting_option
@yes_option
@json_option
@connected
def remove_script(client: Client, *, app: str, script: str, cancel_waiting: bool, yes: bool, as_json: bool) -> None:
    """Remove a script no route and no trigger uses.

    What was accepted for it still runs, unless it is cancelled.
    """
    path = api_path("apps", app, "scripts", script)

    def question() -> str:
        count = client.get(path)["waiting"]
        fate = "will be cancelled, those that run excepted" if cancel_waiting else "will still run"
        return f"Remove {app}/{script}?" + (f" {rows(count)} {fate}." if count else "")

    confirm(question, yes=yes)
    removed = client.delete(path, cancel_waiting=cancel_waiting or None)
    if as_json:
        print_json(removed)
        return
    parts = (("still_run", "will still run"), ("cancelled", "cancelled"))
    fates = [f"{rows(removed[key])} {fate}" for key, fate in parts if removed[key]]
    note("; ".join([f"removed {app}/{script}", *fates]))


@example("picloud scripts versions demo hello")
@scripts.command("versions")
@click.argument("app")
@click.argument("script")
@limit_option
@json_option
@connected
def list_versions(client: Client, *, app: str, script: str, limit: int, as_json: bool) -> None:
    """List the versions of a script, newest first; * marks the one that runs."""
    rows = client.items(api_path("apps", app, "scripts", script, "versions"), limit=limit)
    print_rows(rows, _VERSION_COLUMNS, as_json=as_json, empty="no versions")


@example("picloud scripts rollback demo hello 3")
@scripts.command("rollback")
@click.argument("app")
@click.argument("script")
@click.argument("version", type=click.IntRange(min=1), required=False)
@json_option
@connected
def roll_back(client: Client, *, app: str, script: str, version: int | None, as_json: bool) -> None:
    """Run an earlier version again: the one before the current, or VERSION."""
    body = {} if version is None else {"version": version}
    now = client.post(api_path("apps", app, "scripts", script, "rollback"), body)
    if as_json:
        print_json(now)
    else:
        note(f"{app}/{script} runs version {now['version']}")
