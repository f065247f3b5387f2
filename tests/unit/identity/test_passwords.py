"""Which passwords are taken, and how they are hashed."""

from __future__ import annotations

import asyncio
import threading

import pytest

from picloud.errors import CapacityError, InvalidInputError
from picloud.identity import passwords
from picloud.identity.passwords import COMMON, NOBODY_S_HASH, Hashing, check_password, needs_rehash


@pytest.mark.parametrize(
    "password", ["correct horse battery", "ünïcödé!", "x7$kQ9!z", "日本語のパスワード", "a" * 500 + "bcd"]
)
def test_a_password_nobody_guesses_is_taken(password: str) -> None:
    check_password(password, "anna")


@pytest.mark.parametrize(
    ("password", "why"),
    [
        ("", "shorter than 8"),
        ("x7$kQ9!", "shorter than 8"),
        ("u\u0308" * 7, "shorter than 8"),
        ("abababab", "fewer than 4"),
        ("aaaaaaaaaaaaaaaa", "fewer than 4"),
        ("Password123", "everybody tries"),
        ("QWERTYUIOP", "everybody tries"),
        ("annabella", "own name"),
        ("Annabella2024!", "own name"),
        ("0123456789" * 103, "longer than 1024"),
        ("é" * 513, "longer than 1024"),
        ("half of a pair \ud800", "no text"),
    ],
)
def test_one_that_would_be_guessed_or_is_too_long_is_refused_without_being_repeated(password: str, why: str) -> None:
    with pytest.raises(InvalidInputError, match=why) as refused:
        check_password(password, "annabella@example.org")
    assert not password or password not in f"{refused.value.message}{refused.value.hint}"


def test_every_common_password_would_pass_without_the_list() -> None:
    assert len(COMMON) > 100
    for password in COMMON:
        assert len(password) >= passwords.LEAST_CHARACTERS, password
        assert password == password.casefold(), password


def test_hashes_are_argon2id_with_the_parameters_of_owasp_also_the_one_of_nobody() -> None:
    stored = asyncio.run(Hashing().hash("correct horse battery"))
    assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert not needs_rehash(stored)
    assert not needs_rehash(NOBODY_S_HASH)
    assert needs_rehash(stored.replace("t=2", "t=1"))


def test_nobody_has_no_password() -> None:
    async def answers() -> list[bool]:
        hashing = Hashing()
        return [await hashing.verify(password, None) for password in ("", "correct horse battery")]

    assert asyncio.run(answers()) == [False, False]


def test_one_that_is_too_long_costs_what_others_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, str]] = []

    def verify(stored: str, password: str) -> bool:
        seen.append((stored, password))
        return False

    monkeypatch.setattr(passwords, "_is_password", verify)
    assert not asyncio.run(Hashing().verify("x" * 1_000_000, "$argon2id$…"))
    assert seen == [(NOBODY_S_HASH, "")]


def test_two_are_verified_at_once_eight_wait_and_the_next_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    begun = threading.Semaphore(0)
    may_end = threading.Event()
    running: list[int] = []

    def verify(_stored: str, _password: str) -> bool:
        running.append(threading.get_ident())
        begun.release()
        return may_end.wait(timeout=30)

    monkeypatch.setattr(passwords, "_is_password", verify)

    async def flood() -> list[bool]:
        hashing = Hashing()
        calls = [asyncio.create_task(hashing.verify("any password", "any hash")) for _ in range(10)]
        for _ in range(2):
            await asyncio.to_thread(begun.acquire, timeout=30)
        with pytest.raises(CapacityError):
            await hashing.verify("any password", "any hash")
        assert len(running) == 2
        may_end.set()
        answers = list(await asyncio.gather(*calls))
        assert await hashing.verify("any password", "any hash")
        return answers

    assert asyncio.run(flood()) == [True] * 10
    assert len(set(running)) == 2
