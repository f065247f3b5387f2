"""``picloud top``: the platform as it runs, live in a terminal."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from datetime import UTC, datetime

import click

from picloud.cli.client import Client
from picloud.cli.help import example
from picloud.cli.options import connected, surroundings
from picloud.cli.output import note, print_json, terminal_width
from picloud.cli.text import compact_json
from picloud.cli.top.figures import Figures, Reader
from picloud.cli.top.frame import View, frame, keys, pressed
from picloud.errors import CapacityError, UnavailableError

#: A server that is restarted, or has no room now, is what somebody watches for.
_PASSING = (UnavailableError, CapacityError)


@example(
    "picloud top",
    "picloud top --interval 10",
    "picloud top --once --json | jq .per_second",
)
@click.command()
@click.option(
    "--interval",
    type=click.FloatRange(0.2, 3_600),
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="Look again after so many.",
)
@click.option("--once", is_flag=True, help="Look once, print it, and end.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON document a line at each look; with --once one.")
@connected
def top(client: Client, *, interval: float, once: bool, as_json: bool) -> None:
    """See throughput, queues, workers and failures, live.

    Throughput is what was accepted, completed and failed for good per second since the last
    look, with the looks before it. Failures are the open dead letters by error, newest first.

    Keys: q quits, p pauses, s sorts the queues otherwise (1 busiest, 2 oldest, 3 by app). A
    server that stops answering is waited for. Where the output is no terminal, a frame is
    printed at each look.
    """
    reader = Reader(client, interval, surroundings().clock)
    if once:
        figures = reader.read()
        if as_json:
            print_json(figures.to_data())
        else:
            click.echo(_drawn(reader, figures, View(), (terminal_width(), None)))
    elif as_json or not (sys.stdin.isatty() and sys.stdout.isatty()):
        _print_for_ever(reader, as_json=as_json)
    else:
        _watch(reader)


def _drawn(
    reader: Reader, figures: Figures, view: View, size: tuple[int | None, int | None], since: datetime | None = None
) -> str:
    return frame(
        figures,
        view,
        url=reader.client.url,
        interval=reader.interval,
        history=reader.history,
        size=size,
        silent_since=since,
    )


def _print_for_ever(reader: Reader, *, as_json: bool) -> None:
    """A document or a frame at each look; that there is no answer is told once, on standard error."""
    around = surroundings()
    figures: Figures | None = reader.read()
    is_told = False
    while True:
        if figures is not None:
            is_told = False
            shown = (
                compact_json(figures.to_data())
                if as_json
                else _drawn(reader, figures, View(), (terminal_width(), None))
            )
            click.echo(shown + ("" if as_json else "\n"))
            sys.stdout.flush()
        around.pause(reader.interval)
        try:
            figures = reader.read()
        except _PASSING as error:
            figures = None
            if not is_told:
                note(f"{error.message}; waiting for it")
            is_told = True


def _watch(reader: Reader) -> None:
    """The frame, refreshed in place until q or Ctrl-C."""
    from rich.live import Live
    from rich.text import Text

    from picloud.cli.top.keyboard import keys_of

    figures = reader.read()  # what keeps it from being read at all is an error like any other command's
    view, since = View(), None
    with keys_of(sys.stdin.fileno()) as key_within, Live(auto_refresh=False, screen=True) as live:
        looked_at = reader.clock()
        while not view.is_left:
            columns, lines = shutil.get_terminal_size()
            drawn = _drawn(reader, figures, view, (columns, lines), since)
            shown = [*drawn.split("\n")[: max(lines - 2, 1)], "", keys(view)]
            live.update(Text.from_ansi("\n".join(shown), no_wrap=True, overflow="crop"), refresh=True)
            view = pressed(view, _wait(key_within, reader, looked_at))
            if not view.is_paused and reader.clock() - looked_at >= reader.interval:
                looked_at = reader.clock()
                figures, since = look(reader, figures, since)


def _wait(key_within: Callable[[float], str], reader: Reader, looked_at: float) -> str:
    """A key, or nothing once the next look is due; while paused it is overdue, and a key has an interval to come."""
    left = reader.interval - (reader.clock() - looked_at)
    return key_within(left if left > 0 else reader.interval)


def look(reader: Reader, before: Figures, since: datetime | None) -> tuple[Figures, datetime | None]:
    """The figures of now, or those before and since when there is no answer."""
    try:
        return reader.read(), None
    except _PASSING:
        return before, since or datetime.now(UTC)
