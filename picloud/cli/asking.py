"""Passwords, asked for without showing them or read from standard input; never taken from the command line.

What stands on a command line is in the shell's history, and every user of the machine sees it in the list of processes.
"""

from __future__ import annotations

import sys

import click


def ask_password(what: str = "Password", *, twice: bool = False) -> str:
    """A password: typed at the terminal, else the next line of standard input.

    Args:
        what: how it is asked for.
        twice: it is a new one, in which a slip of the finger would not be noticed.

    Raises:
        click.UsageError: there is none.
    """
    if sys.stdin.isatty():
        return str(click.prompt(what, hide_input=True, confirmation_prompt=twice, err=True))
    line = sys.stdin.readline().removesuffix("\n").removesuffix("\r")
    if not line:
        raise click.UsageError(f"{what.lower()}: none was given on standard input")
    return line
