"""The entry point: help, start-up, and how a command may end."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import click
import httpx2
import pytest

import picloud as package
from picloud.cli.main import COMMANDS, cli
from tests.unit.cli.conftest import CommandLine, FakeServer

#: Contract, section 1, as far as this release goes.
PROMISED = [
    "up",
    "web",
    "relay",
    "worker",
    "mail",
    "migrate",
    "master-key",
    "doctor",
    "init",
    "check",
    "test",
    "dev",
    "deploy",
    "invoke",
    "emit",
    "logs",
    "executions",
    "queues",
    "top",
    "outbox",
    "dead-letters",
    "workers",
    "apps",
    "releases",
    "scripts",
    "routes",
    "triggers",
    "schedules",
    "domains",
    "secrets",
    "kv",
    "users",
    "members",
    "keys",
    "audit",
    "pause",
    "resume",
    "login",
    "logout",
    "whoami",
    "context",
    "help",
    "completion",
]

CONTEXT = click.Context(cli)


def every_command() -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command with the words that name it, groups included."""

    def walk(words: tuple[str, ...], command: click.Command) -> Iterator[tuple[tuple[str, ...], click.Command]]:
        yield words, command
        if isinstance(command, click.Group):
            for name in command.list_commands(CONTEXT):
                child = command.get_command(CONTEXT, name)
                assert child is not None
                yield from walk((*words, name), child)

    yield from walk((), cli)


@pytest.mark.parametrize("words", [words for words, _ in every_command()], ids=" ".join)
def test_every_command_explains_itself_with_an_example(picloud: CommandLine, words: tuple[str, ...]) -> None:
    result = picloud(*words, "--help")
    assert result.exit_code == 0, result.output
    assert "Example:\n" in result.output
    assert " ".join(("picloud", *words[:1])) in result.output.partition("Example:")[2]


def test_the_promised_commands_are_the_ones_there_are() -> None:
    assert sorted(name for section in COMMANDS.values() for name in section) == sorted(PROMISED)


def test_the_table_of_commands_says_what_the_commands_say() -> None:
    for section in COMMANDS.values():
        for name, (_, line) in section.items():
            command = cli.get_command(CONTEXT, name)
            assert command is not None
            assert command.name == name
            assert (command.help or "").partition("\n")[0] == line


def test_a_misspelt_command_is_answered_with_the_one_that_was_meant(picloud: CommandLine) -> None:
    result = picloud("deplyo")
    assert result.exit_code == 2
    assert "error: no such command 'deplyo'. Did you mean 'deploy'?" in result.stderr


@pytest.mark.parametrize("words", [(), ("apps",)], ids=["picloud", "picloud apps"])
def test_a_group_without_a_command_shows_its_help(picloud: CommandLine, words: tuple[str, ...]) -> None:
    result = picloud(*words)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.count("Usage: ") == 1
    assert "error:" not in result.stderr


def test_a_wrong_option_is_a_usage_error_with_a_hint(picloud: CommandLine) -> None:
    result = picloud("apps", "ls", "--limit", "0")
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-2:] == [
        "error: invalid value for '--limit': 0 is not in the range x>=1.",
        "hint: `picloud apps ls --help` shows what it takes",
    ]


def test_the_version_is_the_package_s(picloud: CommandLine) -> None:
    assert picloud("--version").stdout == f"picloud, version {package.__version__}\n"


def test_an_error_is_one_line_and_a_hint_and_never_a_traceback(picloud: CommandLine, server: FakeServer) -> None:
    server.problem("GET", "/apps", 401, "invalid_key", "the API key is not valid")
    result = picloud("apps", "ls")
    assert result.exit_code == 4
    assert result.stdout == ""
    assert result.stderr == "error: the API key is not valid\nhint: `picloud login URL` takes a new key\n"


def test_an_error_cannot_take_over_the_terminal(picloud: CommandLine, server: FakeServer) -> None:
    server.problem("GET", "/apps/x", 404, "not_found", "no \x1b]0;title\x07 here")
    assert picloud("apps", "show", "x").stderr == "error: no \\x1b]0;title\\x07 here\n"


def test_without_a_server_there_is_a_way_to_get_one(picloud: CommandLine) -> None:
    picloud.environ = {"PICLOUD_CONFIG": picloud.environ["PICLOUD_CONFIG"]}
    result = picloud("queues")
    assert result.exit_code == 4
    assert "`picloud up`" in result.stderr
    assert "`picloud login URL`" in result.stderr


