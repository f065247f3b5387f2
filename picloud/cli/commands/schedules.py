"""``picloud schedules``: when cron triggers fire next."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import click

from picloud.cli.client import Client
from picloud.cli.commands.of_apps import app_argument, items_of_apps
from picloud.cli.help import example
from picloud.cli.options import connected, json_option, limit_option
from picloud.cli.output import Column, print_json, print_rows
from picloud.cli.text import parse_time, until

_COLUMNS = (
    Column("APP", "app"),
    Column("TRIGGER", "trigger", may_shrink=True),
    Column("SCHEDULE", "schedule"),
    Column("ZONE", "timezone"),
    Column("IN THE ZONE", "local"),
    Column("UTC", "utc"),
    Column("IN", "in", is_number=True),
)


@example("picloud schedules ls shop")
@click.group()
def schedules() -> None:
    """See when schedules fire next."""


@example("picloud schedules ls shop --json")
@schedules.command("ls")
@app_argument
@limit_option
@json_option
@connected
def list_schedules(client: Client, *, app: str | None, limit: int, as_json: bool) -> None:
    """List cron triggers of an app, or of all, with their next five times."""
    found = list(items_of_apps(client, app, "schedules", limit))
    if as_json:
        print_json(found)
    else:
        print_rows(_lines(found, datetime.now(UTC)), _COLUMNS, as_json=False, empty="no schedules")


def _lines(found: Iterable[dict[str, Any]], now: datetime) -> Iterator[dict[str, Any]]:
    """A line a time; what is said once of a trigger stands on its first."""
    for schedule in found:
        about = {key: schedule[key] for key in ("app", "trigger", "schedule", "timezone")}
        if not schedule["next_times"]:
            yield about | {"local": "never" if schedule["enabled"] else "off", "utc": None, "in": None}
        for utc, local in zip(schedule["next_times"], schedule["next_times_local"], strict=True):
            yield about | {"local": _clock(local, "%a %Y-%m-%d %H:%M:%S %z"), "utc": _clock(utc), "in": until(utc, now)}
            about = {}


def _clock(text: str, form: str = "%Y-%m-%d %H:%M:%S") -> str:
    return parse_time(text).strftime(form)
