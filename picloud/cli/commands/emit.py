"""``picloud emit``: a trigger's source, fired by hand."""

from __future__ import annotations

from typing import Any

import click

from picloud.cli.client import Client, api_path
from picloud.cli.help import example
from picloud.cli.options import connected, json_option, read_json
from picloud.cli.output import Column, note, print_json, print_rows

_SOURCES = ("kv", "cron", "pubsub", "queue", "email", "dead_letter")
_COLUMNS = (Column("EXECUTION", "id"), Column("TRIGGER", "trigger"), Column("SCRIPT", "script"))


@example(
    'picloud emit kv shop \'{"op": "insert", "collection": "orders", "key": "7", "value": {"total": 5}}\'',
    "picloud emit cron shop --trigger nightly",
    'picloud emit queue shop \'{"queue": "mails", "message": {"to": "ada"}}\'',
)
@click.command()
@click.argument("source", type=click.Choice(_SOURCES))
@click.argument("app")
@click.argument("event", metavar="[JSON|@FILE|-]", required=False)
@click.option("--trigger", metavar="NAME", help="Only this trigger, in place of all that listen.")
@json_option
@connected
def emit(client: Client, *, source: str, app: str, event: str | None, trigger: str | None, as_json: bool) -> None:
    r"""Fire a trigger's source by hand: what listens runs as if it had happened.

    \b
    kv           op, collection, key, value, old_value: no key is changed
    cron         nothing, or the trigger's name as trigger
    pubsub       topic, message
    queue        queue, message, delay_seconds, key: a message like any other
    email        to, from, subject, text, html
    dead_letter  dead_letter_id: its handlers get that letter once more

    When nothing listens it says so, and that is no failure.
    """
    given: Any = {} if event is None else read_json("@-" if event == "-" else event, "EVENT")
    if not isinstance(given, dict):
        raise click.UsageError("EVENT: expected a JSON object")
    body: dict[str, Any] = {"source": source, "event": given, "trigger": trigger}
    emitted = client.post(api_path("apps", app, "emit"), body)
    if as_json:
        print_json(emitted)
    else:
        print_rows(emitted["executions"], _COLUMNS, as_json=False, empty="nothing was fired")
    if emitted["note"]:
        note(emitted["note"])
