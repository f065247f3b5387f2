"""``picloud routes``: which script answers which requests."""

from __future__ import annotations

from typing import Any

import click

from picloud.access.route_auth import AUTH_KINDS
from picloud.cli.client import Client, api_path
from picloud.cli.commands.of_apps import app_argument, items_of_apps
from picloud.cli.help import example
from picloud.cli.options import confirm, connected, json_option, limit_option, yes_option
from picloud.cli.output import Column, note, print_fields, print_json, print_rows
from picloud.cli.text import local_clock


def _auth(auth: Any) -> str:
    """What a route asks of its callers, in a few words."""
    return auth if isinstance(auth, str) else f"{auth['kind']} ({auth['secret']})"


_COLUMNS = (
    Column("ID", "id", is_number=True),
    Column("APP", "app"),
    Column("METHOD", "method"),
    Column("PATH", "path"),
    Column("SCRIPT", "script"),
    Column("MODE", "dispatch_mode"),
    Column("AUTH", lambda row: _auth(row["auth"]), is_optional=True),
)


@example("picloud routes ls demo")
@click.group()
def routes() -> None:
    """See which script answers where."""


@example("picloud routes ls demo --json")
@routes.command("ls")
@app_argument
@limit_option
@json_option
@connected
def list_routes(client: Client, *, app: str | None, limit: int, as_json: bool) -> None:
    """List the routes of an app, or of all."""
    rows = items_of_apps(client, app, "routes", limit)
    print_rows(rows, _COLUMNS, as_json=as_json, empty="no routes")


@example("picloud routes show demo 7")
@routes.command("show")
@click.argument("app")
@click.argument("route_id", metavar="ID", type=int)
@json_option
@connected
def show_route(client: Client, *, app: str, route_id: int, as_json: bool) -> None:
    """Show one route."""
    found = client.get(api_path("apps", app, "routes", route_id))
    if as_json:
        print_json(found)
        return
    print_fields(
        (
            ("route", f"{found['method']} {found['path']}"),
            ("script", found["script"]),
            ("mode", found["dispatch_mode"]),
            ("asks for", _auth(found["auth"])),
            ("runs as", found["principal"]),
            ("created", local_clock(found["created_at"])),
            ("answers at", f"{client.url}/@{app}{found['path']}"),
        )
    )


@example(
    "picloud routes create demo POST /orders/:id orders --async",
    "picloud routes create demo POST /hooks/github push --auth github --secret GITHUB_SECRET",
)
@routes.command("create")
@click.argument("app")
@click.argument("method")
@click.argument("path")
@click.argument("script")
@click.option("--async", "is_async", is_flag=True, help="Answer 202 and run the script afterwards.")
@click.option("--auth", type=click.Choice(AUTH_KINDS), default="none", help="What it asks of its callers.")
@click.option("--secret", metavar="NAME", help="The secret of the app that signs requests, for the kinds that sign.")
@json_option
@connected
def create_route(
    client: Client,
    *,
    app: str,
    method: str,
    path: str,
    script: str,
    is_async: bool,
    auth: str,
    secret: str | None,
    as_json: bool,
) -> None:
    """Let a script answer requests.

    With --auth api_key callers need a key that may run scripts of the app. github, stripe, slack
    and hmac check the signature of a webhook with a secret of the app.
    """
    if (secret is None) == (auth not in {"none", "api_key"}):
        raise click.UsageError(f"--auth {auth} " + ("needs --secret" if secret is None else "takes no --secret"))
    mode = "async" if is_async else "sync"
    wanted = auth if secret is None else {"kind": auth, "secret": secret}
    body = {"method": method.upper(), "path": path, "script": script, "dispatch_mode": mode, "auth": wanted}
    made = client.post(api_path("apps", app, "routes"), body)
    if as_json:
        print_json(made)
    else:
        note(f"{made['method']} {made['path']} runs {made['script']} ({mode}); its id is {made['id']}")


@example("picloud routes rm demo 7 --yes")
@routes.command("rm")
@click.argument("app")
@click.argument("route_id", metavar="ID", type=int)
@yes_option
@connected
def remove_route(client: Client, *, app: str, route_id: int, yes: bool) -> None:
    """Remove a route."""
    confirm(f"Remove route {route_id} of {app}?", yes=yes)
    client.delete(api_path("apps", app, "routes", route_id))
    note(f"removed route {route_id} of {app}")
