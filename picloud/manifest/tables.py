"""Reading tables of TOML or JSON: checked values, every problem collected, each with its place.

It knows what a table is, not what a manifest is. A place such as ("route", 2, "path")
is ``path`` of the second ``[[route]]``; for a manifest read from text each place has a
line and a column, which tomllib does not tell.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeGuard, TypeVar, cast

from picloud.errors import ManifestError

Place: TypeAlias = tuple[str | int, ...]
#: 1-based line and column of each place in the text.
Positions: TypeAlias = Mapping[Place, tuple[int, int]]

#: Strings of one kind: a literal type stays what it is.
_Text = TypeVar("_Text", bound=str)

_MAX_SHOWN = 40


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong; line and column are 1-based, 0 when there is no text."""

    file: str
    line: int
    column: int
    message: str

    def __str__(self) -> str:
        where = f":{self.line}:{self.column}" if self.line else ""
        return f"{self.file}{where}: {self.message}"


class Problems:
    """Collects what is wrong, so that one run shows all of it."""

    def __init__(self, file: str, positions: Positions | None = None) -> None:
        self._file = file
        self._positions = positions or {}
        self._found: list[Problem] = []

    def add(self, place: Place, message: str) -> None:
        line, column = self._position(place)
        self._found.append(Problem(self._file, line, column, f"{_spell(place)}{message}"))

    def in_order(self) -> tuple[Problem, ...]:
        """In the order of the text; without one, as they were found."""
        return tuple(sorted(self._found, key=lambda each: (each.line, each.column)))

    def raise_any(self) -> None:
        """Raise one ManifestError with a line for each problem."""
        if self._found:
            raise ManifestError("\n".join(str(each) for each in self.in_order()))

    def _position(self, place: Place) -> tuple[int, int]:
        while place and place not in self._positions:
            place = place[:-1]  # a key that is missing is reported where its table starts
        return self._positions.get(place, (0, 0))


class Table:
    """One table: hands out its values checked, and knows which keys nobody asked for.

    A method that finds a wrong value reports it and answers None, as for an absent one:
    the caller goes on, and the next problem is found in the same run.
    """

    def __init__(self, data: Mapping[str, Any], place: Place, problems: Problems) -> None:
        self._data = data
        self._place = place
        self._problems = problems
        self._asked: list[str] = []

    def problem(self, key: str | None, message: str) -> None:
        """Report ``message`` at ``key``, or at the table itself."""
        self._problems.add(self._place if key is None else (*self._place, key), message)

    def table(self, key: str, *, required: bool = True) -> Table | None:
        value = self._take(key)
        if isinstance(value, Mapping):
            return Table(cast("Mapping[str, Any]", value), (*self._place, key), self._problems)
        if value is not None:
            self.problem(key, f"expected a table, not {_describe(value)}")
        elif required:
            self.problem(key, f"missing: expected a table [{key}]")
        return None

    def tables(self, key: str) -> Iterator[Table]:
        value = self._take(key)
        if value is None:
            return
        if not _is_list(value):
            self.problem(key, f"expected [[{key}]] with double brackets, not {_describe(value)}")
            return
        for number, item in enumerate(value, start=1):
            place = (*self._place, key, number)
            if isinstance(item, Mapping):
                yield Table(cast("Mapping[str, Any]", item), place, self._problems)
            else:
                self._problems.add(place, f"expected a table, not {_describe(item)}")

    def text(self, key: str, *, default: str | None = None) -> str | None:
        """A string; without a default it must be there."""
        value = self._take(key)
        if isinstance(value, str):
            return value
        if value is not None:
            self.problem(key, f"expected a string, not {_describe(value)}")
            return None
        if default is None:
            self.problem(key, "missing: expected a string")
        return default

    def checked_text(self, key: str, wrong: Callable[[str], str | None]) -> str | None:
        """A string that must be there and that ``wrong`` has nothing to say about."""
        value = self.text(key)
        if value is not None and (message := wrong(value)) is not None:
            self.problem(key, message)
            return None
        return value

    def choice(
        self, key: str, choices: Sequence[_Text], *, default: _Text | None = None, ignore_case: bool = False
    ) -> _Text | None:
        """One of ``choices``; with ``ignore_case`` (choices in capitals) however it is written."""
        value = self.text(key, default=default)
        if value is None:
            return None
        if ignore_case:
            value = value.upper()
        found = next((choice for choice in choices if choice == value), None)
        if found is None:
            self.problem(key, f"{value!r} is not one of {', '.join(choices)}{did_you_mean(value, choices)}")
        return found

    def choices(self, key: str, choices: Sequence[_Text], *, default: tuple[_Text, ...]) -> tuple[_Text, ...] | None:
        """An array of some of ``choices``, as it is written."""
        value = self._take(key)
        if value is None:
            return default
        if not _is_list(value):
            self.problem(key, f"expected an array of strings, not {_describe(value)}")
            return None
        chosen = [self._one_of((*self._place, key, number), item, choices) for number, item in enumerate(value, 1)]
        found = tuple(each for each in chosen if each is not None)
        return found if len(found) == len(chosen) else None

    def _one_of(self, place: Place, item: object, choices: Sequence[_Text]) -> _Text | None:
        if not isinstance(item, str):
            self._problems.add(place, f"expected a string, not {_describe(item)}")
        elif item not in choices:
            self._problems.add(place, f"{item!r} is not one of {', '.join(choices)}{did_you_mean(item, choices)}")
        return next((choice for choice in choices if choice == item), None)

    def has(self, key: str) -> bool:
        """Whether the key says something: for one that has no default of its type."""
        return self._take(key) is not None

    def whole(self, key: str, *, low: int = 1, high: int | None = None) -> int | None:
        value = self._take(key)
        # A bool is an int, and not meant.
        if value is None or (type(value) is int and low <= value and (high is None or value <= high)):
            return value
        bounds = f"from {low} up" if high is None else f"from {low} to {high}"
        self.problem(key, f"expected a whole number {bounds}, not {_describe(value)}")
        return None

    def seconds(self, key: str) -> float | None:
        value = self._take(key)
        if value is None:
            return None
        if type(value) in {int, float} and 0 < value < math.inf:
            return float(value)
        self.problem(key, f"expected seconds above 0, not {_describe(value)}")
        return None

    def boolean(self, key: str, *, default: bool) -> bool | None:
        value = self._take(key)
        if value is None or isinstance(value, bool):
            return default if value is None else value
        self.problem(key, f"expected true or false, not {_describe(value)}")
        return None

    def refuse_the_rest(self) -> None:
        """Report every key nobody asked for: a misspelt one that is ignored would be believed to work."""
        for key in self._data:
            if key not in self._asked:
                self.problem(key, f"no such key{did_you_mean(key, self._asked)}")

    def _take(self, key: str) -> Any:
        self._asked.append(key)
        return self._data.get(key)


