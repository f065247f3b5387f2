"""``picloud check``: everything that can be known to be wrong with an app folder before it is sent."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from picloud.cli.excerpts import print_problems
from picloud.cli.help import example
from picloud.cli.options import json_option
from picloud.cli.output import note, print_json
from picloud.errors import InvalidInputError

if TYPE_CHECKING:
    # Reading a manifest takes longer to import than a help text may take: whoever reads one imports it.
    from picloud.cli.app_folder import AppFolder
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
    FILE:LINE:COLUMN: MESSAGE, with the line it is on. Warnings fail nothing.
    """
    from picloud.cli.app_folder import examine, unused_scripts

    folder, problems = examine(directory)
    if folder is not None:
        problems += unused_scripts(directory, folder)
    if as_json:
        print_json([asdict(problem) for problem in problems])
    else:
        print_problems(problems, err=False)
    if folder is None:
        raise InvalidInputError(_summary(problems))
    warnings = f", with {_counted(len(problems), 'warning')}" if problems else ""
    note(f"{folder.manifest.app}: {_counted(len(folder.files), 'script')} and the manifest are fine{warnings}")


def read_folder(directory: Path) -> AppFolder:
    """The app in ``directory``, its problems and warnings printed on standard error when there are any.

    Raises:
        InvalidInputError: there are problems.
        ManifestError: there is no manifest.
    """
    from picloud.cli.app_folder import examine

    folder, problems = examine(directory)
    print_problems(problems, err=True)
    if folder is None:
        raise InvalidInputError(_summary(problems))
    return folder


@contextmanager
def refusals_shown(directory: Path) -> Generator[None]:
    """What the server finds wrong with the app in ``directory`` is printed as `picloud check` prints it.

    Raises:
        InvalidInputError: the server's, with what was printed summed up.
    """
    from picloud.cli.app_folder import problems_of_refusal

    try:
        yield
    except InvalidInputError as error:
        problems = problems_of_refusal(directory, error)
        if not problems:
            raise
        print_problems(problems, err=True)
        raise InvalidInputError(f"the server refused {_summary(problems)}", code=error.code) from None


def _summary(problems: Sequence[Problem]) -> str:
    return f"{_counted(len(problems), 'problem')} in {_counted(len({each.file for each in problems}), 'file')}"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
