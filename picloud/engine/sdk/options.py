"""Options of host functions: maps of scripts, read against a ``TypedDict`` that also documents them."""

from __future__ import annotations

import types
from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from picloud.engine.sdk.errors import ArgumentError
from picloud.engine.sdk.rhai_types import rhai_type

T = TypeVar("T", bound=Mapping[str, Any])


def read_options(given: Mapping[str, Any], shape: type[T]) -> T:
    """The options a script gave, which are those ``shape`` knows, of the types it says.

    Raises:
        ArgumentError: one is unknown (nobody notices a misspelt option otherwise), missing or of another type.
    """
    known = _members(shape)
    for name, value in given.items():
        if name not in known:
            raise ArgumentError(f"there is no option `{name}`; there are {', '.join(known)}")
        if not _fits(value, known[name]):
            raise ArgumentError(f"the option `{name}` must be {rhai_type(known[name])}")
    required: frozenset[str] = getattr(shape, "__required_keys__", frozenset())
    for name in known:
        if name in required and name not in given:
            raise ArgumentError(f"the option `{name}` is missing")
    return cast("T", dict(given))


@cache
def _members(shape: type[Any]) -> dict[str, Any]:
    """Evaluated once: that takes longer than a small script."""
    return get_type_hints(shape)


def _fits(value: object, annotation: Any) -> bool:
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        return any(_fits(value, member) for member in get_args(annotation))
    if annotation is Any or annotation is object:
        return True
    if annotation is float or annotation is int:
        # To Python a bool is an int; to scripts it is not.
        return isinstance(value, int | float if annotation is float else int) and not isinstance(value, bool)
    return isinstance(value, origin or annotation)
