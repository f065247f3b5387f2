"""Names and globs, over generated ones."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from picloud.triggers import glob_of, glob_parts, matches, wrong_glob, wrong_name

CHARACTERS = st.characters(exclude_categories=("Cc", "Cs"), exclude_characters="*")
NAMES = st.text(CHARACTERS, min_size=1, max_size=200)


@given(NAMES)
def test_a_name_is_a_glob_that_matches_itself(name: str) -> None:
    assert wrong_name("collection", name) is None
    assert wrong_glob("collection", name) is None
    assert matches(name, name)


@given(NAMES, NAMES)
def test_a_name_matches_nothing_else(one: str, other: str) -> None:
    assert matches(one, other) == (one == other)


@given(NAMES, st.integers(1, 200))
def test_every_start_of_a_name_with_a_star_behind_matches_it(name: str, length: int) -> None:
    glob = f"{name[:length]}*"
    assert wrong_glob("topic", glob) is None
    assert matches(glob, name)


@given(NAMES, NAMES)
def test_a_prefix_matches_what_starts_with_it_and_nothing_else(prefix: str, name: str) -> None:
    assert matches(f"{prefix}*", name) == (name[: len(prefix)] == prefix)


@given(NAMES)
def test_a_star_alone_matches_everything(name: str) -> None:
    assert wrong_glob("topic", "*") is None
    assert matches("*", name)


@given(NAMES | NAMES.map(lambda name: f"{name}*") | st.just("*"))
def test_the_parts_of_a_glob_make_it_again(glob: str) -> None:
    is_prefix, literal = glob_parts(glob)
    assert "*" not in literal
    assert glob_of(is_prefix, literal) == glob


@pytest.mark.parametrize(
    ("glob", "name", "is_match"),
    [
        ("orders:*", "orders:1", True),
        ("orders:*", "orders:", True),
        ("orders:*", "orders", False),
        ("orders*", "orders", True),
        ("orders", "orders:1", False),
        ("orders", "Orders", False),
        ("é", "e\u0301", False),
        ("a.c", "abc", False),
        ("a%*", "abc", False),
        ("a_*", "abc", False),
    ],
)
def test_a_prefix_is_plain_text(glob: str, name: str, is_match: bool) -> None:
    assert matches(glob, name) == is_match


@given(st.text(max_size=210))
def test_what_is_accepted_can_be_stored_and_has_one_star_at_most(text: str) -> None:
    if wrong_glob("collection", text) is None:
        assert "\x00" not in text
        assert all(ord(char) > 0x9F or char.isprintable() for char in text)
        assert len(text.encode()) <= 4 * 201
        assert "*" not in text[:-1]
        assert (wrong_name("collection", text) is None) == ("*" not in text)


@pytest.mark.parametrize(
    ("glob", "problem"),
    [
        ("", "a collection's name has 1 to 200 characters, not 0"),
        ("a" * 201, "a collection's name has 1 to 200 characters, not 201"),
        ("a*" * 200, "a collection's name has 1 to 200 characters, not 399"),
        ("a\0", r"'a\x00' cannot be a collection's name: control characters are not allowed"),
        ("a\n*", r"'a\n' cannot be a collection's name: control characters are not allowed"),
        ("a\x85", r"'a\x85' cannot be a collection's name: control characters are not allowed"),
        ("\ud800", r"'\ud800' cannot be a collection's name: control characters are not allowed"),
        ("**", "'**' is not a glob: expected a collection's name, the start of one with * behind it, or *"),
        ("*a", "'*a' is not a glob: expected a collection's name, the start of one with * behind it, or *"),
        ("a*b*", "'a*b*' is not a glob: expected a collection's name, the start of one with * behind it, or *"),
    ],
)
def test_a_glob_that_is_refused_is_told_why(glob: str, problem: str) -> None:
    assert wrong_glob("collection", glob) == problem


def test_a_star_is_no_part_of_a_name() -> None:
    assert wrong_name("queue", "a*") == "'a*' cannot be a queue's name: * is what globs are made with"
