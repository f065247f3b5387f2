"""What goes to standard output: one JSON document for programs, tables for people; the rest goes to standard error.

On a terminal tables are drawn by rich, which is imported only then; elsewhere they
are plain columns.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from picloud.cli.text import printable

if TYPE_CHECKING:
    from rich.table import Table

Row = Mapping[str, Any]

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
    "revoked": "bright_black",
}


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table: its title, and a key of the row or a function of it."""

    title: str
    value: str | Callable[[Row], object]
    is_number: bool = False
    #: May be cut when the terminal is narrow; the others stay whole.
    may_shrink: bool = False

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
    elif sys.stdout.isatty():
        from rich.console import Console

        Console().print(draw_table(found, columns))
    else:
        click.echo(plain_table(found, columns))


def print_fields(pairs: Iterable[tuple[str, object]]) -> None:
    """``name  value`` lines; values that are None or empty are left out."""
    present = [(name, printable(str(value))) for name, value in pairs if value not in (None, "")]
    width = max((len(name) for name, _ in present), default=0)
    for name, value in present:
        indented = value.replace("\n", "\n" + " " * (width + 2))
        click.echo(f"{dim(name.ljust(width))}  {indented}")


def draw_table(rows: Sequence[Row], columns: Sequence[Column]) -> Table:
    """The rows as a rich table."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in columns:
        table.add_column(
            column.title,
            justify="right" if column.is_number else "left",
            no_wrap=True,
            overflow="ellipsis" if column.may_shrink else "fold",
        )
    for row in rows:
        cells = [column.text(row) for column in columns]
        table.add_row(*(Text(cell, style=_STATUS_COLORS.get(cell, "")) for cell in cells))
    return table


def plain_table(rows: Sequence[Row], columns: Sequence[Column]) -> str:
    """The rows in columns of spaces."""
    lines = [[column.title for column in columns], *([column.text(row) for column in columns] for row in rows)]
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    aligned = (
        "  ".join(
            cell.rjust(width) if column.is_number else cell.ljust(width)
            for cell, width, column in zip(line, widths, columns, strict=True)
        ).rstrip()
        for line in lines
    )
    return "\n".join(aligned)


def status(word: str) -> str:
    """A status in its color."""
    return click.style(word, fg=_STATUS_COLORS.get(word))


def dim(text: str) -> str:
    """What matters less than what stands beside it."""
    return click.style(text, dim=True)


def note(message: str) -> None:
    """Progress or a hint: for people, on standard error."""
    click.echo(message, err=True)