def test_ctrl_c_ends_with_130(picloud: CommandLine, server: FakeServer) -> None:
    server.on("GET", "/apps", KeyboardInterrupt())
    assert picloud("apps", "ls").exit_code == 130


def test_a_wrong_setting_ends_every_process_before_it_begins(picloud: CommandLine) -> None:
    picloud.environ["PICLOUD_BIND"] = "nowhere"
    result = picloud("relay")
    assert result.exit_code == 1
    assert "PICLOUD_BIND='nowhere': expected HOST:PORT" in result.stderr


def run(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, **options)  # type: ignore[call-overload,no-any-return]


def test_help_imports_nothing_it_does_not_need() -> None:
    program = (
        "import sys; sys.argv = ['picloud', '--help']\n"
        "from picloud.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print(*sorted(sys.modules), file=sys.stderr)"
    )
    done = run("-c", program)
    loaded = set(done.stderr.split())
    assert "Run the platform:" in done.stdout
    assert "picloud.cli.main" in loaded
    assert loaded.isdisjoint({"rich", "httpx2", "psycopg", "msgspec", "redis", "rhai", "asyncio", "tomllib"})


def test_the_help_of_a_command_does_not_import_what_the_command_needs() -> None:
    """Reading manifests, drawing, talking to a server: each costs more than the help may take."""
    program = (
        "import sys\n"
        "from click.testing import CliRunner\n"
        "from picloud.cli.main import cli\n"
        "for name in 'init check deploy dev invoke logs executions queues top kv doctor'.split():\n"
        "    assert CliRunner().invoke(cli, [name, '--help']).exit_code == 0, name\n"
        "    print(name, *{'picloud.manifest', 'msgspec', 'rich', 'httpx2', 'psycopg', 'redis', 'rhai', 'asyncio',"
        " 'tomllib'} & set(sys.modules))"
    )
    heavy = [line for line in run("-c", program).stdout.splitlines() if " " in line]
    assert heavy == []


def test_listing_needs_no_drawing_when_nobody_looks() -> None:
    program = (
        "import sys, httpx2\n"
        "from click.testing import CliRunner\n"
        "from picloud.cli.main import cli\n"
        "from picloud.cli.options import Surroundings\n"
        "answer = httpx2.MockTransport(lambda request: httpx2.Response(200, json={'items': [], 'next': None}))\n"
        "environ = {'PICLOUD_URL': 'http://server.test', 'PICLOUD_TOKEN': 'pic_test'}\n"
        "result = CliRunner().invoke(cli, ['apps', 'ls', '--json'], obj=Surroundings(environ, answer))\n"
        "print(result.stdout, 'rich' in sys.modules)"
    )
    assert run("-c", program).stdout == "[]\n False\n"


@pytest.mark.parametrize("arguments", [("--help",), ("completion", "bash")], ids=" ".join)
def test_a_reader_that_has_seen_enough_is_no_error(arguments: tuple[str, ...]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "picloud.cli.main", *arguments],
            stdout=writing,
            stderr=subprocess.PIPE,
            check=False,
            timeout=60,
        )
    finally:
        os.close(writing)
    assert done.stderr == b""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_for_the_shell(picloud: CommandLine, shell: str) -> None:
    result = picloud("completion", shell)
    assert result.exit_code == 0
    assert f"_PICLOUD_COMPLETE={shell}_complete" in result.stdout


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("picloud dea", "dead-letters"),
        ("picloud dead-letters re", "replay"),
        ("picloud executions ls --sta", "--status"),
        ("picloud executions ls --status dep", "depth_exceeded"),
    ],
)
def test_a_shell_completes_commands_options_and_choices(words: str, completed: str) -> None:
    environ = {
        **os.environ,
        "_PICLOUD_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
    }
    done = run("-c", "from picloud.cli.main import main; main()", env=environ)
    assert done.stdout == f"plain,{completed}\n"


def test_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch, server: FakeServer) -> None:
    """Even where the output is a terminal, which is what ``color=True`` stands for here."""

    def output_of() -> str:
        from click.testing import CliRunner

        from picloud.cli.options import Surroundings

        transport = httpx2.MockTransport(server)
        environ = {"PICLOUD_URL": "http://server.test", "PICLOUD_TOKEN": "pic_test"}
        server.problem("GET", "/apps/x", 404, "not_found")
        return CliRunner().invoke(cli, ["apps", "show", "x"], obj=Surroundings(environ, transport), color=True).output

    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[" in output_of()
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in output_of()
