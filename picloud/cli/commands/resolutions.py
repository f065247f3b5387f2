"""``picloud dead-letters replay``, ``ignore`` and ``edit``: what is done about dead letters."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click

from picloud.cli.client import Client, api_path
from picloud.cli.commands.letter_options import (
    Rate,
    ids_argument,
    letter_argument,
    letter_filters,
    selection,
    version_option,
)
from picloud.cli.help import example
from picloud.cli.options import connected, json_option, read_json, reason_option
from picloud.cli.output import note, print_json
from picloud.cli.text import local_clock, until
from picloud.errors import PiCloudError

#: Letters one call to the server resolves at most; its own limit.
_MOST_RESOLVED = 10_000
_ANSWER_SECONDS = 120.0

all_option = click.option("--all", "all_letters", is_flag=True, help="Every open letter that fits the filters.")
most_option = click.option(
    "--limit", type=click.IntRange(1, _MOST_RESOLVED), metavar="N", help="At most this many; without it, all there are."
)


@example(
    "picloud dead-letters replay 019a1b2c-3d4e-7f50-8a6b-7c8d9e0f1a2b",
    "picloud dead-letters replay --all --app shop --dry-run",
    "picloud dead-letters replay --all --fingerprint 5f0c2a9be41d --rate 10/s",
)
@click.command("replay")
@ids_argument
@all_option
@letter_filters
@version_option
@click.option("--rate", type=Rate(), help="Begin so many at most: 10/s, 30/min. The server keeps to it.")
@click.option("--dry-run", is_flag=True, help="Say how many there are, and replay none.")
@most_option
@reason_option
@json_option
@connected
def replay(
    client: Client,
    /,
    *,
    ids: tuple[str, ...],
    all_letters: bool,
    version: str,
    rate: float | None,
    dry_run: bool,
    limit: int | None,
    as_json: bool,
    **given: object,
) -> None:
    """Run dead letters again, each as a new execution.

    Name them by id, or take --all with filters. Open are those that are unresolved, or
    whose handler failed. `dead-letters try` shows before what one of them would do.
    """
    which = selection(ids, all_letters, given)
    how = {**({} if version == "current" else {"version": version}), **({} if rate is None else {"rate": rate})}
    if ids and rate is None and not dry_run:
        done, failure = _each(ids, lambda each: client.post(api_path("dead-letters", each, "replay"), how))
        _print_replayed(done, as_json=as_json)
        if failure is not None:
            raise failure
        return
    if dry_run:
        _print_count(_ask(client, "replay", which | how, limit, dry_run=True), "replayed", as_json=as_json)
        return
    if rate is not None:
        # One call and no more: each keeps to the rate by itself, and two that begin now would run at twice the rate.
        found = _ask(client, "replay", which | how, limit)
        _print_replayed(found["replayed"], as_json=as_json)
        why = f"their script is gone, or there are more than {limit or _MOST_RESOLVED}, the most with --rate"
        _note_what_is_left(found["matched"], len(found["replayed"]), why)
        if found["last_at"]:
            note(f"the last of them may run at {local_clock(found['last_at'])}, in {until(found['last_at'])}")
        return
    resolved = _resolve(client, "replay", which | how, limit)
    _print_replayed(resolved.done, as_json=as_json)
    _note_what_is_left(resolved.matched, len(resolved.done), resolved.why("their script is gone, or "))
    if resolved.failure is not None:
        raise resolved.failure


@example(
    "picloud dead-letters ignore 019a1b2c-3d4e-7f50-8a6b-7c8d9e0f1a2b --reason 'test data'",
    "picloud dead-letters ignore --all --app shop --older-than 14d --reason 'too late'",
)
@click.command("ignore")
@ids_argument
@all_option
@letter_filters
@click.option("--reason", metavar="TEXT", help="Why nothing is to be done.")
@click.option("--dry-run", is_flag=True, help="Say how many there are, and ignore none.")
@most_option
@json_option
@connected
def ignore(
    client: Client,
    /,
    *,
    ids: tuple[str, ...],
    all_letters: bool,
    reason: str | None,
    dry_run: bool,
    limit: int | None,
    as_json: bool,
    **given: object,
) -> None:
    """Say that nothing is to be done about dead letters.

    Name them by id, or take --all with filters.
    """
    which = selection(ids, all_letters, given)
    why = {} if reason is None else {"reason": reason}
    if ids and not dry_run:
        done, failure = _each(ids, lambda each: client.post(api_path("dead-letters", each, "ignore"), why))
        if as_json:
            print_json(done)
        else:
            note(f"ignored {len(done)} of {len(ids)}")
        if failure is not None:
            raise failure
        return
    if dry_run:
        _print_count(_ask(client, "ignore", which | why, limit, dry_run=True), "ignored", as_json=as_json)
        return
    resolved = _resolve(client, "ignore", which | why, limit)
    if as_json:
        print_json(resolved.done)
    else:
        note(f"ignored {len(resolved.done)}")
    _note_what_is_left(resolved.matched, len(resolved.done), resolved.why())
    if resolved.failure is not None:
        raise resolved.failure


@example(
    "picloud dead-letters edit 019a1b2c-3d4e-7f50-8a6b-7c8d9e0f1a2b",
    "picloud dead-letters edit 019a1b2c-3d4e-7f50-8a6b-7c8d9e0f1a2b --data @event.json",
)
@click.command("edit")
@letter_argument
@click.option("-d", "--data", metavar="JSON|@FILE", help="The new event, instead of opening an editor.")
@json_option
@reason_option
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


@dataclass(slots=True)
class _Resolved:
    """What came of resolving many.

    Attributes:
        matched: open letters that fitted at first.
        failure: why it stopped before its end; the letters in ``done`` are resolved all the same.
    """

    matched: int
    done: list[dict[str, Any]]
    failure: PiCloudError | None = None

    def why(self, other: str = "") -> str:
        """Why some are left."""
        return "the server failed" if self.failure is not None else f"{other}there are more than --limit"


def _ask(
    client: Client, verb: str, wanted: Mapping[str, object], limit: int | None, *, dry_run: bool = False
) -> dict[str, Any]:
    body = {**wanted, "limit": limit or _MOST_RESOLVED, "dry_run": dry_run}
    found: dict[str, Any] = client.post(f"/dead-letters/{verb}", body, answer_seconds=_ANSWER_SECONDS)
    return found


def _resolve(client: Client, verb: str, wanted: Mapping[str, object], limit: int | None) -> _Resolved:
    """Resolve the letters that fit, in as many calls as it takes, and tell how far it is; the first failure ends it.

    Never more than fitted at first: letters that die again while others are replayed would come round for ever.

    Raises:
        PiCloudError: the first call failed: nothing is done.
    """
    member = {"replay": "replayed", "ignore": "ignored"}[verb]
    found = _ask(client, verb, wanted, limit)
    resolved = _Resolved(found["matched"], found[member])
    wanted_count = min(limit or found["matched"], found["matched"])
    # A call that resolves none has met only letters whose script is gone.
    while found[member] and (left := wanted_count - len(resolved.done)) > 0:
        note(f"{member} {len(resolved.done)} of {wanted_count}")
        try:
            found = _ask(client, verb, wanted, min(left, _MOST_RESOLVED))
        except PiCloudError as error:
            resolved.failure = error
            break
        resolved.done += found[member]
    return resolved


def _print_replayed(replayed: Sequence[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print_json(list(replayed))
        return
    for each in replayed:
        click.echo(f"{each['id']} runs again as {each['execution_id']}")


def _print_count(found: dict[str, Any], word: str, *, as_json: bool) -> None:
    if as_json:
        print_json(found)
    else:
        click.echo(f"{found['matched']} would be {word}")


def _note_what_is_left(matched: int, done: int, why: str) -> None:
    left = matched - done
    if not matched:
        note("no open dead letter fits")
    elif left > 0:
        note(f"{left} are left: {why}")
