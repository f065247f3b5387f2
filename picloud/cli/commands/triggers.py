"""``picloud triggers``: what makes a script run beside a request."""

from __future__ import annotations

from typing import Any

import click

from picloud.cli.client import Client, api_path
from picloud.cli.commands.of_apps import app_argument, items_of_apps
from picloud.cli.commands.removing import cancel_waiting_option, rows
from picloud.cli.help import example
from picloud.cli.options import Function, confirm, connected, json_option, limit_option, yes_option
from picloud.cli.output import Column, Row, note, print_fields, print_json, print_rows
from picloud.cli.text import compact_json, local_clock

#: As in ``picloud.triggers``, whose import a help text need not pay for; a test compares them.
KINDS = ("kv", "cron", "pubsub", "queue", "email", "dead_letter")


def listens_to(row: Row) -> str:
    """What a trigger waits for, in a few words."""
    match row["kind"]:
        case "kv":
            return f"{row['collection']}  {'+'.join(row['ops'])}"
        case "cron":
            return f"{row['schedule']}  {row['timezone']}"
        case "queue" if "concurrency" in row:
            return f"{row['queue']}  {row['concurrency']} at once"
        case "dead_letter":
            filters = ("source", "trigger", "failed_script")
            return "  ".join(f"{name}={row[name]}" for name in filters if name in row) or "every dead letter"
        case _:
            return str(row.get("topic") or row.get("queue") or row.get("address") or "")


_COLUMNS = (
    Column("APP", "app"),
    Column("NAME", "name", may_shrink=True),
    Column("KIND", "kind"),
    Column("LISTENS TO", listens_to, may_shrink=True),
    Column("SCRIPT", "script"),
    Column("STATE", lambda row: "on" if row["enabled"] else "off"),
    Column("WAITING", lambda row: row["waiting"] or "·", is_number=True, is_optional=True),
)


@example("picloud triggers ls shop")
@click.group()
def triggers() -> None:
    """See and change what makes scripts run."""


@example("picloud triggers ls shop --kind cron --json")
@triggers.command("ls")
@app_argument
@click.option("--kind", type=click.Choice(KINDS), help="Only of this kind.")
@limit_option
@json_option
@connected
def list_triggers(client: Client, *, app: str | None, kind: str | None, limit: int, as_json: bool) -> None:
    """List the triggers of an app, or of all."""
    found = items_of_apps(client, app, "triggers", limit, kind=kind)
    print_rows(found, _COLUMNS, as_json=as_json, empty="no triggers")


@example("picloud triggers show shop nightly")
@triggers.command("show")
@click.argument("app")
@click.argument("trigger")
@json_option
@connected
def show_trigger(client: Client, *, app: str, trigger: str, as_json: bool) -> None:
    """Show one trigger with the retries that hold for it."""
    found = client.get(api_path("apps", app, "triggers", trigger))
    if as_json:
        print_json(found)
        return
    policy = found["policy"]
    print_fields(
        (
            ("trigger", found["name"]),
            ("kind", found["kind"]),
            ("listens to", listens_to(found)),
            ("script", found["script"]),
            ("state", "on" if found["enabled"] else "off"),
            ("missed", found.get("missed")),
            ("next", local_clock(found.get("next_at"))),
            ("last fired", local_clock(found.get("fired_at"))),
            ("runs as", found["principal"]),
            ("attempts", policy["max_attempts"]),
            (
                "back-off",
                f"{policy['backoff']} from {policy['base_ms']} to {policy['max_ms']} ms, ± {policy['jitter_pct']} %"
                if policy["max_attempts"] > 1
                else None,
            ),
            ("own retry", compact_json(found["retry"]) if found["retry"] else None),
            ("waiting", found["waiting"]),
            ("created", local_clock(found["created_at"])),
        )
    )


_DETAILS = (
    click.option("--collection", metavar="GLOB", help="kv: a name, prefix* or *."),
    click.option("--op", "ops", multiple=True, help="kv: insert, update or delete; again for more. All when left out."),
    click.option("--schedule", metavar="CRON", help="cron: '*/5 * * * *', or six fields with seconds first."),
    click.option("--timezone", metavar="ZONE", help="cron: an IANA name; UTC when left out."),
    click.option("--missed", help="cron: what fires of missed ticks: skip, once or all."),
    click.option("--topic", metavar="GLOB", help="pubsub: a name, prefix* or *."),
    click.option("--queue", help="queue: its name; it is made when there is none."),
    click.option("--concurrency", type=int, metavar="N", help="queue: messages that run at once, at most."),
    click.option("--address", help="email: orders, or orders@example.org."),
    click.option("--source", help="dead_letter: only runs that this fired: http, kv, …"),
    click.option("--trigger", metavar="NAME", help="dead_letter: only runs this trigger fired."),
    click.option("--failed-script", metavar="SCRIPT", help="dead_letter: only runs of this script."),
)
_RETRY = (
    click.option("--max-attempts", type=int, metavar="N", help="Runs in all, the first one included."),
    click.option("--backoff", help="exponential, linear or constant."),
    click.option("--base-ms", type=int, metavar="MS", help="The first delay."),
    click.option("--max-ms", type=int, metavar="MS", help="The longest delay."),
    click.option("--jitter-pct", type=int, metavar="PCT", help="How far a delay is moved, both ways."),
)
_RETRY_NAMES = ("max_attempts", "backoff", "base_ms", "max_ms", "jitter_pct")


