"""hash, hmac, uuid and random."""

from __future__ import annotations

import base64
import hashlib
import hmac
import uuid

import pytest

from picloud.engine.sdk.context import RunContext
from picloud.engine.sdk.modules.hash import ALGORITHMS
from tests.unit.engine.sdk.scripts import value


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_digest_is_that_of_the_bytes(algorithm: str) -> None:
    expected = hashlib.new(algorithm, "grüß".encode()).hexdigest()
    assert value(f'hash::{algorithm}("grüß")') == expected
    assert value(f'hash::{algorithm}("grüß".to_blob())') == expected
    assert value(f'hash::digest("{algorithm}", "grüß")').hex() == expected


@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "sha512"])
def test_a_signature_is_rfc_2104s(algorithm: str) -> None:
    expected = hmac.new(b"k" * 200, b"data", algorithm).hexdigest()
    key = "k" * 200
    assert value(f'hmac::{algorithm}("{key}", "data")') == expected
    assert value(f'hmac::{algorithm}("{key}".to_blob(), "data".to_blob())') == expected


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_signature_is_known_in_every_form_webhooks_use(algorithm: str) -> None:
    signature = hmac.new(b"key", b"data", algorithm)
    for written in (
        f'"{signature.hexdigest()}"',
        f'"{signature.hexdigest().upper()}"',
        f'"{algorithm}={signature.hexdigest()}"',
        f'"{base64.b64encode(signature.digest()).decode()}"',
        f'base64::decode("{base64.b64encode(signature.digest()).decode()}")',
    ):
        assert value(f'hmac::verify("key", "data", {written}, "{algorithm}")') is True, written
        assert value(f'hmac::verify("key", "date", {written}, "{algorithm}")') is False, written
        assert value(f'hmac::verify("kez", "data", {written}, "{algorithm}")') is False, written


@pytest.mark.parametrize(
    "junk", ['""', '"zz"', '"="', '"ü"', "blob()", "'a'", '"sha256="', f'"{"g" * 64}"', f'"{"0" * 64}"']
)
def test_what_cannot_be_a_signature_is_none_and_no_error(junk: str) -> None:
    assert value(f'hmac::verify("key", "data", {junk})') is False


def test_a_signature_that_is_nearly_right_is_wrong() -> None:
    right = hmac.new(b"key", b"data", "sha256").hexdigest()
    last_digit_changed = right[:-1] + ("0" if right[-1] != "0" else "1")
    for near in (last_digit_changed, right[:-2], right + "00", right[:16], f"sha512={right}"):
        assert value(f'hmac::verify("key", "data", "{near}")') is False, near
    assert value(f'hmac::verify("key", "data", "{right}", "sha512")') is False


@pytest.mark.parametrize("version", [4, 7])
def test_a_uuid_is_of_its_version_and_new_each_time(version: int) -> None:
    made = value(f"let all = []; for i in 0..50 {{ all.push(uuid::v{version}()); }} all")
    assert len(set(made)) == 50
    assert {uuid.UUID(text).version for text in made} == {version}
    assert all(str(uuid.UUID(text)) == text for text in made)


def test_an_integer_is_within_both_ends_which_it_reaches() -> None:
    drawn = value("let all = []; for i in 0..400 { all.push(random::int(-1, 2)); } all")
    assert set(drawn) == {-1, 0, 1, 2}
    assert value("random::int(5, 5)") == 5
    lowest, highest = -(2**63), 2**63 - 1
    assert lowest <= value(f"random::int(-9223372036854775807 - 1, {highest})") <= highest


def test_a_number_is_from_0_up_to_1() -> None:
    drawn = value("let all = []; for i in 0..200 { all.push(random::float()); } all")
    assert all(0 <= each < 1 for each in drawn)
    assert len(set(drawn)) > 190


@pytest.mark.parametrize("length", [0, 1, 2, 3, 4, 31, 32, 33, 1_000])
def test_a_token_has_the_length_that_was_asked_for(length: int) -> None:
    token = value(f"random::token({length})")
    assert len(token) == length
    assert set(token) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


def test_tokens_and_bytes_are_new_each_time() -> None:
    assert value("random::token() == random::token()") is False
    assert value("random::bytes(16) == random::bytes(16)") is False
    assert value("random::bytes(0)") == b""


def test_shuffling_loses_nothing_and_leaves_the_array_as_it_was() -> None:
    before, after = value("let a = []; for i in 0..100 { a.push(i); } let b = random::shuffle(a); [a, b]")
    assert before == list(range(100))
    assert after != before
    assert sorted(after) == before
    assert value("random::shuffle([])") == []


def test_what_is_chosen_may_be_anything() -> None:
    assert value("random::choice([|x| x + 1]).call(1)") == 2
    assert set(value("let all = []; for i in 0..200 { all.push(random::choice([1, 2])); } all")) == {1, 2}


def test_chance_is_the_systems_own() -> None:
    assert type(RunContext().chance).__name__ == "SystemRandom"
