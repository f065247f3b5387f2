"""The entry point: a table of commands, each imported when it is called, and how a command may end.

``picloud --help`` and the completion of a word import nothing beyond click: on a
small board every import is felt. So the one-line helps stand here, and a test
compares them with the commands' own.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click

import picloud
from picloud.cli.exit_codes import ExitCode, exit_code_of
from picloud.cli.help import example
from picloud.errors import PiCloudError

#: By section of the help: a command, the module and attribute that hold it, its one line.
COMMANDS: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "Run the platform": {
        "up": ("up:up", "Run the whole platform in this terminal."),
        "web": ("processes:web", "Run the web processes."),
        "relay": ("processes:relay", "Run the relay, which schedules."),
        "worker": ("processes:worker", "Run a worker, which runs scripts."),
        "mail": ("processes:mail", "Run the mail listener."),
        "migrate": ("migrate:migrate", "Bring the database to the schema of this release."),
        "master-key": ("master_key:master_key", "Rotate the key that secrets are sealed with."),
        "doctor": ("doctor:doctor", "Check this machine, or prove that nothing was lost."),
    },
    "Build an app": {
        "init": ("init:init", "Make a new app folder."),
        "check": ("check:check", "Check an app folder without sending anything."),
        "test": ("test:test", "Run an app's tests, on this machine and without a server."),
        "dev": ("dev:dev", "Deploy an app folder on every save, and follow what the app does."),
        "deploy": ("deploy:deploy", "Apply an app folder to the server."),
        "invoke": ("invoke:invoke", "Run a script and print its result."),
        "emit": ("emit:emit", "Fire a trigger's source by hand: what listens runs as if it had happened."),
    },
    "See what happens": {
        "logs": ("logs:logs", "Print what scripts logged."),
        "executions": ("executions:executions", "See what ran, and what it caused."),
        "queues": ("queues:queues", "See what waits, since when, what runs and what fails."),
        "top": ("top:top", "See throughput, queues, workers and failures, live."),
        "outbox": ("outbox:outbox", "See and cancel what is still to run."),
        "dead-letters": ("dead_letters:dead_letters", "See, replay, edit or ignore what failed for good."),
        "workers": ("workers:workers", "See and drain worker processes."),
    },
    "Manage": {
        "apps": ("apps:apps", "List, make and remove apps."),
        "releases": ("releases:releases", "See what was deployed; roll a whole app back."),
        "scripts": ("scripts:scripts", "See scripts and their versions; roll back."),
        "routes": ("routes:routes", "See which script answers where."),
        "triggers": ("triggers:triggers", "See and change what makes scripts run."),
        "schedules": ("schedules:schedules", "See when schedules fire next."),
        "kv": ("kv:kv", "See and change the keys of apps."),
        "domains": ("domains:domains", "Map host names to apps."),
        "secrets": ("secrets:secrets", "Set what scripts read and nobody sees."),
        "users": ("users:users", "List, make and disable users; change roles and passwords."),
        "members": ("members:members", "See and change who may do what in an app."),
        "keys": ("keys:keys", "List, make and revoke API keys."),
        "audit": ("audit:audit", "See who did what to which object, and why."),
        "pause": ("apps:pause", "Stop running an app's work; its routes answer 503."),
        "resume": ("apps:resume", "Go on running an app's work."),
    },
    "Connect": {
        "login": ("login:login", "Remember a server and a key to it."),
        "logout": ("login:logout", "Revoke the key to a server, and forget both."),
        "whoami": ("login:whoami", "Show who you are to the server, and what your key may."),
        "context": ("login:context", "List known servers; choose one."),
        "help": ("help:show_help", "Show the help of a command, or a topic."),
        "completion": ("completion:completion", "Print a shell's completion script."),
    },
}


class PiCloudGroup(click.Group):
    """The root: imports a command when it is called, and turns every error into a line and an exit code."""

    _entries: Mapping[str, tuple[str, str]] = {
        name: entry for section in COMMANDS.values() for name, entry in section.items()
    }

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(self._entries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._entries:
            return None
        module, _, attribute = self._entries[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(f"picloud.cli.commands.{module}"), attribute)
        if ctx.resilient_parsing:  # a shell asks how a word may go on
            from picloud.cli.completing import complete_names

            complete_names(command, cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        width = max(len(name) for name in self._entries)
        for title, section in COMMANDS.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), line) for name, (_, line) in section.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.exceptions.NoSuchCommand as error:
            # click suggests among the commands it holds; ours are not there before they are imported.
            raise click.exceptions.NoSuchCommand(error.command_name, possibilities=self._entries, ctx=ctx) from None

    def invoke(self, ctx: click.Context) -> Any:
        try:
            try:
                return super().invoke(ctx)
            finally:
                sys.stdout.flush()
        except BrokenPipeError:
            # The reader (head, less) has what it wanted. The interpreter flushes once more at its
            # end: let that go nowhere instead of complaining.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return None

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run a command line and exit; ``standalone_mode`` and Windows' wildcards are not for this program."""
        del standalone_mode, windows_expand_args
        sys.exit(self._run(args, prog_name or "picloud", complete_var, extra))

    def _run(self, args: Sequence[str] | None, prog_name: str, complete_var: str | None, extra: dict[str, Any]) -> int:
        if os.environ.get("NO_COLOR"):
            extra.setdefault("color", False)
        try:
            code = super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        except PiCloudError as error:
            _complain(error.message, error.hint)
            return exit_code_of(error)
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            return ExitCode.USAGE
        except click.UsageError as error:
            _complain_about_usage(error)
            return ExitCode.USAGE
        except click.ClickException as error:
            _complain(error.format_message())
            return ExitCode.FAILED
        except click.Abort as error:
            # click makes one Abort of Ctrl-C and of a prompt that finds its input at an end.
            if isinstance(error.__cause__, EOFError):
                _complain("nothing more to read from the input")
                return ExitCode.FAILED
            return ExitCode.INTERRUPTED
        return code if isinstance(code, int) else ExitCode.OK


@example(
    "picloud up                                   a whole platform in this terminal",
    "picloud init demo && picloud deploy demo     an app on it",
    "picloud help exit-codes                      or environment, or json",
)
@click.group(cls=PiCloudGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(picloud.__version__, prog_name="picloud")
def cli() -> None:
    """PiCloud: upload a Rhai script, get an HTTP endpoint."""


def main() -> None:
    """Run ``picloud``."""
    cli()


def _complain(message: str, hint: str | None = None) -> None:
    from picloud.cli.output import complain

    complain(message, hint)


def _complain_about_usage(error: click.UsageError) -> None:
    message = error.format_message()
    hint = None
    if error.ctx is not None:
        click.echo(error.ctx.get_usage(), err=True)
        hint = f"`{error.ctx.command_path} --help` shows what it takes"
    _complain(message[:1].lower() + message[1:], hint)


if __name__ == "__main__":
    main()