def _is_list(value: object) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


def _describe(value: object) -> str:
    """A value as a message shows it."""
    match value:
        case bool():
            return str(value).lower()
        case str():
            return f"the string {value!r}" if len(value) <= _MAX_SHOWN else "a long string"
        case int() | float():
            return f"the number {value:g}" if isinstance(value, float) or abs(value) < 10**18 else "a huge number"
        case Mapping():
            return "a table"
        case list():
            return "an array"
        case None:
            return "null"
        case _:
            return "a date or time"


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """The end of a message that refuses ``word``: which of ``words`` may be meant, or nothing."""
    close = difflib.get_close_matches(word, list(words), n=1, cutoff=0.6)
    return f" (did you mean {close[0]}?)" if close else ""


def _spell(place: Place) -> str:
    """("route", 2, "path") is spelled ``route[2].path: ``."""
    spelled = ""
    for part in place:
        spelled += f"[{part}]" if isinstance(part, int) else f".{part}" if spelled else part
    return f"{spelled}: " if spelled else ""


_HEADER = re.compile(r"\s*\[(\[?)\s*([A-Za-z0-9_-]+)((?:\s*\.\s*[A-Za-z0-9_-]+)*)\s*\]")
_KEY = re.compile(r"""\s*(["']?)([A-Za-z0-9_-]+)\1\s*[=.]""")


def find_positions(text: str) -> dict[Place, tuple[int, int]]:
    """Line and column of each header and key of a TOML text.

    It goes line by line and knows nothing of multi-line strings: there a number may be off,
    while what is accepted and refused is decided by tomllib alone.
    """
    positions: dict[Place, tuple[int, int]] = {}
    counts: dict[str, int] = {}
    place: Place = ()
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            second_bracket, name, rest = header.groups()
            if second_bracket and not rest:
                counts[name] = counts.get(name, 0) + 1
            place = (name, counts[name]) if name in counts else (name,)
            place += tuple(part.strip() for part in rest.split(".")[1:])
            positions.setdefault((name,), (number, header.start(2) + 1))
            positions.setdefault(place, (number, header.start(2) + 1))
        elif key := _KEY.match(line):
            positions.setdefault((*place, key[2]), (number, key.start(2) + 1))
    return positions
