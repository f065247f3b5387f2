"""Types of Python as definition files of Rhai write them."""

from __future__ import annotations

import types
from typing import Any, Union, get_args, get_origin

import rhai

#: What anything is called whose type is not known before the script runs.
ANYTHING = "?"

_NAMES: dict[object, str] = {
    Any: ANYTHING,
    object: ANYTHING,
    rhai.Json: ANYTHING,
    None: "()",
    type(None): "()",
    str: "String",
    int: "int",
    float: "float",
    bool: "bool",
    bytes: "Blob",
    list: "Array",
    dict: "Map",
    rhai.Function: "FnPtr",
}


def rhai_type(annotation: Any) -> str:
    """``str | bytes`` is ``String | Blob``, a class or ``TypedDict`` of ours its name.

    Raises:
        TypeError: no script could name it.
    """
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        return " | ".join(dict.fromkeys(rhai_type(member) for member in get_args(annotation)))
    if origin is list:
        return f"Array<{rhai_type(get_args(annotation)[0])}>".replace(f"<{ANYTHING}>", "")
    if (known := _NAMES.get(origin or annotation)) is not None:
        return known
    if isinstance(annotation, type):
        return annotation.__name__
    raise TypeError(f"{annotation!r} has no name in scripts")
