"""``picloud help``: the help of a command, as ``--help`` prints it, and what is true of all commands."""

from __future__ import annotations

import click

from picloud.cli.exit_codes import ExitCode
from picloud.cli.help import example

_EXIT_CODES = {
    ExitCode.OK: "it worked",
    ExitCode.FAILED: "it failed",
    ExitCode.USAGE: "the command line makes no sense",
    ExitCode.FUNCTION_FAILED: "invoke, dead-letters try: the script ran and failed",
    ExitCode.LOGIN_NEEDED: "no key, or one that is not valid: picloud login URL",
    ExitCode.NOT_FOUND: "what was named does not exist",
    ExitCode.CONFLICT: "it is in another state: replayed already, ended already, there already",
    ExitCode.TIMED_OUT: "no answer in time, or the script ran past its timeout",
    ExitCode.INTERRUPTED: "interrupted",
}
_ENVIRONMENT = {
    "PICLOUD_URL": "The server to talk to; with PICLOUD_TOKEN it wins over the profiles.",
    "PICLOUD_TOKEN": "The API key for PICLOUD_URL.",
    "PICLOUD_CONFIG": "The file of the profiles. [default: ~/.config/picloud/config.toml]",
    "XDG_CONFIG_HOME": "Where picloud/config.toml is, in place of ~/.config.",
    "NO_COLOR": "When set to anything, nothing is colored.",
    "VISUAL, EDITOR": "What `picloud dead-letters edit` opens.",
}
_JSON = (
    "Every command that reads takes --json and prints one JSON document on standard output: an array for `ls`, an"
    " object otherwise. Ids are under `id`, times are RFC 3339 in UTC. Hints and errors are on standard error, and the"
    " exit code tells how it ended. `logs --follow --json` and `top --json` have no end: they print a document a line."
)


def _exit_codes(formatter: click.HelpFormatter) -> None:
    with formatter.section("Exit codes"):
        formatter.write_dl([(str(code.value), text) for code, text in _EXIT_CODES.items()])


def _environment(formatter: click.HelpFormatter) -> None:
    with formatter.section("Environment of the command line"):
        formatter.write_dl(list(_ENVIRONMENT.items()))
    formatter.write_paragraph()
    formatter.write_text(
        "The platform itself (up, web, relay, worker, mail, migrate, doctor) is set up by PICLOUD_* variables too:"
        " docs/configuration.md has each with its unit and default. An unknown one is refused."
    )


def _json(formatter: click.HelpFormatter) -> None:
    with formatter.section("JSON"):
        formatter.write_text(_JSON)
    formatter.write_paragraph()
    formatter.write_text("docs/json.md has the members of each document.")


TOPICS = {"exit-codes": _exit_codes, "environment": _environment, "json": _json}


@example("picloud help deploy", "picloud help dead-letters replay", "picloud help exit-codes")
@click.command("help")
@click.argument("words", metavar="[COMMAND]... | [TOPIC]", nargs=-1)
@click.pass_context
def show_help(context: click.Context, words: tuple[str, ...]) -> None:
    """Show the help of a command, or a topic.

    Topics are exit-codes, environment and json.
    """
    if len(words) == 1 and words[0] in TOPICS:
        formatter = context.make_formatter()
        TOPICS[words[0]](formatter)
        click.echo(formatter.getvalue().strip("\n"))
        return
    found = context.find_root()
    for word in words:
        command = found.command
        below = command.get_command(found, word) if isinstance(command, click.Group) else None
        if below is None:
            raise click.UsageError(f"there is no command and no topic {' '.join(words)!r}; topics: {', '.join(TOPICS)}")
        found = click.Context(below, info_name=word, parent=found)
    click.echo(found.get_help())
