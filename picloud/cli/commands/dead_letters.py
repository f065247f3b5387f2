"""``picloud dead-letters``: what failed for good, and what is done about it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import click

from picloud.cli.client import Client, api_path
from picloud.cli.help import example
from picloud.cli.options import (
    as_query,
    connected,
    filters,
    id_type,
    json_option,
    limit_option,
    read_json,
)
from picloud.cli.output import Column, note, print_fields, print_json, print_rows
from picloud.cli.text import age, compact_json, error_text, local_clock, one_line, printable
from picloud.errors import PiCloudError

_RESOLUTIONS = ("unresolved", "replayed", "ignored", "handled_by_script", "handler_failed")
#: Letters one call replays at most; the server's own limit.
_MOST_REPLAYED = 10_000
_ANSWER_SECONDS = 120.0

_COLUMNS = (
    Column("ID", "id"),
    Column("APP", "app"),
    Column("SCRIPT", "script"),
    Column("RESOLUTION", "resolution"),
    Column("REASON", "reason", is_optional=True),
    Column("RUNS", "attempt_count", is_number=True, is_optional=True),
    Column("DIED", lambda row: age(row["died_at"]), is_number=True, is_optional=True),
    Column("ERROR", lambda row: one_line(error_text(row["last_error"], row["script"])), may_shrink=True),
)

ids_argument = click.argument("ids", metavar="ID…", type=id_type, nargs=-1)
resolution_option = click.option(
    "--resolution",
    type=click.Choice(_RESOLUTIONS),
    metavar="RESOLUTION",
    help=f"Only with this resolution: {', '.join(_RESOLUTIONS)}.",
)


@example("picloud dead-letters ls --resolution unresolved")
@click.group()
def dead_letters() -> None:
    """See, replay, edit or ignore what failed for good."""


@example("picloud dead-letters ls --app shop --resolution unresolved")
@dead_letters.command("ls")
@filters("app", "script", "source", "trigger", "since")
@resolution_option
@limit_option
@json_option
@connected
def list_letters(client: Client, /, *, limit: int, as_json: bool, **given: object) -> None:
    """List dead letters, newest first."""
    rows = client.items("/dead-letters", limit=limit, **as_query(given))
    print_rows(rows, _COLUMNS, as_json=as_json, empty="no dead letters")


@example("picloud dead-letters show 019a1b2c-3d4e-7f50-8a6b-7c8d9e0f1a2b")
@dead_letters.command("show")
@click.argument("letter_id", metavar="ID", type=id_type)
@json_option
@connected
def show_letter(client: Client, *, letter_id: str, as_json: bool) -> None:
    """Show one dead letter with its event, every attempt and what it logged."""
    found = client.get(api_path("dead-letters", letter_id))
    if as_json:
        print_json(found)
    else:
        _print_letter(found)


@example(
    "picloud dead-letters replay 019a1b2c-3d4e-7f50-8a6b-7c8d9e0f1a2b",
    "picloud dead-letters replay --all --app shop --dry-run",
)
@dead_letters.command("replay")
@ids_argument
@click.option("--all", "all_letters", is_flag=True, help="Every open letter that fits the filters.")
@filters("app", "script", "source", "since")
@resolution_option
@click.option("--dry-run", is_flag=True, help="Say how many there are, and replay none.")
@click.option(
    "--limit", type=click.IntRange(1, _MOST_REPLAYED), default=_MOST_REPLAYED, metavar="N", help="At most this many."
)
@json_option
@connected
def replay(
    client: Client,
    /,
    *,
    ids: Sequence[str],
    all_letters: bool,
    dry_run: bool,
    limit: int,
    as_json: bool,
    **given: object,
) -> None:
    """Run dead letters again, each as a new execution.

    Name them by id, or take --all with filters. Open are those that are unresolved, or
    whose handler failed.
    """
    wanted = {name: value for name, value in as_query(given).items() if value is not None}
    if bool(ids) == all_letters:
        raise click.UsageError("name dead letters, or take --all with filters: one of the two")
    if ids and wanted:
        raise click.UsageError("filters go with --all, not with ids")
    if ids and not dry_run:
        done, failure = _each(ids, lambda each: client.post(api_path("dead-letters", each, "replay")))
        _print_replayed(done, as_json=as_json)
        if failure is not None:
            raise failure
        return
    body = {**wanted, **({"ids": list(ids)} if ids else {}), "limit": limit, "dry_run": dry_run}
    found = client.post("/dead-letters/replay", body, answer_seconds=_ANSWER_SECONDS)
    if dry_run:
        _print_count(found, as_json=as_json)
    else:
        _print_replayed(found["replayed"], as_json=as_json)
        left = found["matched"] - len(found["replayed"])
        if not found["matched"]:
            note("no open dead letter fits")
        elif left > 0:
            note(f"{left} are left: their script is gone, or there are more than --limit")


@example("picloud dead-letters ignore 019a1b2c-3d4e-7f50-8a6b-7c8d9e0f1a2b --reason 'test data'")
@dead_letters.command("ignore")
@ids_argument
@click.option("--reason", metavar="TEXT", help="Why nothing is to be done.")
@json_option
@connected
def ignore(client: Client, *, ids: Sequence[str], reason: str | None, as_json: bool) -> None:
    """Say that nothing is to be done about dead letters."""
    if not ids:
        raise click.UsageError("name at least one dead letter")
    body = {} if reason is None else {"reason": reason}
    done, failure = _each(ids, lambda each: client.post(api_path("dead-letters", each, "ignore"), body))
    if as_json:
        print_json(done)
    else:
        note(f"ignored {len(done)} of {len(ids)}")
    if failure is not None:
        raise failure


@example(
    "picloud dead-letters edit 019a1b2c-3d4e-7f50-8a6b-7c8d9e0f1a2b",
    "picloud dead-letters edit 019a1b2c-3d4e-7f50-8a6b-7c8d9e0f1a2b --data @event.json",
)
@dead_letters.command("edit")
@click.argument("letter_id", metavar="ID", type=id_type)
@click.option("-d", "--data", metavar="JSON|@FILE", help="The new event, instead of opening an editor.")
@json_option
@connected
def edit(client: Client, *, letter_id: str, data: str | None, as_json: bool) -> None:
    """Change the event that a replay will run, in $EDITOR; the event as it died is kept."""
    path = api_path("dead-letters", letter_id)
    event = read_json(data, "--data") if data is not None else _edited(client.get(path)["event"])
    if event is None:
        note("nothing was changed")
        return
    letter = client.patch(path, {"event": event})
    if as_json:
        print_json(letter)
    else:
        note(f"changed; `picloud dead-letters replay {letter_id}` runs it")


def _edited(event: Any) -> Any:
    """The event as somebody's editor left it; None when they did not save or changed nothing."""
    text = click.edit(json.dumps(event, ensure_ascii=False, indent=2) + "\n", extension=".json")
    if text is None:
        return None
    try:
        edited = json.loads(text)
    except json.JSONDecodeError as error:
        raise click.UsageError(f"line {error.lineno}, column {error.colno}: {error.msg}; nothing was changed") from None
    return None if edited == event else edited


