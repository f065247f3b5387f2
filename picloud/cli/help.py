"""Help texts: every command ends with an example."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import click

Command = TypeVar("Command", bound=click.Command)


def example(*lines: str) -> Callable[[Command], Command]:
    """Close the help of a command with ``lines`` as they are; goes above ``click.command``."""

    def decorate(command: Command) -> Command:
        # \b is click's: the paragraph keeps its line ends.
        command.epilog = "\n".join(("\b", "Example:", *(f"  {line}" for line in lines)))
        return command

    return decorate
