"""``picloud help``: commands as ``--help`` shows them, and topics that say what is so."""

from __future__ import annotations

import re

import pytest

from picloud.cli.commands.help import TOPICS
from picloud.cli.exit_codes import ExitCode
from tests.unit.cli.conftest import CommandLine


@pytest.mark.parametrize("words", [(), ("deploy",), ("dead-letters", "replay"), ("queues",)], ids=" ".join)
def test_help_of_a_command_is_what_its_option_prints(picloud: CommandLine, words: tuple[str, ...]) -> None:
    assert picloud("help", *words).stdout == picloud(*words, "--help").stdout != ""


def test_the_exit_codes_are_those_there_are(picloud: CommandLine) -> None:
    listed = re.findall(r"^ +(\d+) ", picloud("help", "exit-codes").stdout, re.MULTILINE)
    assert [int(code) for code in listed] == [code.value for code in ExitCode]


def test_the_environment_and_json_are_explained(picloud: CommandLine) -> None:
    environment = picloud("help", "environment").stdout
    assert all(name in environment for name in ("PICLOUD_URL", "PICLOUD_TOKEN", "PICLOUD_CONFIG", "NO_COLOR"))
    assert "--json" in picloud("help", "json").stdout


def test_what_is_neither_a_command_nor_a_topic_is_a_usage_error(picloud: CommandLine) -> None:
    result = picloud("help", "deploy", "nothing")
    assert result.exit_code == 2
    assert all(topic in result.stderr for topic in TOPICS)
    assert result.stdout == ""
