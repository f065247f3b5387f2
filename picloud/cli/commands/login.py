"""``picloud login`` and ``picloud context``: the servers this user knows, and the keys to them."""

from __future__ import annotations

import sys
from urllib.parse import urlsplit

import click

from picloud.cli.client import Client
from picloud.cli.help import example
from picloud.cli.options import json_option, surroundings
from picloud.cli.output import Column, note, print_rows
from picloud.errors import InvalidInputError
from picloud.profiles import Profile, load_profiles, save_profile, use_profile


@example("picloud login https://picloud.example.org < key.txt")
@click.command()
@click.argument("url")
@click.option("--name", metavar="NAME", help="What to call it.  [default: the host's name]")
def login(url: str, name: str | None) -> None:
    """Remember a server and a key to it.

    The key is asked for, or read from standard input; it is checked before it is kept, in a
    file only you can read.
    """
    around = surroundings()
    address = _address(url)
    is_terminal = sys.stdin.isatty()
    token = click.prompt("API key", hide_input=True, err=True) if is_terminal else sys.stdin.readline()
    profile = Profile(address, token.strip())
    if not profile.token:
        raise InvalidInputError("no key was given", hint="`picloud keys create NAME` on that server makes one")
    with Client(profile, transport=around.transport) as client:
        me = client.get("/me")
    called = name or urlsplit(address).netloc
    path = save_profile(called, profile, around.environ)
    note(f"logged in to {address} as {me.get('name', '?')}; kept as {called!r} in {path}")
    _warn_of_environment()


@example("picloud context use local")
@click.group()
def context() -> None:
    """List known servers; choose one."""


@example("picloud context ls")
@context.command("ls")
@json_option
def list_contexts(as_json: bool) -> None:
    """List known servers."""
    profiles = load_profiles(surroundings().environ)
    rows = [
        {"id": name, "name": name, "url": profile.url, "current": name == profiles.current}
        for name, profile in profiles.by_name.items()
    ]
    columns = (Column("", lambda row: "*" if row["current"] else ""), Column("NAME", "name"), Column("URL", "url"))
    print_rows(rows, columns, as_json=as_json, empty="no servers yet: `picloud up` or `picloud login URL`")


@example("picloud context use picloud.example.org")
@context.command("use")
@click.argument("name")
def use_context(name: str) -> None:
    """Talk to this server from now on."""
    profile = use_profile(name, surroundings().environ)
    note(f"now talking to {profile.url}")
    _warn_of_environment()


def _warn_of_environment() -> None:
    if surroundings().environ.get("PICLOUD_URL"):
        note("PICLOUD_URL is set, and wins over this until it is unset")


def _address(url: str) -> str:
    """The URL without what a person may have left out or pasted along."""
    is_near = url.startswith(("localhost", "127.", "[::1]"))
    with_scheme = url if "://" in url else f"{'http' if is_near else 'https'}://{url}"
    try:
        parts = urlsplit(with_scheme)
        host = parts.hostname
    except ValueError:
        host, parts = None, urlsplit("")
    if not host or parts.scheme not in {"http", "https"} or parts.username or parts.query or parts.fragment:
        raise click.UsageError(f"{url!r} is not the URL of a server, as in https://picloud.example.org")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
