"""The mail process before it listens: what it needs, and what it makes of the settings."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from picloud.errors import ConfigurationError
from picloud.mailroom.line import Line
from picloud.mailroom.reception import Reception
from picloud.mailroom.service import limits_of, run
from picloud.settings import MIB, Settings


def test_without_a_place_to_listen_it_says_in_one_line_what_to_set() -> None:
    with pytest.raises(ConfigurationError, match=r"PICLOUD_SMTP_BIND=127\.0\.0\.1:2525") as refused:
        run(Settings(database_url="postgresql://host/db"))
    assert "\n" not in refused.value.message
    assert refused.value.hint is None


def test_without_a_database_it_says_so() -> None:
    with pytest.raises(ConfigurationError, match="PICLOUD_DATABASE_URL is not set"):
        run(Settings(smtp_bind="127.0.0.1:2525"))


def test_a_mail_may_be_as_large_as_a_request_and_is_readable_by_a_script() -> None:
    usual = limits_of(Settings())
    assert (usual.max_message_bytes, usual.bounds.max_string_bytes) == (MIB, MIB)
    sandbox = replace(Settings().sandbox, max_string_bytes=2 * MIB)
    larger = limits_of(Settings(max_body_bytes=32 * MIB, sandbox=sandbox))
    assert (larger.max_message_bytes, larger.bounds.max_string_bytes) == (32 * MIB, 2 * MIB)
    assert larger.max_held_bytes >= 2 * larger.max_message_bytes
    assert larger.bounds.max_event_bytes >= 2 * larger.max_message_bytes


@pytest.mark.parametrize("address", ["bücher@shop.example", "\N{KELVIN SIGN}@shop.example"])
def test_an_address_beyond_ascii_is_nobody_without_a_question_to_the_database(address: str) -> None:
    line = Line("postgresql://nowhere.invalid/db", name="test")
    reception = Reception(line, line, lambda: None)
    assert asyncio.run(reception.resolve(address)) is None
