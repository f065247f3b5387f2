"""``picloud invoke``: one run of a script, its result on standard output."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from picloud.cli.client import Client, api_path
from picloud.cli.exit_codes import ExitCode, exit_code_of_run
from picloud.cli.help import example
from picloud.cli.options import connected, json_option, read_json
from picloud.cli.output import note, print_json
from picloud.cli.text import error_code, error_hint, error_text, printable
from picloud.errors import PiCloudError

#: Longer than any script may run (PICLOUD_SANDBOX_MAX_TIMEOUT_SECONDS is at most an hour).
_ANSWER_SECONDS = 3_700.0


@example('picloud invoke demo hello --data \'{"name": "Ada"}\'')
@click.command()
@click.argument("app")
@click.argument("script")
@click.option(
    "-d", "--data", metavar="JSON|@FILE", help="ctx.event.args: JSON, a file of it, or @- for standard input."
)
@click.option("--async", "is_async", is_flag=True, help="Do not wait: print the id of the execution.")
@json_option
@connected
def invoke(client: Client, *, app: str, script: str, data: str | None, is_async: bool, as_json: bool) -> None:
    """Run a script and print its result.

    Exits with 3 when the script failed, with 7 when it took too long.
    """
    body = {"args": read_json(data, "--data"), "mode": "async" if is_async else "sync"}
    answer = client.post(api_path("apps", app, "scripts", script, "invoke"), body, answer_seconds=_ANSWER_SECONDS)
    if as_json:
        print_json(answer)
    elif is_async:
        click.echo(answer["execution_id"])
        note(f"accepted; `picloud executions show {answer['execution_id']}` tells how it ended")
    if not is_async:
        _report(answer, f"{app}/{script}", as_json=as_json)


def _report(answer: dict[str, Any], script: str, *, as_json: bool) -> None:
    error = answer.get("error")
    code = exit_code_of_run(answer["status"], error_code(error))
    if code is ExitCode.OK:
        if not as_json:
            _print_result(answer.get("result"))
        return
    what = error_text(error, script) or f"the execution is {answer['status']}"
    where = f"`picloud logs --execution {answer['execution_id']}` shows what it logged"
    advice = error_hint(error)
    raise PiCloudError(
        what,
        hint=f"{advice}; {where}" if advice else where,
        code="no_answer" if code is ExitCode.TIMED_OUT else "function_failed",
    )


def _print_result(result: Any) -> None:
    if isinstance(result, str):
        # Byte for byte into a file or pipe; a terminal would obey what is in it.
        click.echo(printable(result) if sys.stdout.isatty() else result)
    else:
        click.echo(json.dumps(result, ensure_ascii=False, indent=2))
