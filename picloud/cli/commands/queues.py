"""``picloud queues``: what waits, since when, what runs where, and what fails, at a glance; and the queues of apps."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import click

from picloud.cli.client import Client
from picloud.cli.commands.app_queues import create_queue, list_queues, remove_queue, show_queue
from picloud.cli.commands.of_apps import app_argument
from picloud.cli.help import example
from picloud.cli.options import connected, json_option, surroundings
from picloud.cli.output import Column, dim, print_json, table, terminal_width
from picloud.cli.text import duration, printable
from picloud.errors import PermissionDeniedError, UnavailableError

_LOOK_AGAIN_SECONDS = 1.0


def _count(key: str) -> Column:
    """A number; a dot for 0, so that what is not 0 is seen at once."""
    return Column(key.upper(), lambda row: row[key] or "·", is_number=True)


_COLUMNS = (
    Column("APP", lambda row: row["app"] or "(gone)"),
    Column("SOURCE", "source"),
    *(_count(key) for key in ("pending", "due", "published", "running", "retrying")),
    Column("OLDEST DUE", lambda row: duration(row["oldest_due_seconds"]) if row["due"] else "·", is_number=True),
)


class _WithOverview(click.Group):
    """What is no command of the group is for the overview: ``picloud queues --watch``, ``picloud queues shop``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if ctx.resilient_parsing and not args:
            return super().parse_args(ctx, args)  # a shell asks which commands there are
        if not args or args[0] not in (*self.commands, *ctx.help_option_names):
            args = ["overview", *args]
        return super().parse_args(ctx, args)


@example(
    "picloud queues --watch        what waits, as it changes",
    "picloud queues ls shop        the queues of an app",
)
@click.group(cls=_WithOverview)
def queues() -> None:
    """See what waits, since when, what runs and what fails.

    Without a command: the overview, for which `picloud queues overview --help` lists the options.
    """


queues.add_command(list_queues)
queues.add_command(show_queue)
queues.add_command(create_queue)
queues.add_command(remove_queue)


@example("picloud queues overview --watch")
@queues.command()
@app_argument
@click.option("--watch", is_flag=True, help="Stay, and look again every second; Ctrl-C ends it.")
@json_option
@connected
def overview(client: Client, *, app: str | None, watch: bool, as_json: bool) -> None:
    """See what waits, per app and source; the same as `picloud queues`.

    Pending waits for its time, its turn or somebody who consumes its queue, due is the part
    whose time has come, published lies in the broker, retrying has failed before.
    """
    if watch and as_json:
        raise click.UsageError("--json prints one document: leave --watch out")
    if as_json:
        print_json(_read(client, app))
    elif watch and sys.stdout.isatty():
        _watch(client, app)
    else:
        while True:
            click.echo(_shown(client, app, terminal_width()))
            if not watch:
                return
            surroundings().pause(_LOOK_AGAIN_SECONDS)
            click.echo("")


def _read(client: Client, app: str | None) -> dict[str, Any]:
    found: dict[str, Any] = client.get("/queues", app=app)
    return found


def _shown(client: Client, app: str | None, width: int | None) -> str:
    """The table, and below it the broker; for admins of the installation the workers too, and what failed."""
    found = _read(client, app)
    waiting = [table(found["apps"], _COLUMNS, width), ""] if found["apps"] else ["nothing waits and nothing runs"]
    try:
        stats = client.get("/system/stats")
    except PermissionDeniedError:  # nor is this caller told of workers: that there are none would be wrong to say
        return "\n".join([*waiting, _broker_line(found["broker"])])
    lines = [*_worker_lines(found["workers"]), _broker_line(found["broker"]), *_failure_lines(stats)]
    return "\n".join([*waiting, *lines])


def _watch(client: Client, app: str | None) -> None:
    """The same, refreshed in place until Ctrl-C."""
    from rich.live import Live
    from rich.text import Text

    with Live(auto_refresh=False, screen=True) as live:
        while True:
            try:
                shown = _shown(client, app, live.console.width)
            except UnavailableError as error:  # an outage is what somebody watches for: say so, and go on
                shown = printable(error.message)
            live.update(Text.from_ansi(shown), refresh=True)
            surroundings().pause(_LOOK_AGAIN_SECONDS)


def _worker_lines(workers: Sequence[dict[str, Any]]) -> list[str]:
    if not workers:
        return [f"{dim('workers')}  {click.style('none: nothing will run', fg='red')}"]
    return [f"{dim('worker ')}  {_worker(each)}" for each in workers]


def _worker(worker: dict[str, Any]) -> str:
    color = {"busy": "cyan", "draining": "yellow", "lost": "red"}.get(worker["status"])
    only_async = "" if worker["takes_sync"] else ", async only"
    return (
        f"{printable(worker['host'])} (pid {worker['pid']}): {click.style(worker['status'], fg=color)}, "
        f"{worker['running']} of {worker['threads']} threads run{only_async}, {worker['run_ms']:.1f} ms a run"
    )


def _broker_line(broker: dict[str, Any]) -> str:
    if not broker["is_up"]:
        return f"{dim('broker ')}  {click.style('does not answer: what is accepted waits in PostgreSQL', fg='red')}"
    return f"{dim('broker ')}  {broker['sync']} sync and {broker['async']} async messages"


def _failure_lines(stats: dict[str, Any]) -> list[str]:
    ended = ", ".join(f"{count} {status}" for status, count in sorted(stats["last_hour"].items())) or "nothing ended"
    lines = [f"{dim('hour   ')}  {ended}"]
    if letters := stats["unresolved_dead_letters"]:
        shown = click.style(f"{letters} unresolved", fg="red")
        lines.append(f"{dim('dead   ')}  {shown}: `picloud dead-letters ls --resolution unresolved`")
    return lines
