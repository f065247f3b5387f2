"""What commands about dead letters take alike: which letters are meant, on which version, how fast."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from picloud.cli.options import Since, as_query, filters, id_type

Function = TypeVar("Function", bound=Callable[..., Any])

_RESOLUTIONS = ("unresolved", "replayed", "ignored", "handled_by_script", "handler_failed")
_RATE = re.compile(r"(\d+(?:\.\d+)?)(?:/(s|min|h))?")
_SECONDS_OF = {"s": 1, "min": 60, "h": 3_600}
_SLOWEST, _FASTEST = 0.001, 10_000

letter_argument = click.argument("letter_id", metavar="ID", type=id_type)
ids_argument = click.argument("ids", metavar="ID…", type=id_type, nargs=-1)
version_option = click.option(
    "--version",
    type=click.Choice(("current", "original")),
    default="current",
    show_default=True,
    help="The deployed version of the script, or the one that failed.",
)


def letter_filters(function: Function) -> Function:
    """Every filter of dead letters as an option; ``since`` and ``until`` are about when they died."""
    resolution = click.option(
        "--resolution",
        type=click.Choice(_RESOLUTIONS),
        metavar="RESOLUTION",
        help=f"Only with this resolution: {', '.join(_RESOLUTIONS)}.",
    )
    fingerprint = click.option(
        "--fingerprint", metavar="HEX", help="Only of this error, as `dead-letters groups` tells it."
    )
    until = click.option(
        "--until",
        "--older-than",
        "until",
        type=Since(),
        help="Only before then, or older than that: 15m, 2h, 3d, or RFC 3339.",
    )
    narrowed = filters("app", "script", "source", "trigger", "since")
    return narrowed(until(fingerprint(resolution(function))))


class Rate(click.ParamType[float]):
    """So many in a second: ``10/s``, ``5/min``, ``100/h``; a number alone is in a second."""

    name = "rate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        match = _RATE.fullmatch(str(value))
        rate = float(match[1]) / _SECONDS_OF[match[2] or "s"] if match else 0.0
        if not _SLOWEST <= rate <= _FASTEST:
            self.fail(f"{value!r} is no rate from 4/h to {_FASTEST}/s, such as 10/s or 30/min", param, ctx)
        return rate


def selection(ids: tuple[str, ...], all_letters: bool, given: Mapping[str, object]) -> dict[str, object]:
    """The letters a command is about, which must be clear.

    Returns:
        The members of a request that say which letters are meant.

    Raises:
        click.UsageError: neither ids nor --all, both, or filters with ids.
    """
    wanted = {name: value for name, value in as_query(given).items() if value is not None}
    if bool(ids) == all_letters:
        raise click.UsageError("name dead letters, or take --all with filters: one of the two")
    if ids and wanted:
        raise click.UsageError("filters go with --all, not with ids")
    return {**wanted, **({"ids": list(ids)} if ids else {})}