def _options_of_kinds(function: Function) -> Function:
    for option in reversed((*_DETAILS, *_RETRY)):
        function = option(function)
    return function


@example(
    "picloud triggers create shop kv on_order --collection 'orders:*' --op insert",
    "picloud triggers create shop cron tick --name nightly --schedule '0 3 * * *' --timezone Europe/Berlin",
    "picloud triggers create shop queue work --queue jobs --concurrency 2 --max-attempts 10",
)
@triggers.command("create")
@click.argument("app")
@click.argument("kind", type=click.Choice(KINDS))
@click.argument("script")
@click.option("--name", help="What it is called; when left out, after what it listens to.")
@click.option("--replace", is_flag=True, help="Change the trigger --name names, if there is one.")
@click.option("--disabled", is_flag=True, help="It does not fire before it is enabled.")
@_options_of_kinds
@json_option
@connected
def create_trigger(
    client: Client,
    /,
    *,
    app: str,
    kind: str,
    script: str,
    name: str | None,
    replace: bool,
    disabled: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Let a script run when something happens.

    Of the options below, KIND decides which are needed. A deploy removes triggers that the
    manifest does not name.
    """
    if replace and name is None:
        raise click.UsageError("--replace needs --name: which trigger is to be changed?")
    said = {key: value for key, value in given.items() if value is not None and value != ()}
    retry = {key: said.pop(key) for key in _RETRY_NAMES if key in said}
    body = {"kind": kind, "script": script, "enabled": not disabled, "retry": retry, **said}
    if replace:
        made = client.put(api_path("apps", app, "triggers", name), body)
    else:
        made = client.post(api_path("apps", app, "triggers"), body | ({} if name is None else {"name": name}))
    if as_json:
        print_json(made)
    else:
        note(f"{made['name']} runs {made['script']}: {made['kind']}  {listens_to(made)}")


@example("picloud triggers rm shop nightly --yes")
@triggers.command("rm")
@click.argument("app")
@click.argument("trigger")
@cancel_waiting_option
@yes_option
@json_option
@connected
def remove_trigger(client: Client, *, app: str, trigger: str, cancel_waiting: bool, yes: bool, as_json: bool) -> None:
    """Remove a trigger.

    What it has accepted still runs, unless it is cancelled; messages of its queue wait for
    another consumer.
    """
    path = api_path("apps", app, "triggers", trigger)

    def question() -> str:
        found = client.get(path)
        fate = "will be cancelled" if cancel_waiting else "will still run"
        if found["kind"] == "queue":
            fate = f"will wait in {found['queue']}"
        waiting = f" {rows(found['waiting'])} {fate}." if found["waiting"] else ""
        return f"Remove the trigger {trigger} of {app}?{waiting}"

    confirm(question, yes=yes)
    removed = client.delete(path, cancel_waiting=cancel_waiting or None)
    if as_json:
        print_json(removed)
        return
    parts = (("still_run", "will still run"), ("held", "wait in its queue"), ("cancelled", "cancelled"))
    fates = [f"{rows(removed[key])} {fate}" for key, fate in parts if removed[key]]
    note("; ".join([f"removed {trigger}", *fates]))


@example("picloud triggers enable shop nightly")
@triggers.command("enable")
@click.argument("app")
@click.argument("trigger")
@json_option
@connected
def enable_trigger(client: Client, *, app: str, trigger: str, as_json: bool) -> None:
    """Let a trigger fire again; a schedule begins anew."""
    _switch(client, app, trigger, enabled=True, as_json=as_json)


@example("picloud triggers disable shop nightly")
@triggers.command("disable")
@click.argument("app")
@click.argument("trigger")
@json_option
@connected
def disable_trigger(client: Client, *, app: str, trigger: str, as_json: bool) -> None:
    """Let a trigger fire no more; messages of its queue wait."""
    _switch(client, app, trigger, enabled=False, as_json=as_json)


def _switch(client: Client, app: str, trigger: str, *, enabled: bool, as_json: bool) -> None:
    now = client.patch(api_path("apps", app, "triggers", trigger), {"enabled": enabled})
    if as_json:
        print_json(now)
    else:
        note(f"{trigger} is {'on' if enabled else 'off'}")
