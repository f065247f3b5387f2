"""What goes to standard output: one JSON document for programs, tables for people; the rest goes to standard error.

Tables are plain columns, so that tools can cut them too; on a terminal they have color
and fit its width: what may shrink is cut, what is optional is left out.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click

from picloud.cli.text import printable

Row = Mapping[str, Any]

_GAP = "  "
#: What a column that may shrink keeps, in characters.
_LEAST_SHRUNK = 12

_STATUS_COLORS = {
    "completed": "green",
    "replayed": "green",
    "handled_by_script": "green",
    "running": "cyan",
    "published": "cyan",
    "pending": "yellow",
    "unresolved": "red",
    "failed": "red",
    "dead": "red",
    "handler_failed": "red",
    "cancelled": "bright_black",
    "ignored": "bright_black",
    "depth_exceeded": "magenta",
    "abandoned": "magenta",
    "busy": "cyan",
    "draining": "yellow",
    "lost": "red",
    "paused": "yellow",
    "held": "yellow",
    "off": "yellow",
    "revoked": "bright_black",
}


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table: its title, and a key of the row or a function of it."""

    title: str
    value: str | Callable[[Row], object]
    is_number: bool = False
    #: Its text may be cut where the terminal is narrow; other columns stay whole.
    may_shrink: bool = False
    #: Left out where the terminal is too narrow for all; the last of them first.
    is_optional: bool = False

    def text(self, row: Row) -> str:
        value = row.get(self.value) if isinstance(self.value, str) else self.value(row)
        return "" if value is None else printable(str(value))


def print_json(value: object) -> None:
    """One document; indented for eyes when the output is a terminal."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2 if sys.stdout.isatty() else None))


def print_rows(rows: Iterable[Row], columns: Sequence[Column], *, as_json: bool, empty: str) -> None:
    """A list: an array of objects, or a table; ``empty`` tells people that there is nothing."""
    found = list(rows)
    if as_json:
        print_json(found)
    elif not found:
        note(empty)
    else:
        click.echo(table(found, columns, terminal_width()))


def terminal_width() -> int | None:
    """Characters in a line of the terminal; None where the output is not one, and nothing needs to be cut."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def print_fields(pairs: Iterable[tuple[str, object]]) -> None:
    """``name  value`` lines; values that are None or empty are left out."""
    present = [(name, printable(str(value))) for name, value in pairs if value not in (None, "")]
    width = max((len(name) for name, _ in present), default=0)
    for name, value in present:
        indented = value.replace("\n", "\n" + " " * (width + 2))
        click.echo(f"{dim(name.ljust(width))}  {indented}")


def table(rows: Sequence[Row], columns: Sequence[Column], width: int | None = None) -> str:
    """The rows in columns, as wide as they need; with a ``width``, cut and left out until they fit."""
    fitting = list(columns)
    while width is not None and _least_width(rows, fitting) > width and any(each.is_optional for each in fitting):
        fitting.remove([column for column in fitting if column.is_optional][-1])
    widths = _widths(rows, fitting, width)
    heading = _GAP.join(
        _aligned(each.title, each, each_width) for each, each_width in zip(fitting, widths, strict=True)
    )
    lines = [dim(heading.rstrip())]
    for row in rows:
        cells = ((column.text(row), column, each) for column, each in zip(fitting, widths, strict=True))
        lines.append(_GAP.join(status(text, _aligned(text, column, each)) for text, column, each in cells).rstrip())
    return "\n".join(lines)


def _widths(rows: Sequence[Row], columns: Sequence[Column], width: int | None) -> list[int]:
    """What each column gets: the widest that may shrink gives way first."""
    widths = [_natural_width(rows, column) for column in columns]
    shrinking = [index for index, column in enumerate(columns) if column.may_shrink]
    while width is not None and sum(widths) + len(_GAP) * (len(widths) - 1) > width:
        widest = max(shrinking, key=lambda index: widths[index], default=None)
        if widest is None or widths[widest] <= _LEAST_SHRUNK:
            break
        widths[widest] -= 1
    return widths


def _least_width(rows: Sequence[Row], columns: Sequence[Column]) -> int:
    naturals = [(_natural_width(rows, column), column.may_shrink) for column in columns]
    widths = (min(natural, _LEAST_SHRUNK) if may_shrink else natural for natural, may_shrink in naturals)
    return sum(widths) + len(_GAP) * (len(columns) - 1)


def _natural_width(rows: Sequence[Row], column: Column) -> int:
    return max([len(column.title), *(len(column.text(row)) for row in rows)])


def _aligned(text: str, column: Column, width: int) -> str:
    cut = text if len(text) <= width else f"{text[: width - 1]}…"
    return cut.rjust(width) if column.is_number else cut.ljust(width)


def status(word: str, shown: str | None = None) -> str:
    """A status in its color, as ``shown`` when it is to look otherwise; other words stay as they are."""
    color = _STATUS_COLORS.get(word)
    return click.style(shown or word, fg=color) if color else shown or word


def dim(text: str) -> str:
    """What matters less than what stands beside it."""
    return click.style(text, dim=True)


def note(message: str) -> None:
    """Progress or a hint: for people, on standard error."""
    click.echo(printable(message), err=True)


def complain(message: str, hint: str | None = None) -> None:
    """One line that says what is wrong, one that says what to do."""
    click.echo(f"{_marked('error:', 'red')} {printable(message)}", err=True)
    if hint:
        click.echo(f"{_marked('hint:', 'cyan')} {hint}", err=True)


def _marked(word: str, color: str) -> str:
    # click.echo removes the color again where standard error is no terminal.
    return word if os.environ.get("NO_COLOR") else click.style(word, fg=color, bold=True)
