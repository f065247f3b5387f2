"""Maps whose members are known: what ``ctx`` holds, options of a function, answers of one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_type_hints

from picloud.engine.sdk.docstrings import parse_docstring
from picloud.engine.sdk.rhai_types import rhai_type


@dataclass(frozen=True, slots=True)
class Member:
    """One member of a map: its name, its type as definition files write it, what it means."""

    name: str
    type: str
    doc: str


@dataclass(frozen=True, slots=True)
class Shape:
    """A map that scripts are handed, or hand to us."""

    name: str
    doc: str
    members: tuple[Member, ...]


def shape_of(typed_dict: Any) -> Shape:
    """What a ``TypedDict`` says of itself; its docstring tells under ``Attributes`` what names do not."""
    said = parse_docstring(typed_dict.__doc__, typed_dict.__name__)
    hints = get_type_hints(typed_dict).items()
    members = tuple(Member(name, rhai_type(hint), said.entries.get(name, "")) for name, hint in hints)
    return Shape(typed_dict.__name__, said.text, members)
