"""``picloud dead-letters``: what failed for good, and what is done about it."""

from __future__ import annotations

import json
from typing import Any

import click

from picloud.cli.client import Client, api_path
from picloud.cli.commands.dry_runs import try_letter
from picloud.cli.commands.letter_options import letter_argument, letter_filters
from picloud.cli.commands.resolutions import edit, ignore, replay
from picloud.cli.help import example
from picloud.cli.options import as_query, connected, json_option, limit_option
from picloud.cli.output import Column, print_fields, print_json, print_rows, status
from picloud.cli.text import age, compact_json, error_hint, error_text, local_clock, one_line, printable

_COLUMNS = (
    Column("ID", "id"),
    Column("APP", "app"),
    Column("SCRIPT", "script"),
    Column("RESOLUTION", "resolution"),
    Column("FINGERPRINT", "fingerprint", is_optional=True),
    Column("REASON", "reason", is_optional=True),
    Column("RUNS", "attempt_count", is_number=True, is_optional=True),
    Column("DIED", lambda row: age(row["died_at"]), is_number=True, is_optional=True),
    Column("ERROR", lambda row: one_line(error_text(row["last_error"], row["script"])), may_shrink=True),
)
_GROUP_COLUMNS = (
    Column("FINGERPRINT", "fingerprint"),
    Column("COUNT", "count", is_number=True),
    Column("APP", "app"),
    Column("SCRIPT", "script"),
    Column("FIRST", lambda row: age(row["first_died_at"]), is_number=True, is_optional=True),
    Column("LAST", lambda row: age(row["last_died_at"]), is_number=True),
    Column("EXAMPLE", "example_id", is_optional=True),
    Column("ERROR", lambda row: one_line(error_text(row["last_error"], row["script"])), may_shrink=True),
)


@example("picloud dead-letters ls --resolution unresolved")
@click.group()
def dead_letters() -> None:
    """See, replay, edit or ignore what failed for good."""


for command in (replay, ignore, edit, try_letter):
    dead_letters.add_command(command)


@example("picloud dead-letters ls --app shop --resolution unresolved")
@dead_letters.command("ls")
@letter_filters
@click.option("--group", is_flag=True, help="Count them by error, as `dead-letters groups` does.")
@limit_option
@json_option
@connected
def list_letters(client: Client, /, *, group: bool, limit: int, as_json: bool, **given: object) -> None:
    """List dead letters, newest first."""
    if group:
        _print_groups(client, given, limit=limit, as_json=as_json)
        return
    rows = client.items("/dead-letters", limit=limit, **as_query(given))
    print_rows(rows, _COLUMNS, as_json=as_json, empty="no dead letters")


@example("picloud dead-letters groups --app shop --since 1d")
@dead_letters.command("groups")
@letter_filters
@limit_option
@json_option
@connected
def list_groups(client: Client, /, *, limit: int, as_json: bool, **given: object) -> None:
    """Count dead letters by error, the most frequent first.

    Errors of one script at one place are the same when their messages differ in ids,
    numbers and quoted values only. Without --resolution: of those that are still open.
    """
    _print_groups(client, given, limit=limit, as_json=as_json)


def _print_groups(client: Client, given: dict[str, object], *, limit: int, as_json: bool) -> None:
    rows = client.items("/dead-letters/groups", limit=limit, **as_query(given))
    print_rows(rows, _GROUP_COLUMNS, as_json=as_json, empty="no dead letters")


@example("picloud dead-letters show 019a1b2c-3d4e-7f50-8a6b-7c8d9e0f1a2b")
@dead_letters.command("show")
@letter_argument
@json_option
@connected
def show_letter(client: Client, *, letter_id: str, as_json: bool) -> None:
    """Show one dead letter: its event, every attempt with its log, what handled and replayed it."""
    found = client.get(api_path("dead-letters", letter_id))
    if as_json:
        print_json(found)
    else:
        _print_letter(found)


def _print_letter(found: dict[str, Any]) -> None:
    resolution = found["resolution"]
    if found["resolved_by"]:
        resolution += f" by {found['resolved_by']}"
    if found["resolved_at"]:
        resolution += f", {local_clock(found['resolved_at'])}"
    version = "" if found["version"] is None else f" v{found['version']}"
    replayed = " ".join(part for part in (found["replayed_as"], found["replay_status"]) if part)
    print_fields(
        (
            ("id", found["id"]),
            ("script", f"{found['app'] or '(gone)'}/{found['script'] or '(gone)'}{version}"),
            ("fired by", f"{found['source']}  {found['trigger'] or ''}".strip()),
            ("queue", found["queue"]),
            ("order key", found["order_key"]),
            ("root", found["root_execution_id"] if found["root_execution_id"] != found["id"] else None),
            ("caused by", found["parent_execution_id"]),
            ("resolution", resolution),
            ("note", found["resolution_note"]),
            ("replayed as", replayed),
            ("reason", found["reason"]),
            ("accepted", local_clock(found["accepted_at"])),
            ("died", local_clock(found["died_at"])),
            ("fingerprint", found["fingerprint"]),
            ("error", error_text(found["last_error"], found["script"])),
            ("hint", error_hint(found["last_error"])),
            ("event", _indented(found["event"])),
            ("as it died", _indented(found["edited_from"]) if found["is_edited"] else None),
        )
    )
    for attempt in found["attempts"]:
        click.echo(f"\nattempt {attempt['attempt']}  {local_clock(attempt['finished_at'])}")
        click.echo(f"  {printable(error_text(attempt['error'], found['script']))}")
        for line in attempt["logs"]:
            fields = "" if line.get("fields") is None else f"  {compact_json(line['fields'])}"
            click.echo(printable(f"  {line['level'].upper():<5}  {line['message']}{fields}"))
    for handler in found["handlers"]:
        name = " ".join(part for part in (handler["script"], handler["trigger"]) if part)
        error = error_text(handler["error"], handler["script"])
        parts = ("\nhandler", printable(name), handler["execution_id"], status(handler["status"]), printable(error))
        click.echo("  ".join(part for part in parts if part))


def _indented(event: Any) -> str:
    return json.dumps(event, ensure_ascii=False, indent=2)
