"""Which parts of the language scripts may use."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Language:
    """Switches of the language; the defaults are those of Rhai.

    Attributes:
        if_expressions: ``let x = if a { 1 } else { 2 };``
        statement_expressions: ``let x = { let y = 1; y + 1 };``
        loop_expressions: ``let x = loop { break 1; };``
        anonymous_functions: ``|x| x + 1``
        loops: ``for``, ``while``, ``do`` and ``loop``.
        shadowing: a variable may be declared again.
        missing_properties: a property a map does not have reads as ``()`` instead of failing.
        optimize: fold constants while compiling; host functions are never called for that.
    """

    if_expressions: bool = True
    statement_expressions: bool = True
    loop_expressions: bool = True
    anonymous_functions: bool = True
    loops: bool = True
    shadowing: bool = True
    missing_properties: bool = True
    optimize: bool = True
