"""Where two values of a script differ, and how a value is shown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

#: A shown value is cut after so many characters.
_MOST_SHOWN = 300


class Difference(NamedTuple):
    """The first place at which two values differ; ``missing`` stands for what is not there."""

    path: str
    left: str
    right: str


def difference(left: Any, right: Any, path: str = "") -> Difference | None:
    """The first difference; None when the values are equal as scripts mean it: 1 is 1.0, but not true."""
    if isinstance(left, dict) and isinstance(right, dict):
        return _of_maps(cast("dict[str, Any]", left), cast("dict[str, Any]", right), path)
    if isinstance(left, list) and isinstance(right, list):
        return _of_arrays(cast("Sequence[Any]", left), cast("Sequence[Any]", right), path)
    if isinstance(left, bool) == isinstance(right, bool) and left == right:
        return None
    return Difference(path, shown(left), shown(right))


def _of_maps(left: dict[str, Any], right: dict[str, Any], path: str) -> Difference | None:
    for name in sorted(left.keys() | right.keys()):
        place = f"{path}.{name}" if name.isidentifier() else f"{path}[{json.dumps(name)}]"
        if name not in left or name not in right:
            sides = [shown(side[name]) if name in side else "missing" for side in (left, right)]
            return Difference(place, *sides)
        if found := difference(left[name], right[name], place):
            return found
    return None


def _of_arrays(left: Sequence[Any], right: Sequence[Any], path: str) -> Difference | None:
    for index, (one, other) in enumerate(zip(left, right, strict=False)):
        if found := difference(one, other, f"{path}[{index}]"):
            return found
    if len(left) != len(right):
        return Difference(f"{path}.len" if path else ".len", str(len(left)), str(len(right)))
    return None


def shown(value: Any) -> str:
    """A value as a script would write it, cut when it is long."""
    text = _written(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"


def _written(value: Any) -> str:
    match value:
        case None:
            return "()"
        case bool():
            return "true" if value else "false"
        case str():
            return json.dumps(value, ensure_ascii=False)
        case bytes():
            return f"blob of {len(value)} bytes 0x{value[:32].hex()}{'…' if len(value) > 32 else ''}"
        case list():
            return f"[{', '.join(_written(each) for each in cast('Sequence[Any]', value))}]"
        case dict():
            members = (f"{_name(name)}: {_written(each)}" for name, each in cast("dict[str, Any]", value).items())
            return f"#{{ {', '.join(members)} }}" if value else "#{}"
        case int() | float():
            return repr(value)
        case _:
            return f"a {type(cast('object', value)).__name__}"


def _name(name: str) -> str:
    return name if name.isidentifier() else json.dumps(name, ensure_ascii=False)
