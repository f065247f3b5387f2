"""docs/command-line.md says what is so."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from picloud.cli.exit_codes import ExitCode
from picloud.cli.main import cli

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "command-line.md").read_text()


def test_the_page_lists_the_exit_codes_there_are() -> None:
    listed = [int(code) for code in re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)]
    assert listed == [code.value for code in ExitCode]


@pytest.mark.parametrize("line", sorted(set(re.findall(r"picloud ((?:[a-z-]+ ?)+)", PAGE))))
def test_a_command_the_page_names_is_there(line: str) -> None:
    command: click.Command | None = cli
    context = click.Context(cli)
    for word in line.split():
        if not isinstance(command, click.Group):
            break
        command = command.get_command(context, word)
        assert command is not None, f"{word} of `picloud {line}`"


def test_a_command_that_is_not_there_would_be_noticed() -> None:
    assert cli.get_command(click.Context(cli), "nothing") is None
