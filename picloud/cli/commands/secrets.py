"""``picloud secrets``: values that scripts read by name and nobody reads back."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from picloud.cli.client import Client, api_path
from picloud.cli.commands.of_apps import app_argument, items_of_apps
from picloud.cli.help import example
from picloud.cli.options import confirm, connected, json_option, limit_option, yes_option
from picloud.cli.output import Column, Row, note, print_fields, print_json, print_rows
from picloud.cli.text import age, local_clock
from picloud.services.scrub import LEAST_CHARACTERS

_COLUMNS = (
    Column("NAME", "name"),
    Column("APP", "app"),
    Column("VERSION", "version", is_number=True),
    Column("SET", lambda row: f"{age(row['created_at'])} ago", is_number=True),
    Column("BY", "created_by", may_shrink=True, is_optional=True),
)


@example("picloud secrets set shop STRIPE_KEY < key.txt")
@click.group()
def secrets() -> None:
    """Set what scripts read and nobody sees."""


@example("picloud secrets ls shop --json")
@secrets.command("ls")
@app_argument
@limit_option
@json_option
@connected
def list_secrets(client: Client, *, app: str | None, limit: int, as_json: bool) -> None:
    """List the secrets of an app, or of all, without their values."""
    rows = [_row(each) for each in items_of_apps(client, app, "secrets", limit)]
    print_rows(rows, _COLUMNS, as_json=as_json, empty="no secrets")


@example("picloud secrets show shop STRIPE_KEY")
@secrets.command("show")
@click.argument("app")
@click.argument("name")
@json_option
@connected
def show_secret(client: Client, *, app: str, name: str, as_json: bool) -> None:
    """Show when a secret was set and by whom; its value is shown to nobody."""
    found = _row(client.get(api_path("apps", app, "secrets", name)))
    if as_json:
        print_json(found)
        return
    print_fields(
        (
            ("secret", found["name"]),
            ("app", found["app"]),
            ("version", found["version"]),
            ("set", local_clock(found["created_at"])),
            ("by", found["created_by"]),
        )
    )


@example(
    "picloud secrets set shop STRIPE_KEY                        asks for it",
    "pass show stripe | picloud secrets set shop STRIPE_KEY",
    "picloud secrets set shop DEPLOY_KEY --value @id_ed25519",
)
@secrets.command("set")
@click.argument("app")
@click.argument("name")
@click.option("--value", metavar="TEXT|@FILE", help="The value, or a file that holds it; @- for standard input.")
@json_option
@connected
def set_secret(client: Client, *, app: str, name: str, value: str | None, as_json: bool) -> None:
    """Set a secret.

    The value is asked for without showing it, or read from standard input. One line end at
    the end of a file or of the input is left out: echo and editors add it.
    """
    given = _value(value)
    made = client.put(api_path("apps", app, "secrets", name), {"value": given})
    if as_json:
        print_json(_row(made))
    else:
        note(f"set {name} of {app} (version {made['version']})")
        note(f'scripts read it with secrets::get("{name}")')
    if len(given.strip()) < LEAST_CHARACTERS:
        note(f"fewer than {LEAST_CHARACTERS} characters: too short to be struck out of logs and errors")


@example("picloud secrets rm shop STRIPE_KEY --yes")
@secrets.command("rm")
@click.argument("app")
@click.argument("name")
@yes_option
@connected
def remove_secret(client: Client, *, app: str, name: str, yes: bool) -> None:
    """Remove a secret; scripts that read it fail from then on."""
    confirm(f"Remove the secret {name} of {app}? Its value cannot be brought back.", yes=yes)
    client.delete(api_path("apps", app, "secrets", name))
    note(f"removed {name} of {app}")


@example("picloud secrets rotate shop")
@secrets.command("rotate")
@click.argument("app")
@json_option
@connected
def rotate_data_key(client: Client, *, app: str, as_json: bool) -> None:
    """Seal an app's secrets anew, under a new data key.

    No value and no version changes, and runs go on meanwhile. For the key that wraps the
    data keys of all apps see `picloud master-key`.
    """
    done = client.post(api_path("apps", app, "rotate-data-key"))
    if as_json:
        print_json(done)
    else:
        note(f"{done['secrets']} secrets of {app} are sealed with a new data key")


def _row(secret: Row) -> Row:
    return {"id": secret["name"], **secret}


def _value(option: str | None) -> str:
    """The value, from wherever it is.

    Raises:
        click.UsageError: there is none, or it is no text.
    """
    if option is None and sys.stdin.isatty():
        return str(click.prompt("Value", hide_input=True, err=True))
    if option is None or option == "@-":
        return _text(sys.stdin.buffer.read(), "standard input")
    if not option.startswith("@"):
        note("the value is in your shell's history now, and was in the list of processes: better pipe it in")
        return option
    try:
        return _text(Path(option[1:]).read_bytes(), option)
    except OSError as error:
        raise click.UsageError(f"--value {option}: {error.strerror}") from None


def _text(content: bytes, where: str) -> str:
    content = content.removesuffix(b"\n").removesuffix(b"\r") if content.endswith(b"\n") else content
    try:
        text = content.decode()
    except UnicodeDecodeError:
        text = None  # the error would hold the value
    if text is None:
        raise click.UsageError(f"{where} is not UTF-8 text: Base64 carries other bytes")
    if not text:
        raise click.UsageError(f"{where} is empty")
    return text
