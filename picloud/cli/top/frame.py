"""The frame of ``picloud top``: figures as lines that fit a terminal. Pure: nothing here reads or prints.

What is 0 is a dot and what is usual has no color, so that the eye finds what is not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import click

from picloud.cli.output import Column, dim, status, table
from picloud.cli.text import age, duration, error_text, one_line, printable
from picloud.cli.top.figures import RATES, Figures, Row

SORTS = ("busiest", "oldest", "app")
_BARS = "▁▂▃▄▅▆▇█"
_GAUGE = 8
#: In a terminal of so many lines there is room for more failures than the fewest.
_TALL, _FAILURES, _FEWEST_FAILURES = 32, 5, 2
#: Lines that are there whatever the figures are: title, throughput, headings, gaps, keys.
_FIXED_LINES = 17
_FEWEST_ROWS = 2
#: Where nothing is known of a terminal.
_WIDTH = 100


@dataclass(frozen=True, slots=True)
class View:
    """What the person who looks has chosen."""

    sort: str = "busiest"
    is_paused: bool = False
    is_left: bool = False


def pressed(view: View, key: str) -> View:
    """The view after a key; one that means nothing changes nothing."""
    match key:
        case "q" | "Q" | "\x1b":
            return replace(view, is_left=True)
        case "p" | " ":
            return replace(view, is_paused=not view.is_paused)
        case "s":
            return replace(view, sort=SORTS[(SORTS.index(view.sort) + 1) % len(SORTS)])
        case "1" | "2" | "3":
            return replace(view, sort=SORTS[int(key) - 1])
        case _:
            return view


def _number(key: str) -> Column:
    return Column(key.upper(), lambda row: row[key] or "·", is_number=True)


_QUEUES = (
    Column("APP", lambda row: row["app"] or "(gone)", may_shrink=True),
    Column("SOURCE", "source"),
    _number("pending"),
    _number("due"),
    replace(_number("published"), is_optional=True),
    _number("running"),
    replace(_number("retrying"), is_optional=True),
    Column("OLDEST", lambda row: duration(row["oldest_due_seconds"]) if row["due"] else "·", is_number=True),
)


def _gauge(row: Row) -> str:
    """How much of a worker is used; one that runs anything shows it."""
    running, threads = int(row["running"]), max(int(row["threads"]), 1)
    filled = max(round(_GAUGE * min(running / threads, 1.0)), 1 if running else 0)
    return "━" * filled + "╌" * (_GAUGE - filled)


_WORKERS = (
    Column("WORKER", lambda row: f"{row['host']}:{row['pid']}", may_shrink=True),
    Column("STATUS", "status"),
    Column("THREADS", _gauge, is_optional=True),
    Column("RUNNING", lambda row: f"{row['running']}/{row['threads']}", is_number=True),
    Column("AVERAGE RUN", lambda row: f"{row['run_ms']:.1f} ms", is_number=True, is_optional=True),
    # An idle worker has no reason to beat: that it listens is known from Redis.
    Column("BEAT", lambda row: "·" if row["status"] == "idle" else age(row["beat_at"]), is_number=True),
)
_FAILURE_COLUMNS = (
    Column("COUNT", "count", is_number=True),
    Column("LAST", lambda row: age(row["last_died_at"]), is_number=True),
    Column("SCRIPT", lambda row: f"{row['app'] or '(gone)'}/{row['script'] or '(gone)'}", may_shrink=True),
    Column("ERROR", lambda row: one_line(error_text(row["last_error"], row["script"]), 120), may_shrink=True),
)


def frame(
    figures: Figures,
    view: View,
    *,
    url: str,
    interval: float,
    history: Mapping[str, Sequence[float]],
    size: tuple[int | None, int | None],
    silent_since: datetime | None = None,
) -> str:
    """The whole frame.

    Args:
        history: earlier throughput by name, oldest first, the newest included.
        size: columns and lines of the terminal; None: as many as it takes.
        silent_since: since when the server has not answered; None: it answers.
    """
    width, height = size
    failures = figures.failures[: _FAILURES if height is None or height >= _TALL else _FEWEST_FAILURES]
    room = None if height is None else max(height - _FIXED_LINES - len(failures), 2 * _FEWEST_ROWS)
    workers = None if room is None else min(len(figures.workers), max(room // 2, _FEWEST_ROWS))
    queues = None if room is None or workers is None else max(room - workers, _FEWEST_ROWS)
    sections = [
        _title(figures, view, url, interval, width, silent_since),
        _throughput(figures, history, width),
        _section(
            "queues", _broker(figures), _rows(_sorted(figures.queues, view.sort), _QUEUES, width, queues), "empty"
        ),
        _section(
            "workers", _worker_count(figures), _rows(figures.workers, _WORKERS, width, workers), _no_workers(figures)
        ),
        _section(
            "failures",
            _ended(figures),
            _rows(failures, _FAILURE_COLUMNS, width, None),
            "none is open",
        ),
    ]
    return "\n\n".join(sections)


def keys(view: View) -> str:
    """What can be pressed."""
    pause = "go on" if view.is_paused else "pause"
    parts = (("q", "quit"), ("p", pause), ("s", f"sort queues: {view.sort}"))
    return "   ".join(f"{click.style(key, bold=True)} {dim(what)}" for key, what in parts)


def sparkline(values: Sequence[float], length: int, highest: float) -> str:
    """The last ``length`` values as bars; 0 is a dot on the ground, ``highest`` the tallest."""
    steps = len(_BARS) - 1
    return "".join(
        "·" if value <= 0 else _BARS[min(round(value / highest * steps), steps)] for value in values[-length:]
    )


def _title(
    figures: Figures, view: View, url: str, interval: float, width: int | None, silent_since: datetime | None
) -> str:
    name = f"{click.style('picloud top', bold=True)}  {printable(url)}"
    if silent_since is not None:
        clock = silent_since.astimezone().strftime("%H:%M:%S")
        state = click.style(f"no answer since {clock}", fg="red", bold=True)
    elif view.is_paused:
        state = click.style("paused", fg="yellow")
    else:
        state = dim(f"every {interval:g} s")
    state += f"  {dim(figures.at.astimezone().strftime('%H:%M:%S'))}"
    # What is wrong is said where it is read first, also where the line is too short for both.
    gap = (width or _WIDTH) - len(click.unstyle(name)) - len(click.unstyle(state))
    return f"{name}{' ' * gap}{state}" if gap >= 2 else f"{name}\n{state}"


def _throughput(figures: Figures, history: Mapping[str, Sequence[float]], width: int | None) -> str:
    title = _heading("throughput", "" if figures.per_second is not None else "for instance admins only")
    if figures.per_second is None:
        return title
    length = max(0, min((width or _WIDTH) - 24, 60))
    # One scale for all three: what is not done in time is seen as a difference of heights.
    highest = max([1.0, *(value for values in history.values() for value in list(values)[-length:])])
    colors = {"accepted": None, "completed": "green", "failed": "red"}
    lines = [title]
    for name in RATES:
        value = figures.per_second[name]
        bars = sparkline(list(history[name]), length, highest)
        color = colors[name] if any(history[name]) else None
        shown = f"{_rate(value):>8} /s"
        lines.append(
            f"{name:<9} {click.style(shown, fg=color) if value else shown}  {click.style(bars, fg=color)}".rstrip()
        )
    return "\n".join(lines)


def _rate(value: float) -> str:
    return "·" if not value else f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def _heading(title: str, about: str = "") -> str:
    return click.style(title.upper(), bold=True) + (f"  {about}" if about else "")


def _section(title: str, about: str, body: str, empty: str) -> str:
    return f"{_heading(title, about)}\n{body or dim(empty)}"


def _rows(rows: Sequence[Row], columns: Sequence[Column], width: int | None, most: int | None) -> str:
    """A table, with a line that counts what has no room."""
    if not rows:
        return ""
    shown = rows if most is None or len(rows) <= most else rows[: max(most - 1, 1)]
    left = len(rows) - len(shown)
    return "\n".join([table(shown, columns, width), *([dim(f"and {left} more")] if left else [])])


def _sorted(queues: Sequence[Row], sort: str) -> list[Row]:
    if sort == "oldest":
        return sorted(queues, key=lambda row: -row["oldest_due_seconds"])
    if sort == "busiest":
        return sorted(queues, key=lambda row: (-row["running"] - row["published"] - row["due"], -row["pending"]))
    return sorted(queues, key=lambda row: (row["app"] or "", row["source"]))


def _broker(figures: Figures) -> str:
    if not figures.broker["is_up"]:
        return click.style("Redis does not answer: what is accepted waits in PostgreSQL", fg="red")
    waiting = sum(row["pending"] for row in figures.queues)
    running = sum(row["running"] for row in figures.queues)
    return dim(
        f"{waiting:,} pending, {running:,} running, {figures.broker['sync'] + figures.broker['async']:,} in Redis"
    )


def _worker_count(figures: Figures) -> str:
    living = [row for row in figures.workers if row["status"] != "lost"]
    threads, running = sum(row["threads"] for row in living), sum(row["running"] for row in living)
    return dim(f"{running} of {threads} threads run") if figures.workers else ""


def _no_workers(figures: Figures) -> str:
    """Only an instance admin is shown workers: for others, none is no news."""
    return "for instance admins only" if figures.last_hour is None else click.style("none: nothing will run", fg="red")


def _ended(figures: Figures) -> str:
    if figures.last_hour is None:
        return ""
    ended = ", ".join(f"{count:,} {status(name)}" for name, count in sorted(figures.last_hour.items()))
    about = dim("last hour: ") + (ended or dim("nothing ended"))
    return about + (
        f"{dim(';')} {click.style(f'{figures.unresolved:,} unresolved', fg='red')}" if figures.unresolved else ""
    )
