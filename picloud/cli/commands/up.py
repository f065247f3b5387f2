"""``picloud up``: the whole platform in one terminal. The work is done by ``picloud.local.up``."""

from __future__ import annotations

from pathlib import Path

import click

from picloud.cli.help import example
from picloud.cli.options import surroundings


@example("picloud up --data ./data --bind 127.0.0.1:9000")
@click.command()
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), metavar="DIR", help="Keep everything here.")
@click.option("--bind", metavar="HOST:PORT", help="Listen here.  [default: 127.0.0.1:8000]")
@click.option("--workers", type=click.IntRange(min=0), metavar="N", help="Worker processes; 0: one for every core.")
def up(data: Path | None, bind: str | None, workers: int | None) -> None:
    """Run the whole platform in this terminal.

    PostgreSQL and Redis are started too, unless PICLOUD_DATABASE_URL and PICLOUD_REDIS_URL
    name servers. Ctrl-C stops everything in order.
    """
    from picloud.local.up import run_up
    from picloud.settings import load_settings

    given = {"PICLOUD_DATA_DIR": data, "PICLOUD_BIND": bind, "PICLOUD_WORKER_PROCESSES": workers}
    # As environment, so that an option is checked by the rules of its setting.
    environ = {**surroundings().environ, **{name: str(value) for name, value in given.items() if value is not None}}
    click.get_current_context().exit(run_up(load_settings(environ), echo=click.echo))
