"""The signed header: what was signed is read, and nothing else."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from picloud.services.hops import MAX_DEPTH, Hops, read_hops, sign_hops

KEY = b"k" * 32
ROOT = UUID("0198f000-0000-7000-8000-000000000001")
SIGNED = sign_hops(KEY, ROOT, 3)


@given(key=st.binary(min_size=1), root=st.uuids(), depth=st.integers(0, MAX_DEPTH))
def test_what_was_signed_is_read(key: bytes, root: UUID, depth: int) -> None:
    assert read_hops(key, sign_hops(key, root, depth)) == Hops(root, depth)


def test_the_format_stays_what_other_installations_have_sent() -> None:
    assert SIGNED == "v1.0198f000000070008000000000000001.3.YB9eumwXmKyc24kTC8GVXag-Z0mkb7DE8rjrqX1Xf6k"


def test_white_space_around_it_is_the_mail_servers() -> None:
    assert read_hops(KEY, f" {SIGNED}\r\n") == Hops(ROOT, 3)


@given(place=st.integers(0, len(SIGNED) - 1), character=st.characters())
def test_any_other_character_anywhere_makes_it_worthless(place: int, character: str) -> None:
    altered = SIGNED[:place] + character + SIGNED[place + 1 :]
    assert altered == SIGNED or read_hops(KEY, altered) is None


@given(st.text())
def test_any_text_is_read_as_nothing(text: str) -> None:
    assert read_hops(KEY, text) is None


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        SIGNED + "A",
        SIGNED[:-1],
        SIGNED.replace("v1", "v2"),
        SIGNED.replace(".3.", ".03."),
        SIGNED.replace(".3.", ".2."),
        SIGNED.replace(".3.", ".٣."),
        SIGNED.upper(),
        f"{SIGNED}, {SIGNED}",
        "v1." + "0" * 100_000,
    ],
)
def test_what_resembles_it_is_nothing(text: str | None) -> None:
    assert read_hops(KEY, text) is None


def test_another_key_reads_nothing() -> None:
    assert read_hops(b"another", SIGNED) is None
    assert read_hops(b"", SIGNED) is None


@pytest.mark.parametrize(("key", "depth"), [(b"", 0), (KEY, -1), (KEY, MAX_DEPTH + 1)])
def test_what_could_not_be_read_is_not_signed(key: bytes, depth: int) -> None:
    with pytest.raises(ValueError, match=r"empty|depth"):
        sign_hops(key, ROOT, depth)
