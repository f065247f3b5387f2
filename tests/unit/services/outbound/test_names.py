"""Looking names up: what the system answers, and when it does not."""

from __future__ import annotations

import socket
import threading
from ipaddress import ip_address
from typing import Any

import pytest

from picloud.services.outbound import names
from picloud.services.outbound.errors import ConnectionFailedError, HostNotFoundError, OutboundTimeoutError
from picloud.services.outbound.names import SystemResolver


def found(*addresses: str) -> list[Any]:
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in addresses]


def test_addresses_come_in_the_systems_order_once_each() -> None:
    resolver = SystemResolver(lambda *_args, **_options: found("2606:2800::1", "1.1.1.1", "1.1.1.1", "::ffff:8.8.8.8"))
    expected = tuple(map(ip_address, ("2606:2800::1", "1.1.1.1", "8.8.8.8")))
    assert resolver.resolve("a.example", 9) == expected


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (socket.gaierror(socket.EAI_NONAME, "unknown"), HostNotFoundError),
        (socket.gaierror(socket.EAI_AGAIN, "later"), ConnectionFailedError),
        (OSError(24, "too many open files"), ConnectionFailedError),
        (UnicodeError("label too long"), HostNotFoundError),
        (None, HostNotFoundError),
    ],
)
def test_every_failure_is_an_error_of_the_call(failure: Exception | None, expected: type[Exception]) -> None:
    def look_up(*_args: object, **_options: object) -> list[Any]:
        if failure is not None:
            raise failure
        return []

    with pytest.raises(expected):
        SystemResolver(look_up).resolve("a.example", 9)


def test_a_name_server_that_does_not_answer_is_left_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "_MAX_LOOKUPS", 2)
    answers, done = threading.Event(), threading.Semaphore(0)

    def look_up(*_args: object, **_options: object) -> list[Any]:
        answers.wait()
        done.release()
        return found("1.1.1.1")

    resolver = SystemResolver(look_up)
    try:
        # Two hold their places; the third is not even asked.
        for _ in range(3):
            with pytest.raises(OutboundTimeoutError):
                resolver.resolve("slow.example", 0.01)
    finally:
        answers.set()
    assert done.acquire(timeout=9)
    assert done.acquire(timeout=9)
    assert not done.acquire(blocking=False)
    # and places are given back
    assert resolver.resolve("slow.example", 9) == (ip_address("1.1.1.1"),)
