"""API keys: what one looks like, and that a typo is found without asking anybody."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from picloud.errors import AuthenticationError
from picloud.identity.keys import authenticate_key, is_well_formed, new_key


def test_a_key_has_a_prefix_thirty_random_digits_and_six_of_a_checksum() -> None:
    keys = {new_key() for _ in range(200)}
    assert len(keys) == 200
    assert all(re.fullmatch(r"pic_[0-9A-Za-z]{36}", key) for key in keys)
    assert all(is_well_formed(key) for key in keys)


def test_the_checksum_never_changes() -> None:
    # Keys that were given out must stay valid in every later release.
    assert is_well_formed("pic_" + "0" * 30 + "0OSTZ7")


@given(position=st.integers(4, 39), digit=st.sampled_from("09AZaz"))
def test_a_typo_in_any_digit_fails_the_checksum(position: int, digit: str) -> None:
    key = new_key()
    typo = key[:position] + digit + key[position + 1 :]
    assert is_well_formed(typo) == (typo == key)


@given(st.text())
def test_any_text_can_be_asked_about(text: str) -> None:
    assert not is_well_formed(text)
    assert not is_well_formed(f"pic_{text}")


def test_a_malformed_key_is_refused_without_a_query() -> None:
    nobody: Any = None  # a connection that cannot be used
    with pytest.raises(AuthenticationError) as refused:
        asyncio.run(authenticate_key(nobody, "pic_" + "0" * 36))
    assert refused.value.code == "invalid_key"
