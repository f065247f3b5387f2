"""``picloud up``: the whole platform in one terminal. The work is done by ``picloud.local.up``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from picloud.cli.help import example
from picloud.cli.options import data_option, settings_with


@example("picloud up --data ./data --bind 127.0.0.1:9000")
@click.command()
@data_option
@click.option("--bind", metavar="HOST:PORT", help="Listen here.  [default: 127.0.0.1:8000]")
@click.option("--workers", type=click.IntRange(min=0), metavar="N", help="Worker processes; 0: one for every core.")
def up(data: Path | None, bind: str | None, workers: int | None) -> None:
    """Run the whole platform in this terminal.

    PostgreSQL and Redis are started too, unless PICLOUD_DATABASE_URL and PICLOUD_REDIS_URL
    name servers. Ctrl-C stops everything in order. While nobody can sign in, a link is
    printed that makes the first admin.
    """
    from picloud.local.up import run_up

    settings = settings_with(PICLOUD_DATA_DIR=data, PICLOUD_BIND=bind, PICLOUD_WORKER_PROCESSES=workers)
    click.get_current_context().exit(run_up(settings, echo=click.echo, is_terminal=sys.stderr.isatty()))
