"""Where things stand in a TOML text: what the text says at each place is the value tomllib reads for it."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from picloud.manifest.positions import Place, Span, find_positions

TEXT = '''\
title = "a # b \\" c" # not a value
"quoted key".'and this' = 1
numbers = [ 1, [2, 3], # in between
  4,
]
when = 1979-05-27 07:32:32
later = 1979-05-27T07:32:32Z
long = """
[not.a.header]
x = 1 \\""" still
"""
literal = \'\'\'a
[[neither]]\'\'\'

[ a . b ]
c = { d = [ { e = 1 }, { e = "two" } ], "f.g" = true }
h.i = 0x1F

[[list]]
one = 1
[list.table]
x = 'a'
[[list]]
two = 2
[[list.inner]]
y = -1.5e3
[[list.inner]]
y = inf
'''


def places(value: Any, place: Place = ()) -> Iterator[tuple[Place, Any]]:
    """Every place in a document, with its value."""
    if place:
        yield place, value
    if isinstance(value, dict):
        for key, item in cast("dict[str, Any]", value).items():
            yield from places(item, (*place, key))
    if isinstance(value, list):
        for number, item in enumerate(value, start=1):
            yield from places(item, (*place, number))


def written(text: str, span: Span) -> str:
    return text.split("\n")[span.line - 1][span.column - 1 : span.end_column - 1]


def values_on_one_line(text: str) -> dict[Place, Any]:
    """The values as they are read from where they are said to be; those of many lines are left out."""
    found: dict[Place, Any] = {}
    for place, span in find_positions(text).values.items():
        try:
            found[place] = tomllib.loads(f"x = {written(text, span)}")["x"]
        except tomllib.TOMLDecodeError:
            continue
    return found


def test_every_key_and_value_is_where_it_is_said_to_be() -> None:
    positions = find_positions(TEXT)
    all_places = dict(places(tomllib.loads(TEXT)))
    assert set(all_places) == {*positions.keys, *positions.values}
    for place, span in positions.keys.items():
        if isinstance(place[-1], str):
            assert written(TEXT, span).strip("\"'") == place[-1]
    readable = values_on_one_line(TEXT)
    assert readable == {place: all_places[place] for place in readable}
    assert set(positions.values) - set(readable) == {("numbers",), ("long",), ("literal",)}


@pytest.mark.parametrize(
    ("place", "said"),
    [
        (("a", "b", "c", "d", 2, "e"), '"two"'),
        (("a", "b", "c", "f.g"), "true"),
        (("when",), "1979-05-27 07:32:32"),
        (("title",), '"a # b \\" c"'),
        (("list", 2, "inner", 2, "y"), "inf"),
        (("numbers", 2, 1), "2"),
        # What is missing is told where its table gets its name.
        (("list", 1, "table", "nothing"), "table"),
        (("list", 2, "nothing"), "list"),
    ],
)
def test_a_value_is_pointed_at_and_what_is_missing_at_its_table(place: Place, said: str) -> None:
    span = find_positions(TEXT).of_value(place)
    assert span is not None
    assert written(TEXT, span) == said


def test_an_entry_of_a_list_is_its_own_header() -> None:
    span = find_positions(TEXT).of_key(("list", 2))
    assert span is not None
    assert TEXT.split("\n")[span.line - 1] == "[[list]]"
    assert TEXT.split("\n")[span.line] == "two = 2"


def test_line_ends_of_another_system_move_no_column() -> None:
    assert find_positions(TEXT.replace("\n", "\r\n")) == find_positions(TEXT)


KEYS = st.from_regex(r"[a-z][a-z0-9_-]{0,5}", fullmatch=True)
STRINGS = st.text(st.characters(codec="utf-8", exclude_characters="\x7f", exclude_categories=["Cc"]), max_size=8)
SCALARS = st.one_of(STRINGS, st.integers(-(10**9), 10**9), st.booleans())
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=6
)


def toml(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():
            return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
        case list():
            return f"[ {', '.join(map(toml, value))} ]"
        case dict():
            return (
                "{ " + ", ".join(f"{key} = {toml(item)}" for key, item in cast("dict[str, Any]", value).items()) + " }"
            )
        case _:
            return str(value)


@given(st.dictionaries(KEYS, VALUES, max_size=5), st.lists(st.dictionaries(KEYS, VALUES, max_size=3), max_size=3))
def test_whatever_a_document_holds_its_values_are_found(top: dict[str, Any], tables: list[dict[str, Any]]) -> None:
    lines = [f"{key} = {toml(value)}  # = [ {{" for key, value in top.items()]
    for table in tables:
        lines += ["[[Tables]]", *(f"{key} = {toml(value)}" for key, value in table.items())]
    text = "\n".join(lines)
    headers = {("Tables",), *(("Tables", number) for number in range(1, len(tables) + 1))}
    expected = {place: value for place, value in places(tomllib.loads(text)) if place not in headers}
    assert values_on_one_line(text) == expected


@given(st.text(max_size=60))
def test_a_text_that_is_not_understood_ends_the_walk_and_nothing_else(text: str) -> None:
    find_positions(text)
