"""``picloud apps``, ``pause`` and ``resume``."""

from __future__ import annotations

import click

from picloud.cli.client import Client, api_path
from picloud.cli.commands.removing import rows
from picloud.cli.help import example
from picloud.cli.options import confirm, connected, json_option, limit_option, yes_option
from picloud.cli.output import Column, note, print_fields, print_json, print_rows
from picloud.cli.text import age, local_clock

_COLUMNS = (
    Column("NAME", "name"),
    Column("STATE", lambda row: "paused" if row["paused"] else "running"),
    Column("SCRIPTS", "scripts", is_number=True),
    Column("ROUTES", "routes", is_number=True, is_optional=True),
    Column("TRIGGERS", "triggers", is_number=True, is_optional=True),
    Column("DOMAINS", lambda row: ", ".join(row["domains"]), may_shrink=True),
    Column("AGE", lambda row: age(row["created_at"]), is_number=True, is_optional=True),
)


@example("picloud apps ls")
@click.group()
def apps() -> None:
    """List, make and remove apps."""


@example("picloud apps ls --json")
@apps.command("ls")
@limit_option
@json_option
@connected
def list_apps(client: Client, *, limit: int, as_json: bool) -> None:
    """List apps, by name."""
    rows = client.items("/apps", limit=limit)
    print_rows(rows, _COLUMNS, as_json=as_json, empty="no apps yet: `picloud init DIR` and `picloud deploy DIR`")


@example("picloud apps show demo")
@apps.command("show")
@click.argument("app")
@json_option
@connected
def show_app(client: Client, *, app: str, as_json: bool) -> None:
    """Show one app."""
    found = client.get(api_path("apps", app))
    if as_json:
        print_json(found)
        return
    print_fields(
        (
            ("name", found["name"]),
            ("state", f"paused since {local_clock(found['paused_at'])}" if found["paused"] else "running"),
            ("scripts", found["scripts"]),
            ("routes", found["routes"]),
            ("triggers", found["triggers"]),
            ("domains", "\n".join(found["domains"])),
            ("may call", "\n".join(found["http_allowed"])),
            ("revision", found["revision"]),
            ("created", local_clock(found["created_at"])),
            ("answers at", f"{client.url}/@{found['name']}/"),
        )
    )


@example("picloud apps network shop", "picloud apps network shop --allow 192.168.1.50 --allow '*.lan'")
@apps.command("network")
@click.argument("app")
@click.option("--allow", multiple=True, metavar="ENTRY", help="Add to the list; again for more.")
@click.option("--forbid", multiple=True, metavar="ENTRY", help="Take from the list; again for more.")
@json_option
@connected
def show_network(client: Client, *, app: str, allow: tuple[str, ...], forbid: tuple[str, ...], as_json: bool) -> None:
    """Show or change which private addresses scripts of an app may call.

    An ENTRY is an address (192.168.1.50), a network (192.168.1.0/24), a name (nas.lan) or all names below one (*.lan).
    Public addresses need none. A change holds for runs that begin after it; only an instance admin may make one.
    """
    path = api_path("apps", app, "http-allowed")
    is_change = bool(allow or forbid)
    found = client.patch(path, {"allow": allow, "forbid": forbid}) if is_change else client.get(path)
    if as_json:
        print_json(found)
    else:
        entries = [{"entry": entry} for entry in found["allowed"]]
        print_rows(entries, (Column("MAY CALL", "entry"),), as_json=False, empty=f"{app} may call no private address")


@example("picloud apps create shop")
@apps.command("create")
@click.argument("name")
@json_option
@connected
def create_app(client: Client, *, name: str, as_json: bool) -> None:
    """Make an empty app; `picloud deploy` makes one by itself."""
    made = client.post("/apps", {"name": name})
    if as_json:
        print_json(made)
    else:
        note(f"made {made['name']}")


@example("picloud apps rm shop --yes")
@apps.command("rm")
@click.argument("app")
@yes_option
@json_option
@connected
def remove_app(client: Client, *, app: str, yes: bool, as_json: bool) -> None:
    """Remove an app with its scripts, routes, triggers, queues and dead letters.

    What waits or runs is cancelled; its history stays until it is too old.
    """

    def question() -> str:
        waiting = client.get("/queues", app=app)["apps"]
        count = sum(each["pending"] + each["published"] + each["running"] for each in waiting)
        return f"Remove {app} with everything it holds?" + (f" {rows(count)} will be cancelled." if count else "")

    confirm(question, yes=yes)
    removed = client.delete(api_path("apps", app))
    if as_json:
        print_json(removed)
    else:
        note(f"removed {app}; {removed['cancelled']} waiting or running executions were cancelled")


@example("picloud pause shop")
@click.command()
@click.argument("app")
@connected
def pause(client: Client, *, app: str) -> None:
    """Stop running an app's work; its routes answer 503.

    What was accepted waits, what runs goes on to its end.
    """
    client.post(api_path("apps", app, "pause"))
    note(f"{app} is paused; `picloud resume {app}` lets it go on")


@example("picloud resume shop")
@click.command()
@click.argument("app")
@connected
def resume(client: Client, *, app: str) -> None:
    """Go on running an app's work."""
    client.post(api_path("apps", app, "resume"))
    note(f"{app} is running")
