"""``picloud login``, ``logout``, ``whoami`` and ``context``: the servers this user knows, and the keys to them."""

from __future__ import annotations

import socket
import sys
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import click

from picloud.cli.asking import ask_password
from picloud.cli.client import Client, api_path
from picloud.cli.help import example
from picloud.cli.options import as_query, connected, json_option, surroundings
from picloud.cli.output import Column, note, print_fields, print_json, print_rows
from picloud.cli.text import printable
from picloud.errors import AuthenticationError, InvalidInputError, NotFoundError
from picloud.profiles import Profile, forget_profile, load_profile, load_profiles, save_profile, use_profile

#: A machine nobody uses any more should not keep a key for ever.
_KEY_LIVES = timedelta(days=90)


@example(
    "picloud login https://picloud.example.org                 asks who you are",
    "picloud login https://picloud.example.org < key.txt       with a key",
)
@click.command()
@click.argument("url")
@click.option("--user", metavar="NAME", help="Sign in as this user; the password is asked for, or read from the input.")
@click.option("--name", metavar="NAME", help="What to call the server here.  [default: the host's name]")
def login(url: str, user: str | None, name: str | None) -> None:
    """Remember a server and a key to it.

    With a user's name and password a key is made for this machine, which expires in 90 days
    (`picloud logout` ends it before). A key that is there already is asked for, or read from
    standard input. Either is kept in a file only you can read; the password is kept nowhere.
    """
    around = surroundings()
    address = _address(url)
    if user is None and sys.stdin.isatty():
        user = str(click.prompt("User (empty: paste a key)", default="", show_default=False, err=True)).strip() or None
    token = _pasted_key() if user is None else _key_of_this_machine(address, user)
    profile = Profile(address, token)
    with Client(profile, transport=around.transport) as client:
        me = client.get("/me")
    called = name or urlsplit(address).netloc
    path = save_profile(called, profile, around.environ)
    note(f"logged in to {address} as {me.get('name', '?')}; kept as {called!r} in {path}")
    _warn_of_environment()


def _pasted_key() -> str:
    is_terminal = sys.stdin.isatty()
    token = str(click.prompt("API key", hide_input=True, err=True) if is_terminal else sys.stdin.readline()).strip()
    if not token:
        raise InvalidInputError("no key was given", hint="`picloud keys create NAME` on that server makes one")
    return token


def _key_of_this_machine(address: str, user: str) -> str:
    """A new key of the user's; the session that makes it ends here."""
    if address.startswith("http://") and not address.startswith(("http://localhost", "http://127.", "http://[::1]")):
        note("this is http, not https: whoever is on the way can read the password")
    password = ask_password()
    expires = datetime.now(UTC) + _KEY_LIVES
    with Client(Profile(address, ""), transport=surroundings().transport) as client:
        client.post("/auth/login", {"name": user, "password": password})
        try:
            body = {"name": f"cli on {_hostname()}"} | as_query({"expires_at": expires})
            made = client.post("/keys", body)
        finally:
            client.post("/auth/logout")
    return str(made["key"])


def _hostname() -> str:
    return printable(socket.gethostname())[:100] or "this machine"


@example("picloud logout", "picloud logout picloud.example.org")
@click.command()
@click.argument("name", required=False)
@click.option("--keep-key", is_flag=True, help="Forget the key here, and leave it valid; the server is not asked.")
def logout(name: str | None, keep_key: bool) -> None:
    """Revoke the key to a server, and forget both.

    NAME is one of `picloud context ls`, the current one by default.
    """
    around = surroundings()
    called = name or load_profiles(around.environ).current
    if not called:
        raise NotFoundError("no server is known here", hint="`picloud context ls` lists them")
    profile = load_profile(around.environ, called)
    if not keep_key:
        with Client(profile, transport=around.transport) as client:
            _revoke(client)
    forget_profile(called, around.environ)
    note(f"{called!r} is forgotten" + (", its key stays valid" if keep_key else ""))
    _warn_of_environment()


def _revoke(client: Client) -> None:
    try:
        me = client.get("/me")
    except AuthenticationError:
        note("the key is not valid any more")
        return
    if me.get("key_id") is not None:
        client.delete(api_path("keys", me["key_id"]))


@example("picloud whoami --json")
@click.command()
@json_option
@connected
def whoami(client: Client, *, as_json: bool) -> None:
    """Show who you are to the server, and what your key may."""
    me = client.get("/me")
    if as_json:
        print_json(me)
        return
    print_fields(
        (
            ("server", client.url),
            ("name", me["name"]),
            ("kind", me["kind"]),
            ("role", me["role"]),
            ("with", me["credential"]),
            ("scopes", " ".join(me["scopes"])),
            ("only app", me["app"]),
            ("apps", "\n".join(f"{app}: {role}" for app, role in me["apps"].items())),
        )
    )


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
