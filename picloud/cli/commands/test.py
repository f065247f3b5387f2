"""``picloud test``: runs the tests of an app folder on this machine, with the real engine and nothing else."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from picloud.cli.commands.check import folder_argument, read_folder
from picloud.cli.excerpts import print_problems
from picloud.cli.exit_codes import ExitCode
from picloud.cli.help import example
from picloud.cli.options import json_option
from picloud.cli.output import dim, note, print_json
from picloud.cli.text import compact_json, printable
from picloud.errors import PiCloudError
from picloud.manifest import Problem

if TYPE_CHECKING:
    from picloud.apptests import TestResult

_HINT = "a test is a function `fn test_…()` in a file tests/….rhai; docs/testing.md shows some"


class NoTestsError(PiCloudError):
    """Raised when there is nothing to run: a suite that was not found must not look like one that passed."""

    code = "no_tests"


@example(
    "picloud test shop",
    "picloud test shop -k orders",
)
@click.command("test")
@folder_argument
@click.option("-k", "pattern", metavar="TEXT", help="Run only tests with this text in FILE::NAME.")
@json_option
def test(directory: Path, pattern: str | None, as_json: bool) -> None:
    """Run an app's tests, on this machine and without a server.

    Each function `fn test_…()` of tests/*.rhai runs in a world of its own that is only
    memory: keys, queues, mails, a clock that stands still, HTTP that the test answers.
    Exits with 1 when a test fails, or when there is none.
    """
    # Imported here: the engine takes longer to load than the help to print.
    from picloud.apptests import Outcome, find_tests, run_tests

    folder = read_folder(directory)
    suite = find_tests(directory)
    chosen = suite.matching(pattern)
    if not chosen:
        raise _none(directory, pattern, len(suite.tests))
    began = time.perf_counter()
    results: list[TestResult] = []
    for result in run_tests(suite, chosen, folder.manifest, folder.files):
        results.append(result)
        if not as_json:
            _print_line(result)
    failed = [each for each in results if each.outcome is Outcome.FAILED]
    if as_json:
        print_json([asdict(each) for each in results])
    else:
        for each in failed:
            _print_failure(directory, each)
        _print_summary(len(results) - len(failed), len(failed), time.perf_counter() - began)
    if failed:
        click.get_current_context().exit(ExitCode.FAILED)


def _none(directory: Path, pattern: str | None, found: int) -> NoTestsError:
    if pattern is not None and found:
        return NoTestsError(f"none of {found} tests has {pattern!r} in its FILE::NAME")
    return NoTestsError(f"there are no tests in {directory / 'tests'}", hint=_HINT)


def _print_line(result: TestResult) -> None:
    passed = result.message is None
    mark = click.style("ok  ", fg="green") if passed else click.style("FAIL", fg="red", bold=True)
    name = f"{result.file}::{result.name}" if result.name else result.file
    click.echo(f"{mark} {printable(name)} {dim(f'{result.duration_ms:.0f} ms')}")


def _print_failure(directory: Path, result: TestResult) -> None:
    """Where and why, the line it is on, and the log of the test."""
    problem = Problem(str(directory / result.file), result.line, result.column, result.message or "")
    click.echo()
    click.echo(f"{click.style('FAIL', fg='red', bold=True)} {printable(result.name or result.file)}")
    print_problems([problem], err=False)
    if result.logs:
        click.echo("  log:")
    for line in result.logs:
        fields = "" if line["fields"] is None else f"  {compact_json(line['fields'])}"
        click.echo(printable(f"    {line['level'].upper():<5}  {line['script']}: {line['message']}{fields}"))


def _print_summary(passed: int, failed: int, seconds: float) -> None:
    counts = ([f"{failed} failed"] if failed else []) + ([f"{passed} passed"] if passed else [])
    note(f"\n{', '.join(counts)} in {seconds:.2f} s")
