"""``picloud migrate``: the schema of the database, applied or compared."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from picloud.cli.help import example
from picloud.cli.options import data_option, json_option, settings_with
from picloud.cli.output import note, print_json
from picloud.errors import ConfigurationError

if TYPE_CHECKING:
    from picloud.migrations import MigrationStatus


@example("picloud migrate --status")
@click.command()
@click.option("--status", "only_status", is_flag=True, help="Change nothing; exit 1 when something is missing.")
@data_option
@json_option
def migrate(*, only_status: bool, data: Path | None, as_json: bool) -> None:
    """Bring the database to the schema of this release.

    Safe to run from several machines at once. It never goes back.
    """
    from picloud import migrations
    from picloud.local.data_folder import with_running_servers

    url = with_running_servers(settings_with(PICLOUD_DATA_DIR=data)).database_url
    if not url:
        raise ConfigurationError(
            "PICLOUD_DATABASE_URL is not set, and no `picloud up` is running here",
            hint="`picloud up` migrates its own database when it starts",
        )
    if only_status:
        found = migrations.status(url)
        _print_status(found, as_json=as_json)
        click.get_current_context().exit(0 if found.is_current else 1)
    applied = migrations.migrate(url)
    if as_json:
        print_json({"applied": applied})
        return
    for title in applied:
        click.echo(f"applied {title}")
    if not applied:
        note("nothing to apply: the schema is current")


def _print_status(found: MigrationStatus, *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "applied": [
                    {"migration": each.title, "applied_at": each.applied_at.isoformat()} for each in found.applied
                ],
                "pending": found.pending,
                "altered": found.altered,
                "unknown": found.unknown,
                "current": found.is_current,
            }
        )
        return
    for each in found.applied:
        click.echo(f"applied  {each.title}  {each.applied_at:%Y-%m-%d %H:%M}")
    for word, titles in (("pending", found.pending), ("altered", found.altered), ("unknown", found.unknown)):
        for title in titles:
            click.echo(f"{word}  {title}")
    note("the schema is current" if found.is_current else "the schema is not that of this release")
