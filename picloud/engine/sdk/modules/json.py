"""JSON text to values and back.

Objects are maps, arrays arrays, `null` is `()`. Keys are written in order. Integers stay integers: one beyond 64 bits
is an error, never another number.
"""

from __future__ import annotations

from typing import Any

from picloud.engine.sdk.description import SdkModule

JSON = SdkModule("json", __doc__)

# The engine brings these itself: no value becomes one of Python on its way.


@JSON.function(is_built_in=True)
def parse(document: str | bytes) -> Any:
    r"""The value of a document; a blob holds one in UTF-8. Nothing in it is ever executed.

    Throws:
        json_error: it is not JSON, or holds a number scripts do not have; the message tells at which byte.

    Example:
        json::parse("[1, 2.5, null]");  // [1, 2.5, ()]
        json::parse("{\"a\": true}").a  // true
    """
    raise NotImplementedError


@JSON.function(is_built_in=True)
def stringify(value: Any) -> str:
    """A value as JSON, without spaces.

    Throws:
        json_error: something in it has no JSON form: a blob, a function, a host object, NaN.

    Example:
        json::stringify(#{ b: [1, ()], a: "x" })  // `{"a":"x","b":[1,null]}`
    """
    raise NotImplementedError


@JSON.function(is_built_in=True)
def pretty(value: Any) -> str:
    r"""Like `stringify`, for people: a line for each item.

    Throws:
        json_error: as for `stringify`.

    Example:
        json::pretty([1])  // "[\n  1\n]"
    """
    raise NotImplementedError
