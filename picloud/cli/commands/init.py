"""``picloud init``: a new app folder that works at once and explains itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

import click

from picloud.cli.help import example
from picloud.cli.options import surroundings
from picloud.cli.output import note
from picloud.errors import ConfigurationError, ConflictError, InvalidInputError, PiCloudError


@example("picloud init demo")
@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@click.option("--name", metavar="APP", help="The app's name.  [default: the folder's]")
def init(directory: Path, name: str | None) -> None:
    """Make a new app folder.

    It holds picloud.toml, three scripts, their tests, an example event and picloud.d.rhai, which
    describes what scripts can call. Files that are there are never overwritten.
    """
    from picloud.manifest import wrong_app_name

    app = name or _name_of(directory)
    if (wrong := wrong_app_name(app)) is not None:
        raise InvalidInputError(f"the app's name: {wrong}", hint="choose one with --name")
    files = {directory / path: text.replace("{{app}}", app) for path, text in _templates()}
    files[directory / "picloud.d.rhai"] = _definitions()
    existing = sorted(str(path) for path in files if path.exists())
    if existing:
        raise ConflictError(f"{existing[0]} is there already", hint="choose another folder")
    _write(files)
    for path in files:
        click.echo(path)
    note(
        f"\nnext:\n  picloud test {directory}\n  picloud deploy {directory}\n"
        f"  curl {_server_url()}/@{app}/hello/you\n  picloud logs {app}\n"
        f"\nwhile you write it: picloud dev {directory}"
    )


def _server_url() -> str:
    """The server a deploy would go to; that of a plain `picloud up` while none is known."""
    from picloud.profiles import load_profile

    try:
        return load_profile(surroundings().environ).url
    except PiCloudError:
        return "http://127.0.0.1:8000"


def _templates() -> Iterator[tuple[str, str]]:
    """Path and text of every file."""

    def walk(folder: Traversable, prefix: str) -> Iterator[tuple[str, str]]:
        for entry in sorted(folder.iterdir(), key=lambda each: each.name):
            if entry.is_dir():
                yield from walk(entry, f"{prefix}{entry.name}/")
            else:
                yield f"{prefix}{entry.name}", entry.read_text("utf-8")

    return walk(resources.files("picloud.cli") / "templates", "")


def _definitions() -> str:
    """What scripts can call, for editors."""
    from picloud.engine.sdk import render_definitions

    return render_definitions()


def _name_of(directory: Path) -> str:
    """The folder's name as an app's: ``My Shop`` is ``my-shop``."""
    return re.sub(r"[^a-z0-9]+", "-", directory.resolve().name.lower())[:63].strip("-") or "app"


def _write(files: dict[Path, str]) -> None:
    for path, text in files.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise ConfigurationError(f"{path}: {error.strerror}") from None
