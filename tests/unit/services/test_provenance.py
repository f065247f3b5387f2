"""Which requests and mails are known to come from a run of this installation."""

from __future__ import annotations

import logging
from uuid import UUID

import pytest

from picloud.errors import ConfigurationError
from picloud.services.hops import Hops, sign_hops
from picloud.services.provenance import HEADER, Provenance

KEY = b"k" * 32
ROOT = UUID("0198f000-0000-7000-8000-000000000001")
SIGNED = sign_hops(KEY, ROOT, 3)


class KeyFile:
    """Two master keys, the older one behind; counts how often they are read."""

    def __init__(self, key: bytes | None = KEY) -> None:
        self.reads = 0
        self._key = key

    def __call__(self) -> tuple[bytes, ...]:
        self.reads += 1
        if self._key is None:
            raise ConfigurationError("there is no master key")
        return (b"n" * 32, self._key)


def test_the_header_is_asked_for_as_the_server_spells_names() -> None:
    assert HEADER == "x-picloud-hops"


def test_what_this_installation_signed_says_where_the_sender_was() -> None:
    assert Provenance(KeyFile(), "HTTP").of(SIGNED) == Hops(ROOT, 3)


def test_while_keys_are_rotated_what_either_signed_counts() -> None:
    provenance = Provenance(KeyFile(), "HTTP")
    assert provenance.of(sign_hops(b"n" * 32, ROOT, 4)) == Hops(ROOT, 4)
    assert provenance.of(SIGNED) == Hops(ROOT, 3)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        " ",
        "v1",
        SIGNED[:-1],
        SIGNED + ", " + SIGNED,
        sign_hops(b"another", ROOT, 3),
        "ü" * 200,
        "v" * 100_000,
    ],
)
def test_any_other_request_begins_a_chain_of_its_own(header: str | None) -> None:
    assert Provenance(KeyFile(), "HTTP").of(header) is None


def test_the_key_is_not_read_before_a_request_has_the_header() -> None:
    key = KeyFile()
    provenance = Provenance(key, "HTTP")
    assert provenance.of(None) is None
    assert provenance.of("") is None
    assert key.reads == 0
    assert provenance.of(SIGNED) == Hops(ROOT, 3)
    assert key.reads == 1


def test_without_a_master_key_loops_go_unnoticed_and_one_line_says_so(caplog: pytest.LogCaptureFixture) -> None:
    key = KeyFile(None)
    provenance = Provenance(key, "HTTP")
    with caplog.at_level(logging.ERROR, logger="picloud.services"):
        assert [provenance.of(SIGNED) for _ in range(3)] == [None] * 3
    assert [record.message for record in caplog.records] == [
        "loops through HTTP are not noticed: this process has no master key"
    ]
