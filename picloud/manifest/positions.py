"""Where each key and each value of a TOML text stands: tomllib tells values, not positions.

It reads a text that tomllib has accepted, so it checks nothing: it walks over keys, strings,
arrays and inline tables, and notes where they begin and end. What it does not understand ends
the walk, and the places after it have no position of their own.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

#: ("route", 2, "path") is ``path`` of the second ``[[route]]``.
Place: TypeAlias = tuple[str | int, ...]

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_KEY = re.compile(r"""[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'""")
#: Strings of both kinds, on many lines and on one; then numbers, booleans and times, which may hold one space.
_SCALAR = re.compile(
    r'"""(?:[^\\]|\\.)*?"""(?:"{0,2})'
    r"|'''.*?'''(?:'{0,2})"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'"
    r"|\d{4}-\d\d-\d\d\ \d\d:[^\s,\]}#]+"
    r"|[^\s,\]}#\[{]+",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Span:
    """A part of one line; all numbers are 1-based, the end is the column after it."""

    line: int
    column: int
    end_column: int


@dataclass(frozen=True, slots=True)
class Positions:
    """Of each place: its key, and its value. A place inside an array has only a value, one of a header only a key."""

    keys: dict[Place, Span] = field(default_factory=dict[Place, Span])
    values: dict[Place, Span] = field(default_factory=dict[Place, Span])

    def of_value(self, place: Place) -> Span | None:
        """Where the value of ``place`` is, else what is nearest around it."""
        return self.values.get(place) or self.of_key(place)

    def of_key(self, place: Place) -> Span | None:
        """Where ``place`` gets its name, else what is nearest around it: a key that is missing is in no line."""
        while place:
            found = self.keys.get(place) or self.values.get(place)
            if found is not None:
                return found
            place = place[:-1]
        return None


def find_positions(text: str) -> Positions:
    """The positions in ``text``, which is valid TOML."""
    # As tomllib does it; a column is the same with and without the \r.
    walk = _Walk(text.replace("\r\n", "\n"))
    try:
        walk.document()
    except _NotUnderstoodError:
        pass
    return walk.positions


class _NotUnderstoodError(Exception):
    """Raised when the text goes on in a way that this walk has no word for."""


class _Walk:
    def __init__(self, text: str) -> None:
        self.positions = Positions()
        self._text = text
        self._at = 0
        self._line_starts = [0, *(match.end() for match in re.finditer("\n", text))]
        #: Tables so far of each array of tables.
        self._counts: dict[Place, int] = {}

    def document(self) -> None:
        """Walk over everything."""
        table: Place = ()
        self._skip(_BLANK)
        while self._at < len(self._text):
            if self._sees("["):
                table = self._header()
            else:
                self._pair(table)
            self._skip(_BLANK)

    def _header(self) -> Place:
        brackets = 2 if self._text.startswith("[[", self._at) else 1
        self._at += brackets
        place: Place = ()
        keys = list(self._dotted())
        for key, span in keys:
            # Of an array of tables that has begun, the last one is meant.
            place = (*self._in_last(place), key)
            self.positions.keys.setdefault(place, span)
        self._at += brackets
        if brackets == 2:
            self._counts[place] = self._counts.get(place, 0) + 1
        place = self._in_last(place)
        self.positions.keys.setdefault(place, keys[-1][1])
        return place

    def _in_last(self, place: Place) -> Place:
        return (*place, self._counts[place]) if place in self._counts else place

    def _pair(self, table: Place) -> None:
        place = table
        for key, span in self._dotted():
            place = (*place, key)
            self.positions.keys.setdefault(place, span)
        self._expect("=")
        self._skip(_SPACE)
        self._value(place)

    def _dotted(self) -> Iterator[tuple[str, Span]]:
        while True:
            self._skip(_SPACE)
            start = self._at
            written = self._take(_KEY)
            yield _unquoted(written), self._span(start)
            self._skip(_SPACE)
            if not self._sees("."):
                return
            self._at += 1

    def _value(self, place: Place) -> None:
        start = self._at
        if self._sees("["):
            self._array(place)
        elif self._sees("{"):
            self._inline_table(place)
        else:
            self._take(_SCALAR)
        self.positions.values[place] = self._span(start)

    def _array(self, place: Place) -> None:
        self._at += 1
        number = 0
        while not self._ends("]"):
            number += 1
            self._value((*place, number))

    def _inline_table(self, place: Place) -> None:
        self._at += 1
        while not self._ends("}"):
            self._pair(place)

    def _ends(self, bracket: str) -> bool:
        """Go to the next item, or past the ``bracket`` after the last one."""
        self._skip(_BLANK)
        if self._sees(","):
            self._at += 1
            self._skip(_BLANK)
        if not self._sees(bracket):
            return False
        self._at += 1
        return True

    def _span(self, start: int) -> Span:
        """From ``start`` to here, or to the end of its line."""
        line = bisect_right(self._line_starts, start)
        line_start = self._line_starts[line - 1]
        line_end = self._text.find("\n", start)
        end = self._at if line_end < 0 else min(self._at, line_end)
        return Span(line, start - line_start + 1, end - line_start + 1)

    def _sees(self, text: str) -> bool:
        return self._text.startswith(text, self._at)

    def _expect(self, text: str) -> None:
        if not self._sees(text):
            raise _NotUnderstoodError
        self._at += len(text)

    def _take(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._at)
        if match is None or match.end() == self._at:
            raise _NotUnderstoodError
        self._at = match.end()
        return match[0]

    def _skip(self, pattern: re.Pattern[str]) -> None:
        match = pattern.match(self._text, self._at)
        assert match is not None
        self._at = match.end()


def _unquoted(key: str) -> str:
    if key[0] == '"':
        return next(iter(tomllib.loads(f"{key} = 0")))
    return key[1:-1] if key[0] == "'" else key
