"""docs/json.md says what the commands print."""

from __future__ import annotations

from collections.abc import Iterator

import click

from picloud.cli.main import cli
from tests.unit.api import json_page

#: They print what is known on this machine, not an answer of the API.
_LOCAL = {"context ls", "master-key show"}
_READS = {"ls", "show"}


def _commands_that_read() -> Iterator[str]:
    context = click.Context(cli)
    for group in cli.list_commands(context):
        command = cli.get_command(context, group)
        if isinstance(command, click.Group):
            yield from (f"{group} {name}" for name in command.commands if name in _READS)


def test_the_page_is_made_from_the_types_of_the_api() -> None:
    assert json_page.PAGE.read_text() == json_page.rendered(), "python -m tests.unit.api.json_page writes it anew"


def test_every_command_that_lists_or_shows_is_on_the_page() -> None:
    listed = {" ".join(word for word in command.split() if word.islower()) for command in json_page.COMMANDS}
    missing = set(_commands_that_read()) - listed - _LOCAL
    assert not missing, "name their endpoints in tests/unit/api/json_page.py"


def test_every_command_on_the_page_is_there_and_takes_json() -> None:
    context = click.Context(cli)
    for line in json_page.COMMANDS:
        command: click.Command | None = cli
        for word in line.split():
            if isinstance(command, click.Group) and word.islower() and not word.startswith("-"):
                command = command.get_command(context, word)
        assert command is not None, line
        assert isinstance(command, click.Group) or any(each.name == "as_json" for each in command.params), line
