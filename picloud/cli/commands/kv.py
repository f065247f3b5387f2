"""``picloud kv``: the key-value store of an app."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

import click

from picloud.cli.client import Client, api_path
from picloud.cli.help import example
from picloud.cli.options import confirm, connected, json_option, limit_option, read_json, yes_option
from picloud.cli.output import Column, Row, note, print_json, print_rows
from picloud.cli.text import age, compact_json, one_line, printable, until
from picloud.errors import NotFoundError

_COLLECTIONS = (
    Column("COLLECTION", "name"),
    Column("KEYS", "keys", is_number=True),
    Column("BYTES", "bytes", is_number=True),
)


def _expires(row: Row) -> str:
    return f"in {until(row['expires_at'])}" if row["expires_at"] else ""


_KEYS = (
    Column("KEY", "key"),
    Column("VERSION", "version", is_number=True),
    Column("BYTES", "bytes", is_number=True, is_optional=True),
    Column("CHANGED", lambda row: age(row["updated_at"]), is_number=True, is_optional=True),
    Column("EXPIRES", _expires, is_number=True, is_optional=True),
)
_VALUE = Column("VALUE", lambda row: one_line(compact_json(row["value"])), may_shrink=True)


class _Lifetime(click.ParamType[float]):
    """How long something lasts: seconds, or ``90s``, ``15m``, ``12h``, ``7d``."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", str(value))
        seconds = float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3_600, "d": 86_400}[match[2]] if match else 0.0
        if seconds <= 0:
            self.fail(f"{value!r} is no time: seconds, or as in 90s, 15m, 12h, 7d", param, ctx)
        return seconds


version_option = click.option(
    "--if-version", type=click.IntRange(min=1), metavar="N", help="Only when this version is there, as `ls` shows it."
)


@example("picloud kv ls shop", "picloud kv set shop stock apples 5")
@click.group()
def kv() -> None:
    """See and change the keys of apps."""


@example("picloud kv ls shop", "picloud kv ls shop stock --prefix app --values")
@kv.command("ls")
@click.argument("app")
@click.argument("collection", required=False)
@click.option("--prefix", metavar="TEXT", help="Only keys that begin with this.")
@click.option("--values", is_flag=True, help="With their values.")
@limit_option
@json_option
@connected
def list_keys(
    client: Client, *, app: str, collection: str | None, prefix: str | None, values: bool, limit: int, as_json: bool
) -> None:
    """List the collections of an app, or the keys of one."""
    if collection is None:
        if prefix is not None or values:
            raise click.UsageError("--prefix and --values are for the keys of a collection: name one")
        rows = client.items(api_path("apps", app, "kv"), limit=limit)
        print_rows(rows, _COLLECTIONS, as_json=as_json, empty="no keys")
        return
    found = client.items(
        api_path("apps", app, "kv", collection), limit=limit, prefix=prefix, values="true" if values else None
    )
    print_rows(found, (*_KEYS, _VALUE) if values else _KEYS, as_json=as_json, empty="no keys")


@example("picloud kv get shop stock apples")
@kv.command("get")
@click.argument("app")
@click.argument("collection")
@click.argument("key")
@json_option
@connected
def get_value(client: Client, *, app: str, collection: str, key: str, as_json: bool) -> None:
    """Print the value under a key: JSON, but text as it is unless --json is given."""
    value = client.get(api_path("apps", app, "kv", collection, key))
    if as_json:
        print_json(value)
    elif isinstance(value, str):
        # Byte for byte into a file or pipe; a terminal would obey what is in it.
        click.echo(printable(value) if sys.stdout.isatty() else value)
    else:
        click.echo(json.dumps(value, ensure_ascii=False, indent=2))


# A negative number is a value, not an option.
@example(
    "picloud kv set shop stock apples 5 --ttl 12h",
    "picloud kv set shop greetings en '\"hello\"'        text is JSON too",
    "picloud kv set shop prices all @prices.json",
)
@kv.command("set", context_settings={"ignore_unknown_options": True})
@click.argument("app")
@click.argument("collection")
@click.argument("key")
@click.argument("value", metavar="JSON|@FILE|-")
@click.option("--ttl", type=_Lifetime(), metavar="TIME", help="The key goes after this: seconds, or 90s, 15m, 12h, 7d.")
@click.option("--create", is_flag=True, help="Only when the key is not there.")
@version_option
@json_option
@connected
def set_value(
    client: Client,
    *,
    app: str,
    collection: str,
    key: str,
    value: str,
    ttl: float | None,
    create: bool,
    if_version: int | None,
    as_json: bool,
) -> None:
    """Leave a JSON value under a key, and fire the triggers of that.

    Exits with 6 when --create or --if-version does not hold.
    """
    if create and if_version is not None:
        raise click.UsageError("--create and --if-version exclude each other")
    given = read_json("@-" if value == "-" else value, "VALUE")
    headers = {"If-None-Match": "*"} if create else _if_match(if_version)
    written = client.put(api_path("apps", app, "kv", collection, key), given, headers=headers, ttl_seconds=ttl)
    if as_json:
        print_json(written)
        return
    fired = f"; it fired {written['fired']}" if written["fired"] else ""
    note(f"{'made' if written['created'] else 'changed'} {collection}/{key}, version {written['version']}{fired}")


@example("picloud kv rm shop stock apples pears", "picloud kv rm shop sessions --prefix old: --yes")
@kv.command("rm")
@click.argument("app")
@click.argument("collection")
@click.argument("keys", metavar="[KEY]...", nargs=-1)
@click.option("--prefix", metavar="TEXT", help="Every key that begins with this; '' is all of them.")
@version_option
@yes_option
@json_option
@connected
def remove_keys(
    client: Client,
    *,
    app: str,
    collection: str,
    keys: tuple[str, ...],
    prefix: str | None,
    if_version: int | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Remove keys, and fire the triggers of that.

    Asks before it removes all that begin with something. Exits with 5 when a key is not there.
    """
    if bool(keys) == (prefix is not None):
        raise click.UsageError("name the keys, or what they begin with (--prefix)")
    if if_version is not None and len(keys) != 1:
        raise click.UsageError("--if-version is about one key")
    path = api_path("apps", app, "kv", collection)
    if prefix is not None:
        confirm(f"Remove every key of {app}/{collection} that begins with {prefix!r}?", yes=yes)
        keys = tuple(each["key"] for each in client.items(path, prefix=prefix))
    removed: list[str] = []
    try:
        for key in keys:
            try:
                client.delete(path + api_path(key), headers=_if_match(if_version))
            except NotFoundError:
                if prefix is None:
                    raise
                continue  # gone since it was listed
            removed.append(key)
    finally:
        # What is gone is told though another key failed.
        if as_json:
            print_json({"removed": removed})
        elif removed or prefix is not None:
            note(f"removed {len(removed)} of {len(keys)}" if len(keys) != 1 else f"removed {collection}/{keys[0]}")


def _if_match(version: int | None) -> dict[str, str]:
    return {} if version is None else {"If-Match": f'"{version}"'}
