"""``picloud dead-letters try``: what a replay would do, found out without doing it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import click

from picloud.cli.client import Client, api_path
from picloud.cli.commands.letter_options import letter_argument, version_option
from picloud.cli.exit_codes import ExitCode, exit_code_of_run
from picloud.cli.help import example
from picloud.cli.options import connected, json_option, read_json
from picloud.cli.output import note, print_fields, print_json
from picloud.cli.text import compact_json, duration, error_code, error_text, one_line, printable
from picloud.errors import PiCloudError

#: Longer than any script may run (PICLOUD_SANDBOX_MAX_TIMEOUT_SECONDS is at most an hour).
_ANSWER_SECONDS = 3_700.0
_MARKS = {"insert": "+", "update": "~", "delete": "-"}


@example(
    "picloud dead-letters try 019a1b2c-3d4e-7f50-8a6b-7c8d9e0f1a2b",
    "picloud dead-letters try 019a1b2c-3d4e-7f50-8a6b-7c8d9e0f1a2b --event @fixed.json",
)
@click.command("try")
@letter_argument
@version_option
@click.option("--event", metavar="JSON|@FILE", help="Run this event; the letter's own stays as it is.")
@click.option("--with-calls", is_flag=True, help="Make HTTP calls other than GET and HEAD too: they cannot be undone.")
@json_option
@connected
def try_letter(
    client: Client, *, letter_id: str, version: str, event: str | None, with_calls: bool, as_json: bool
) -> None:
    """Run a dead letter's event and show what would be committed; nothing is.

    Exits with 3 when the script failed, with 7 when it took too long.
    """
    body: dict[str, object] = {"version": version, "with_calls": with_calls}
    if event is not None:
        body["event"] = read_json(event, "--event")
    report = client.post(api_path("dead-letters", letter_id, "dry-run"), body, answer_seconds=_ANSWER_SECONDS)
    if as_json:
        print_json(report)
    else:
        _print_report(report)
    code = exit_code_of_run(report["status"], error_code(report["error"]))
    if code is not ExitCode.OK:
        raise PiCloudError(
            error_text(report["error"], report["script"]),
            hint="nothing was committed",
            code="no_answer" if code is ExitCode.TIMED_OUT else "function_failed",
        )
    note("nothing was committed")


def _print_report(report: dict[str, Any]) -> None:
    version = "" if report["version"] is None else f" v{report['version']}"
    took = "" if report["run_ms"] is None else f"{report['run_ms']:.1f} ms"
    result = report["result"]
    print_fields(
        (
            ("script", f"{report['script']}{version}" if report["script"] else None),
            ("took", took),
            ("result", result if isinstance(result, str) else compact_json(result)),
        )
    )
    for title, lines in (
        ("would write", _written(report)),
        ("would send", _sent(report)),
        ("would fire", _fired(report)),
        ("called", _called(report)),
        ("logged", (f"{line['level'].upper():<5}  {line['message']}" for line in report["logs"])),
    ):
        found = list(lines)
        if found:
            click.echo(f"\n{title}")
        for line in found:
            click.echo(f"  {printable(line)}")


def _written(report: dict[str, Any]) -> Iterator[str]:
    for each in report["kv"]:
        before, after = _short(each["before"]), _short(each["after"])
        change = {"insert": after, "update": f"{before} -> {after}", "delete": before}[each["op"]]
        lives = "" if each["ttl_seconds"] is None else f"  for {duration(each['ttl_seconds'])}"
        yield f"{_MARKS[each['op']]} {each['collection']}/{each['key']}  {change}{lives}"


def _sent(report: dict[str, Any]) -> Iterator[str]:
    for each in report["messages"]:
        key = f"  key {each['key']}" if each["key"] else ""
        delay = f"  in {duration(each['delay_seconds'])}" if each["delay_seconds"] else ""
        yield f"queue {each['queue']}  {_short(each['message'])}{key}{delay}"
    for each in report["published"]:
        yield f"topic {each['topic']}  {_short(each['message'])}"
    for mail in report["mails"]:
        yield _mail(mail)
    for each in report["invocations"]:
        yield f"invoke {each['script']}  {_short(each['args'])}"


def _mail(mail: Any) -> str:
    to = cast("list[str]", mail["to"])
    return f"mail to {', '.join(to)}  {mail['subject']}"


def _fired(report: dict[str, Any]) -> Iterator[str]:
    for each in report["triggers"]:
        yield f"{each['kind']} {each['trigger']}  {each['script']}  {each['on']}"


def _called(report: dict[str, Any]) -> Iterator[str]:
    for each in report["calls"]:
        came = each["status"] if each["status"] is not None else each["error"]
        yield f"{each['method']} {each['url']}  {'' if each['is_made'] else 'not made: '}{came}"


def _short(value: Any) -> str:
    return one_line(compact_json(value), 120)
