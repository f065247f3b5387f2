"""``picloud logs``: what scripts wrote, once or as it comes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import click

from picloud.cli.client import Client, api_path
from picloud.cli.help import example
from picloud.cli.options import connected, id_type, json_option, limit_option, surroundings
from picloud.cli.output import dim, note, print_json
from picloud.cli.text import compact_json, local_clock, printable
from picloud.errors import UnavailableError

#: How long the server keeps a question open when there is nothing new to say.
_WAIT_SECONDS = 20
#: A retry writes its lines before the execution has ended.
_LOOK_AGAIN_SECONDS = 1
_TRY_AGAIN_SECONDS = 1.0
_COLORS = {"trace": "bright_black", "debug": "bright_black", "warn": "yellow", "error": "red"}

Line = dict[str, Any]


@example("picloud logs -f demo", "picloud logs --execution 019a1b2c-3d4e-7f50-8a6b-7c8d9e0f1a2b")
@click.command()
@click.argument("app", required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on printing what comes; Ctrl-C ends it.")
@click.option("--execution", type=id_type, metavar="ID", help="Only of this execution.")
@limit_option
@json_option
@connected
def logs(client: Client, *, app: str | None, follow: bool, execution: str | None, limit: int, as_json: bool) -> None:
    """Print what scripts logged.

    The last runs of an app, or of all; --limit counts runs, not lines. With --follow
    and --json every line is a document of its own.
    """
    pages = _of_execution(client, app, execution) if execution else _of_app(client, app, limit)
    if follow:
        for lines in pages:
            for line in lines:
                _print_one(line, as_json=as_json)
        return
    lines = next(pages)
    if as_json:
        print_json(lines)
    else:
        print_lines(lines)


def print_lines(lines: Iterable[Line], *, with_origin: bool = True) -> None:
    """Lines for people: when, how bad, who, what."""
    for line in lines:
        level = click.style(f"{line['level'].upper():<5}", fg=_COLORS.get(line["level"]))
        parts = [dim(local_clock(line["at"])), level]
        if with_origin:
            parts.append(printable(f"{line.get('app') or '(gone)'}/{line.get('script') or '(gone)'}"))
        if line.get("attempt", 1) > 1:
            parts.append(dim(f"attempt {line['attempt']}"))
        parts.append(printable(line["message"]))
        if line.get("fields") is not None:
            parts.append(dim(printable(compact_json(line["fields"]))))
        if with_origin:
            parts.append(dim(line["execution_id"]))
        click.echo("  ".join(parts))


def _print_one(line: Line, *, as_json: bool) -> None:
    if as_json:
        click.echo(compact_json(line))
    else:
        print_lines([line])


def _of_app(client: Client, app: str | None, limit: int) -> Iterator[list[Line]]:
    """The last lines, then page by page what comes after them, for ever."""
    path = "/logs" if app is None else api_path("apps", app, "logs")
    page = client.get(path, limit=limit)
    while True:
        yield page["items"]
        page = _get_patiently(client, path, after=page["next"], wait=_WAIT_SECONDS)


def _get_patiently(client: Client, path: str, **filters: object) -> Any:
    """What is at ``path``, as soon as the server answers: whoever follows wants to see its restart too."""
    is_told = False
    while True:
        try:
            return client.get(path, **filters)
        except UnavailableError as error:
            if not is_told:
                note(f"{error.message}; waiting for it")
            is_told = True
            surroundings().pause(_TRY_AGAIN_SECONDS)


def _of_execution(client: Client, app: str | None, execution_id: str) -> Iterator[list[Line]]:
    """The lines of one execution, then what is new, until it has ended."""
    path = api_path(*(() if app is None else ("apps", app)), "executions", execution_id)
    found = client.get(path)
    printed = 0
    while True:
        yield found["logs"][printed:]
        printed = len(found["logs"])
        if found["finished_at"] is not None:
            return
        found = _get_patiently(client, path, wait=_LOOK_AGAIN_SECONDS)
