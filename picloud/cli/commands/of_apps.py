"""Lists that the API keeps under each app, shown for one app or for all."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import click

from picloud.cli.client import Client, api_path
from picloud.cli.options import Function

_APP_KEY = "picloud.app"


def app_argument(function: Function) -> Function:
    """``APP`` or ``--app APP``, as the keyword ``app``; None: all apps."""

    def remember(context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
        context.meta[_APP_KEY] = value

    def choose(context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
        option = context.meta.get(_APP_KEY)
        if option is not None and value is not None and option != value:
            raise click.UsageError(f"two apps are named: {value} and {option}")
        return value or option

    argument = click.argument("app", required=False, callback=choose)
    # Eager, so that it is there when the argument is read.
    option = click.option(
        "--app",
        "app_option",
        metavar="APP",
        is_eager=True,
        expose_value=False,
        callback=remember,
        help="Only of this app.",
    )
    return option(argument(function))


def items_of_apps(
    client: Client, app: str | None, noun: str, limit: int, **filters: object
) -> Iterator[dict[str, Any]]:
    """The items of ``/apps/{app}/{noun}``, of one app or of all by name."""
    if app is not None:
        return client.items(api_path("apps", app, noun), limit=limit, **filters)
    names = (each["name"] for each in client.items("/apps"))
    return islice(
        (item for name in names for item in client.items(api_path("apps", name, noun), limit=None, **filters)), limit
    )
