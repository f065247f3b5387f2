"""``picloud master-key``: puts another master key in the place of the one there is. Runs beside the database."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from picloud.cli.help import example
from picloud.cli.options import data_option, json_option, settings_with
from picloud.cli.output import note, print_fields, print_json
from picloud.errors import ConfigurationError

if TYPE_CHECKING:
    from psycopg import Connection

    from picloud.local.master_key_holders import Holder

force_option = click.option(
    "--force", is_flag=True, help="Go on although workers would be locked out until they get the new file."
)


class _Place(NamedTuple):
    connection: Connection[Any]
    path: Path
    source: str | None
    redis_url: str

    def holders(self, *, force: bool) -> list[Holder]:
        from picloud.local.master_key_holders import read_holders

        return [] if force else read_holders(self.connection, self.redis_url)


@example("picloud master-key show")
@click.group("master-key")
def master_key() -> None:
    """Rotate the key that secrets are sealed with.

    On one machine: rotate, then retire. On several: prepare, copy the file to all of them and
    restart their services, rotate, copy and restart again, retire.
    """


@example("picloud master-key show --json")
@master_key.command("show")
@data_option
@json_option
def show_keys(*, data: Path | None, as_json: bool) -> None:
    """Show which keys the file holds, and which one seals; never a key itself."""
    from picloud.local.master_key import load_master_keys
    from picloud.local.master_key_rotation import KeyRing, read_installed

    with _place(data) as place:
        installed = read_installed(place.connection)
        ids = [each.hex() for each in KeyRing(load_master_keys(place.path)).ids]
    current = installed.id.hex() if installed.id else None
    former = [each.hex() for each in installed.former]
    if as_json:
        print_json({"file": str(place.path), "keys": ids, "seals": current, "former": former})
        return
    rows = [("file", str(place.path)), ("seals", current or "nothing is sealed yet")]
    rows += [("in the file", f"{each} ({_role(each, current, former, ids)})") for each in ids]
    print_fields(rows)


def _role(identifier: str, current: str | None, former: list[str], ids: list[str]) -> str:
    if identifier == (current or ids[0]):
        return "seals"
    return "former: `picloud master-key retire` takes it out" if identifier in former else "prepared"


@example("picloud master-key prepare")
@master_key.command("prepare")
@data_option
@json_option
def prepare_key(*, data: Path | None, as_json: bool) -> None:
    """Add the next key to the file; nothing uses it before `rotate`."""
    from picloud.local.master_key_rotation import prepare

    with _place(data) as place:
        new = prepare(place.connection, place.path)
    if as_json:
        print_json({"prepared": new.hex()})
        return
    note(f"prepared {new.hex()} in {place.path}")
    note("copy the file to every machine, restart its services, then `picloud master-key rotate`")


@example("picloud master-key rotate")
@master_key.command("rotate")
@force_option
@data_option
@json_option
def rotate_key(*, force: bool, data: Path | None, as_json: bool) -> None:
    """Wrap every data key by the next key.

    Safe to run again after it was interrupted. Secrets stay readable all the time; their
    values are not opened.
    """
    from picloud.local.master_key_rotation import rotate

    with _place(data) as place:
        done = rotate(place.connection, place.path, place.source, place.holders(force=force))
    if as_json:
        print_json({"old": done.old.hex(), "new": done.new.hex(), "data_keys": done.data_keys})
        return
    note(f"{done.new.hex()} seals now: {done.data_keys} data keys wrapped anew; {done.old.hex()} still opens")
    note("back up the file; copy it to every machine and restart its services; then `picloud master-key retire`")


@example("picloud master-key retire")
@master_key.command("retire")
@force_option
@data_option
@json_option
def retire_key(*, force: bool, data: Path | None, as_json: bool) -> None:
    """Take the former key out of the file.

    Backups of the database from before the rotation open with the former key only: keep a
    copy of it with them.
    """
    from picloud.local.master_key_rotation import retire

    with _place(data) as place:
        gone = retire(place.connection, place.path, place.source, place.holders(force=force))
    if as_json:
        print_json({"retired": gone.hex() if gone else None})
    elif gone is None:
        note(f"nothing to retire: {place.path} holds one key")
    else:
        note(f"{gone.hex()} is gone from {place.path}; database backups from before the rotation need it")


@example("picloud master-key prove")
@master_key.command("prove")
@data_option
@json_option
def prove_keys(*, data: Path | None, as_json: bool) -> None:
    """Open every secret with the file's keys, showing none; exit 1 when one does not open."""
    from picloud.local.master_key_rotation import prove

    with _place(data) as place:
        found = prove(place.connection, place.path)
    if as_json:
        print_json({"data_keys": found.data_keys, "secrets": found.secrets, "broken": list(found.broken)})
    else:
        for line in found.broken:
            click.echo(line)
        note(f"{found.secrets} secrets under {found.data_keys} data keys open; {len(found.broken)} do not")
    click.get_current_context().exit(1 if found.broken else 0)


@contextmanager
def _place(data: Path | None) -> Generator[_Place]:
    """What the commands work on.

    Raises:
        ConfigurationError: no database is known here, or it does not answer.
    """
    import psycopg

    from picloud import failpoints
    from picloud.database import connect
    from picloud.local.data_folder import with_running_servers
    from picloud.local.master_key import master_key_path, master_key_source
    from picloud.migrations import check_schema

    failpoints.arm_from_environment()
    settings = with_running_servers(settings_with(PICLOUD_DATA_DIR=data))
    if not settings.database_url:
        raise ConfigurationError(
            "PICLOUD_DATABASE_URL is not set, and no `picloud up` is running here",
            hint="run it on the server, beside the database and the key file",
        )
    try:
        connection = connect(settings.database_url, name="master-key")
    except psycopg.OperationalError as error:
        raise ConfigurationError(
            f"PostgreSQL does not answer: {str(error).strip().partition(chr(10))[0]}",
            hint="is it running, and is PICLOUD_DATABASE_URL right?",
        ) from error
    with connection:
        check_schema(connection)
        yield _Place(connection, master_key_path(settings), master_key_source(settings), settings.redis_url)
