"""Reading tables of TOML or JSON: checked values, every problem collected, each with its place.

It knows what a table is, not what a manifest is. A place such as ("route", 2, "path")
is ``path`` of the second ``[[route]]``; for a manifest read from text each place has a
span in it (``positions``).
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeGuard, TypeVar, cast

from picloud.errors import ManifestError
from picloud.manifest.positions import Place, Positions, Span

#: Strings of one kind: a literal type stays what it is.
_Text = TypeVar("_Text", bound=str)

_MAX_SHOWN = 40


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, or with the severity ``warning`` one that may be meant.

    Attributes:
        line: 1-based; 0 when there is no text.
        column: 1-based, in characters; 0 when there is no text.
        end_column: the column after its last character in that line; 0 when only its start is known.
    """

    file: str
    line: int
    column: int
    message: str
    end_column: int = 0
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        where = f":{self.line}:{self.column}" if self.line else ""
        return f"{self.file}{where}: {'warning: ' if self.severity == 'warning' else ''}{self.message}"


class Problems:
    """Collects what is wrong, so that one run shows all of it.

    Args:
        file: how messages name the manifest.
        positions: of its text; None: it was not read from one.
    """

    def __init__(self, file: str, positions: Positions | None = None) -> None:
        self._file = file
        self._positions = positions
        self._found: list[Problem] = []

    def add(self, place: Place, message: str, *, of_key: bool = False) -> None:
        """Report ``message`` about the value at ``place``, or about the key itself."""
        spelled = f"{spell_place(place)}{message}"
        if self._positions is None:
            self._found.append(Problem(self._file, 0, 0, spelled))
            return
        span = self._positions.of_key(place) if of_key else self._positions.of_value(place)
        span = span or Span(1, 1, 1)
        self._found.append(Problem(self._file, span.line, span.column, spelled, span.end_column))

    def in_order(self) -> tuple[Problem, ...]:
        """In the order of the text; without one, as they were found."""
        return tuple(sorted(self._found, key=lambda each: (each.line, each.column)))

    def raise_any(self) -> None:
        """Raise one ManifestError with a line for each problem."""
        if self._found:
            raise ManifestError("\n".join(str(each) for each in self.in_order()))


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

    def problem(self, key: str | None, message: str, *, of_key: bool = False) -> None:
        """Report ``message`` about the value of ``key`` (or the key itself), or about the table."""
        self._problems.add(self._place if key is None else (*self._place, key), message, of_key=of_key)

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
        if not is_list(value):
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
        if not is_list(value):
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

    def checked_texts(self, key: str, wrong: Callable[[str], str | None]) -> tuple[str, ...]:
        """An array of strings that must be there and that ``wrong`` has nothing to say about."""
        value = self._take(key)
        if not is_list(value):
            expected = "expected an array of strings"
            self.problem(key, f"missing: {expected}" if value is None else f"{expected}, not {_describe(value)}")
            return ()
        for number, item in enumerate(value, start=1):
            message = wrong(item) if isinstance(item, str) else f"expected a string, not {_describe(item)}"
            if message is not None:
                self._problems.add((*self._place, key, number), message)
        return tuple(item for item in value if isinstance(item, str))

    def has(self, key: str) -> bool:
        """Whether the key says something: for one that has no default of its type."""
        return self._take(key) is not None

    def is_text(self, key: str) -> bool:
        """Whether the value of the key is a string: for one that may be a table as well."""
        return isinstance(self._take(key), str)

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
                self.problem(key, f"no such key{did_you_mean(key, self._asked)}", of_key=True)

    def _take(self, key: str) -> Any:
        self._asked.append(key)
        return self._data.get(key)


def is_list(value: object) -> TypeGuard[list[Any]]:
    """Whether ``value`` is an array, of whatever."""
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


def spell_place(place: Place) -> str:
    """("route", 2, "path") is spelled ``route[2].path: ``."""
    spelled = ""
    for part in place:
        spelled += f"[{part}]" if isinstance(part, int) else f".{part}" if spelled else part
    return f"{spelled}: " if spelled else ""
