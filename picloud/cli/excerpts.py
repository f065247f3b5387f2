"""The line a problem is on, with a mark below what is wrong: under every ``file:line:column: message``."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from picloud.cli.output import dim
from picloud.cli.text import printable

if TYPE_CHECKING:
    from picloud.manifest import Problem

#: Characters of a line around its mark; a minified script is one line of thousands.
_SHOWN_BEFORE = 60
_SHOWN = 100


def print_problems(problems: Iterable[Problem], *, err: bool) -> None:
    """Each problem with the line it is on."""
    for problem in problems:
        click.echo(printable(str(problem)), err=err)
        shown = excerpt(problem)
        if shown is not None:
            click.echo(dim(shown), err=err)


def excerpt(problem: Problem) -> str | None:
    """The line a problem is on, with a mark below its columns; None when there is none to show.

    It is read again, so it is the file as it is now.
    """
    if not problem.line:
        return None
    try:
        # Not splitlines: for scripts and TOML only \n ends a line.
        lines = Path(problem.file).read_text("utf-8").split("\n")
        line = lines[problem.line - 1].rstrip("\r")
    except (OSError, UnicodeDecodeError, IndexError):
        return None
    if not line:
        return None
    number = f"{problem.line:>5}"
    shown, mark = _window(line, max(problem.column - 1, 0), problem.end_column - 1)
    return f"{number} | {shown}\n{' ' * len(number)} | {mark}"


def _window(line: str, start: int, end: int) -> tuple[str, str]:
    """The part of ``line`` around ``start``, and what stands below it."""
    first = max(0, start - _SHOWN_BEFORE) if len(line) > _SHOWN else 0
    last = min(len(line), first + _SHOWN)
    before = "…" if first else ""
    indent = before and " "
    for char in line[first:start].ljust(start - first):
        # Tabs are kept below the line, so that the mark stands where it belongs whatever a tab's width is.
        indent += "\t" if char == "\t" else " " * _width(char)
    marked = sum(_width(char) for char in line[start : min(max(end, start + 1), last)])
    shown = printable(line[first:last])
    return f"{before}{shown}{'…' if last < len(line) else ''}", f"{indent}{'^' * max(marked, 1)}"


def _width(char: str) -> int:
    """The columns of a terminal that ``char`` takes when it is printed."""
    if unicodedata.combining(char):
        return 0
    shown = printable(char)
    return 2 if len(shown) == 1 and unicodedata.east_asian_width(shown) in {"F", "W"} else len(shown)
