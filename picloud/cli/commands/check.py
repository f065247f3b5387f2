"""``picloud check``: everything that can be known to be wrong with an app folder before it is sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click

from picloud.cli.app_folder import AppFolder, examine, excerpt
from picloud.cli.help import example
from picloud.cli.options import json_option
from picloud.cli.output import dim, note, print_json
from picloud.cli.text import printable
from picloud.errors import InvalidInputError
from picloud.manifest import Problem

folder_argument = click.argument(
    "directory", metavar="[DIR]", default=".", type=click.Path(exists=True, file_okay=False, path_type=Path)
)


@example("picloud check demo")
@click.command()
@folder_argument
@json_option
def check(directory: Path, as_json: bool) -> None:
    """Check an app folder without sending anything.

    Compiles every script and checks picloud.toml; each problem is printed as
    FILE:LINE:COLUMN: MESSAGE.
    """
    folder, problems = examine(directory)
    if as_json:
        print_json([asdict(problem) for problem in problems])
    else:
        print_problems(problems, err=False)
    if folder is None:
        raise InvalidInputError(_summary(problems))
    note(f"{folder.manifest.app}: {_counted(len(folder.files), 'script')} and the manifest are fine")


def read_folder(directory: Path) -> AppFolder:
    """The app in ``directory``, its problems printed on standard error when there are any.

    Raises:
        InvalidInputError: there are some.
        ManifestError: there is no manifest.
    """
    folder, problems = examine(directory)
    if folder is None:
        print_problems(problems, err=True)
        raise InvalidInputError(_summary(problems))
    return folder


def print_problems(problems: Sequence[Problem], *, err: bool) -> None:
    """Each problem with the line it is on."""
    for problem in problems:
        click.echo(printable(str(problem)), err=err)
        shown = excerpt(problem)
        if shown is not None:
            click.echo(dim(printable(shown)), err=err)


def _summary(problems: Sequence[Problem]) -> str:
    return f"{_counted(len(problems), 'problem')} in {_counted(len({each.file for each in problems}), 'file')}"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
