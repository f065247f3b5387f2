"""The vault: what was sealed opens at its place with its keys, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from picloud.errors import ConfigurationError, InvalidInputError
from picloud.ids import new_id
from picloud.manifest.names import MAX_SECRET_NAME_CHARACTERS, wrong_secret_name
from picloud.services.vault import (
    MAX_VALUE_BYTES,
    BrokenSealError,
    DataKey,
    MasterKeyError,
    SecretPlace,
    Vault,
    WrongMasterKeyError,
    checked_value,
    master_key_id,
)

MASTER = bytes(range(32))
PLACE = SecretPlace(7, "STRIPE_KEY", 3)
VALUE = "sk_live_51Hxx-quite-secret"

places = st.builds(
    SecretPlace,
    st.integers(1, 2**31 - 1),
    st.from_regex(r"[A-Za-z_][A-Za-z0-9_.-]{0,99}", fullmatch=True),
    st.integers(1, 2**31 - 1),
)
values = st.text(st.characters(codec="utf-8"), min_size=1, max_size=200)


def _vault(master: bytes = MASTER) -> Vault:
    return Vault(lambda: (master,))


MASTER_ID = master_key_id(MASTER)
DATA_KEY = _vault().new_data_key(MASTER_ID)
SEALED = _vault().seal(DATA_KEY, PLACE, VALUE)


@given(place=places, value=values)
def test_what_was_sealed_opens_at_its_place_in_any_process(place: SecretPlace, value: str) -> None:
    assert _vault().open(DATA_KEY, place, _vault().seal(DATA_KEY, place, value)) == value


@given(place=places, other=places, value=values)
def test_and_nowhere_else(place: SecretPlace, other: SecretPlace, value: str) -> None:
    assume(place != other)
    vault = _vault()
    sealed = vault.seal(DATA_KEY, place, value)
    with pytest.raises(BrokenSealError, match="sealed for another app"):
        vault.open(DATA_KEY, other, sealed)


@pytest.mark.parametrize(
    "other",
    [PLACE._replace(app_id=8), PLACE._replace(name="STRIPE_KEY_OLD"), PLACE._replace(version=4)],
    ids=["another app", "another name", "another version"],
)
def test_a_row_that_was_moved_does_not_open(other: SecretPlace) -> None:
    with pytest.raises(BrokenSealError):
        _vault().open(DATA_KEY, other, SEALED)


@given(place=st.integers(0, len(SEALED) - 1), bit=st.integers(0, 7))
def test_a_row_with_any_bit_changed_does_not_open(place: int, bit: int) -> None:
    altered = bytearray(SEALED)
    altered[place] ^= 1 << bit
    with pytest.raises(BrokenSealError):
        _vault().open(DATA_KEY, PLACE, bytes(altered))


@given(st.binary(max_size=80))
def test_no_bytes_open_that_were_not_sealed(sealed: bytes) -> None:
    with pytest.raises(BrokenSealError):
        _vault().open(DATA_KEY, PLACE, sealed)


@pytest.mark.parametrize("length", range(len(SEALED)))
def test_what_was_cut_does_not_open(length: int) -> None:
    with pytest.raises(BrokenSealError):
        _vault().open(DATA_KEY, PLACE, SEALED[:length])


def test_the_same_value_is_sealed_differently_each_time() -> None:
    vault = _vault()
    assert vault.seal(DATA_KEY, PLACE, VALUE) != vault.seal(DATA_KEY, PLACE, VALUE)


def test_another_data_key_does_not_open_it() -> None:
    with pytest.raises(BrokenSealError):
        _vault().open(_vault().new_data_key(MASTER_ID), PLACE, SEALED)


# Data keys


@given(place=st.integers(0, len(DATA_KEY.wrapped) - 1), bit=st.integers(0, 7))
def test_a_data_key_with_any_bit_changed_does_not_open(place: int, bit: int) -> None:
    altered = bytearray(DATA_KEY.wrapped)
    altered[place] ^= 1 << bit
    with pytest.raises(BrokenSealError, match=r"data key .* its row was altered"):
        _vault().open(replace(DATA_KEY, wrapped=bytes(altered)), PLACE, SEALED)


def test_a_data_key_moved_to_another_row_does_not_open() -> None:
    with pytest.raises(BrokenSealError):
        _vault().open(replace(DATA_KEY, id=new_id()), PLACE, SEALED)


def test_an_opened_data_key_is_opened_once() -> None:
    vault = _vault()
    assert vault.open(DATA_KEY, PLACE, SEALED) == VALUE
    assert vault.open(replace(DATA_KEY, wrapped=b"not looked at again"), PLACE, SEALED) == VALUE


# The master key


@given(st.binary(min_size=32, max_size=32))
def test_a_wrong_master_key_is_told_from_damage(other: bytes) -> None:
    assume(other != MASTER)
    with pytest.raises(WrongMasterKeyError, match="secrets are sealed with master key"):
        _vault(other).open(DATA_KEY, PLACE, SEALED)
    with pytest.raises(WrongMasterKeyError):
        _vault(other).seal(DATA_KEY, PLACE, VALUE)


def test_a_row_that_claims_the_wrong_master_key_does_not_open_either() -> None:
    other = _vault(b"o" * 32)
    claimed = replace(DATA_KEY, master_key_id=master_key_id(b"o" * 32))
    with pytest.raises(BrokenSealError):
        other.open(claimed, PLACE, SEALED)


def test_no_master_key_is_asked_for_before_it_is_needed() -> None:
    reads: list[bytes] = []

    def read() -> tuple[bytes, ...]:
        reads.append(MASTER)
        return (MASTER,)

    vault = Vault(read)
    assert reads == []
    vault.seal(DATA_KEY, PLACE, VALUE)
    assert len(reads) == 1
    vault.seal(DATA_KEY, PLACE, VALUE)
    assert len(reads) == 1, "the opened data key is kept"


NEXT = b"n" * 32


@pytest.mark.parametrize("keys", [(MASTER, NEXT), (NEXT, MASTER)], ids=["prepared", "rotated"])
def test_a_data_key_opens_with_its_master_key_wherever_that_stands(keys: tuple[bytes, ...]) -> None:
    vault = Vault(lambda: keys)
    assert vault.open(DATA_KEY, PLACE, SEALED) == VALUE
    wrapped_anew = Vault(lambda: keys).rewrap(DATA_KEY, master_key_id(NEXT))
    assert _vault(NEXT).open(wrapped_anew, PLACE, SEALED) == VALUE
    with pytest.raises(WrongMasterKeyError):
        _vault().open(wrapped_anew, PLACE, SEALED)


def test_a_file_that_was_replaced_is_noticed_by_a_vault_that_lives() -> None:
    keys = [(MASTER,)]
    vault = Vault(lambda: keys[-1])
    assert vault.open(DATA_KEY, PLACE, SEALED) == VALUE
    rewrapped = Vault(lambda: (MASTER, NEXT)).rewrap(vault.new_data_key(MASTER_ID), master_key_id(NEXT))
    with pytest.raises(WrongMasterKeyError, match=f"this process has {MASTER_ID.hex()}$"):
        vault.seal(rewrapped, PLACE, VALUE)
    keys.append((NEXT,))
    assert vault.seal(rewrapped, PLACE, VALUE)


def test_a_thousand_seals_have_a_thousand_nonces() -> None:
    vault = _vault()
    assert len({vault.seal(DATA_KEY, PLACE, VALUE)[:12] for _ in range(1_000)}) == 1_000
    assert len({vault.new_data_key(MASTER_ID).wrapped[:12] for _ in range(100)}) == 100


def test_without_a_master_key_it_says_what_is_missing_until_there_is_one() -> None:
    answers: list[bytes | ConfigurationError] = [ConfigurationError("no such file", hint="copy it"), MASTER]

    def read() -> tuple[bytes, ...]:
        answer = answers.pop(0)
        if isinstance(answer, ConfigurationError):
            raise answer
        return (answer,)

    vault = Vault(read)
    with pytest.raises(MasterKeyError, match="secrets need the master key: no such file") as caught:
        vault.open(DATA_KEY, PLACE, SEALED)
    assert (caught.value.code, caught.value.hint) == ("master_key_missing", "copy it")
    assert vault.open(DATA_KEY, PLACE, SEALED) == VALUE


def test_a_master_key_of_another_length_is_none() -> None:
    with pytest.raises(MasterKeyError, match="32 bytes, not 31"):
        _vault(b"x" * 31).first_master_key_id()


def test_what_other_versions_sealed_still_opens() -> None:
    """The format: a change of it needs a migration of every row there is."""
    data_key = DataKey(
        UUID("0198f000-0000-7000-8000-000000000001"),
        bytes.fromhex(_WRAPPED_THEN),
        bytes.fromhex(_MASTER_KEY_ID_THEN),
    )
    assert _vault().open(data_key, PLACE, bytes.fromhex(_SEALED_THEN)) == VALUE


_WRAPPED_THEN = (
    "f72085e5da5502e5f890c4798d5d794998bcf7c76c8e6573c0515bb00469ebe31e88b84f1123cb86"
    "465eda30e675bbd26918bccea46921a5fb7c341a"
)
_MASTER_KEY_ID_THEN = "c120992bf5fa4609"
_SEALED_THEN = (
    "8c2a24780e6b1b2bc2ff92d010ebaca93cc05cb5f9177665b91dadc80b63c557235e9e54a3560e4adee2a1460f46eb84d325930ea524"
)


# Names and values


@pytest.mark.parametrize(
    "name", ["a", "_", "STRIPE_KEY", "smtp.password", "a-b_c.D9", "x" * MAX_SECRET_NAME_CHARACTERS]
)
def test_a_name(name: str) -> None:
    assert wrong_secret_name(name) is None


@pytest.mark.parametrize(
    "name",
    ["", "9a", "-a", ".a", "a b", "a/b", "a\n", "a\0", "ä", "a]b", "x" * (MAX_SECRET_NAME_CHARACTERS + 1)],
)
def test_what_is_no_name(name: str) -> None:
    assert wrong_secret_name(name)


@pytest.mark.parametrize("value", ["x", " ", "\0", "ü" * (MAX_VALUE_BYTES // 2), "line\nline\n"])
def test_a_value_is_kept_as_it_is(value: str) -> None:
    vault = _vault()
    assert vault.open(DATA_KEY, PLACE, vault.seal(DATA_KEY, PLACE, value)) == value


@pytest.mark.parametrize("value", ["", "x" * (MAX_VALUE_BYTES + 1), "ü" * MAX_VALUE_BYTES, "a\ud800b"])
def test_what_is_no_value_is_refused_without_being_repeated(value: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        checked_value(value)
    assert caught.value.__context__ is None
    assert len(str(caught.value)) < 100
    assert "\ud800" not in str(caught.value)


@pytest.mark.parametrize("show", [repr, str, lambda shown: repr(vars(shown)) if hasattr(shown, "__dict__") else ""])
def test_nothing_shows_a_key_or_a_value(show: Callable[[object], str]) -> None:
    vault = _vault()
    vault.open(DATA_KEY, PLACE, SEALED)
    with pytest.raises(BrokenSealError) as caught:
        vault.open(DATA_KEY, PLACE._replace(version=9), SEALED)
    for shown in (vault, DATA_KEY, PLACE, caught.value):
        text = show(shown)
        assert VALUE not in text
        assert repr(MASTER)[2:-1] not in text
        assert MASTER.hex() not in text
        assert DATA_KEY.wrapped.hex() not in text
        assert repr(DATA_KEY.wrapped)[2:-1] not in text
