"""``picloud doctor``: is this machine fit, is everything reachable, and was anything ever lost?"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from picloud.cli.exit_codes import ExitCode
from picloud.cli.help import example
from picloud.cli.options import context_option, data_option, json_option, open_client, settings_with
from picloud.cli.output import dim, note, print_json
from picloud.errors import AuthenticationError, PiCloudError

if TYPE_CHECKING:
    from picloud.doctor import Check

#: What became of what was accepted, in the order of the sum.
_OUTCOMES = ("completed", "failed", "dead", "cancelled", "depth_exceeded", "pending", "running")
_COLORS = {"ok": "green", "warn": "yellow", "fail": "red"}


@example("picloud doctor", "picloud doctor --prove")
@click.command()
@click.option("--prove", is_flag=True, help="Show that everything that was ever accepted is accounted for.")
@data_option
@context_option
@json_option
def doctor(*, prove: bool, data: Path | None, as_json: bool) -> None:
    """Check this machine, or prove that nothing was lost.

    Configuration, versions, clock, disk, page size, and whether PostgreSQL, Redis and the
    server answer. Exits with 1 when something fails, or when the sum does not come out.
    """
    fine = _prove(as_json=as_json) if prove else _check(data, as_json=as_json)
    click.get_current_context().exit(ExitCode.OK if fine else ExitCode.FAILED)


def _check(data: Path | None, *, as_json: bool) -> bool:
    from picloud.doctor import run_checks

    checks = [*run_checks(settings_with(PICLOUD_DATA_DIR=data)), _check_server()]
    if as_json:
        print_json([asdict(check) for check in checks])
    else:
        width = max(len(check.name) for check in checks)
        for check in checks:
            click.echo(
                f"{click.style(check.status.ljust(4), fg=_COLORS[check.status])}  {check.name:<{width}}  {check.detail}"
            )
            if check.hint:
                click.echo(f"{'':4}  {'':<{width}}  {dim(check.hint)}")
    return all(check.status != "fail" for check in checks)


def _check_server() -> Check:
    """Does the server of the command line answer, and take the key?"""
    from picloud.doctor import Check

    try:
        with open_client() as client:
            me = client.get("/me")
    except AuthenticationError as error:
        return Check("server", "warn", error.message, error.hint)
    except PiCloudError as error:
        return Check("server", "fail", error.message, error.hint)
    return Check("server", "ok", f"{client.url} answers, as {me['name']}")


def _prove(*, as_json: bool) -> bool:
    with open_client() as client:
        books: dict[str, Any] = client.get("/system/books")
    if as_json:
        print_json(books)
    else:
        _print_sum(books)
    return bool(books["balanced"])


def _print_sum(books: dict[str, Any]) -> None:
    total = sum(books[outcome] for outcome in _OUTCOMES)
    rows = [("accepted", books["accepted"]), *((outcome, books[outcome]) for outcome in _OUTCOMES)]
    width = max(len(f"{count:,}") for _, count in [*rows, ("", total)])
    for sign, (name, count) in zip(("", "=", *"++++++"), rows, strict=True):
        click.echo(f"{sign:1} {count:>{width},}  {name}")
    if books["balanced"]:
        note("nothing is missing: the sum comes out")
    else:
        note(f"the sum does not come out: it is {total:,}, {abs(books['accepted'] - total):,} off")