def _each(ids: Sequence[str], act: Callable[[str], Any]) -> tuple[list[Any], PiCloudError | None]:
    """Act on every id; one that fails does not keep the others from their turn.

    Returns:
        What the others answered, and the last failure; earlier ones are told on standard error.
    """
    done: list[Any] = []
    failure: PiCloudError | None = None
    for each in ids:
        try:
            done.append(act(each))
        except PiCloudError as error:
            if failure is not None:
                note(f"error: {failure.message}")
            failure = error
    return done, failure


def _print_replayed(replayed: Sequence[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print_json(list(replayed))
        return
    for each in replayed:
        click.echo(f"{each['id']} runs again as {each['execution_id']}")


def _print_count(found: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(found)
    else:
        click.echo(f"{found['matched']} would be replayed")


def _print_letter(found: dict[str, Any]) -> None:
    resolution = found["resolution"]
    if found["resolved_by"]:
        resolution += f" by {found['resolved_by']}, {local_clock(found['resolved_at'])}"
    print_fields(
        (
            ("id", found["id"]),
            ("script", f"{found['app'] or '(gone)'}/{found['script'] or '(gone)'}"),
            ("fired by", f"{found['source']}  {found['trigger'] or ''}".strip()),
            ("resolution", resolution),
            ("note", found["resolution_note"]),
            ("replayed as", found["replayed_as"]),
            ("reason", found["reason"]),
            ("accepted", local_clock(found["accepted_at"])),
            ("died", local_clock(found["died_at"])),
            ("error", error_text(found["last_error"], found["script"])),
            ("event", json.dumps(found["event"], ensure_ascii=False, indent=2)),
            ("edited", "the event is not the one that died" if found["is_edited"] else None),
        )
    )
    for attempt in found["attempts"]:
        click.echo(f"\nattempt {attempt['attempt']}  {local_clock(attempt['finished_at'])}")
        click.echo(f"  {printable(error_text(attempt['error'], found['script']))}")
        for line in attempt["logs"]:
            fields = "" if line.get("fields") is None else f"  {compact_json(line['fields'])}"
            click.echo(printable(f"  {line['level'].upper():<5}  {line['message']}{fields}"))
