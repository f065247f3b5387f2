"""What several commands take alike: a connection, ``--json``, filters of lists, JSON from the command line."""

from __future__ import annotations

import functools
import json
import os
import re
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import click

from picloud.cli.client import Client
from picloud.cli.exit_codes import ExitCode

if TYPE_CHECKING:
    import httpx2

    from picloud.settings import Settings

P = ParamSpec("P")
Function = TypeVar("Function", bound=Callable[..., Any])

_CONTEXT_KEY = "picloud.context"
_REASON_KEY = "picloud.reason"
_DURATION = re.compile(r"(\d+)([smhd])")
_SECONDS_OF = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a command finds outside: click's ``obj``; tests give their own."""

    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    #: What the client's requests go through; None: the network.
    transport: httpx2.BaseTransport | None = None
    #: Waits for so many seconds before looking again.
    pause: Callable[[float], None] = time.sleep
    #: Monotonic seconds.
    clock: Callable[[], float] = time.monotonic


def surroundings() -> Surroundings:
    """Those of the command that is running."""
    return click.get_current_context().ensure_object(Surroundings)


def _remember_context(context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
    context.meta[_CONTEXT_KEY] = value


context_option = click.option(
    "--context",
    metavar="NAME",
    expose_value=False,
    callback=_remember_context,
    help="Talk to this server of `picloud context ls`.",
)


def _remember_reason(context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
    context.meta[_REASON_KEY] = value


reason_option = click.option(
    "--reason",
    metavar="TEXT",
    expose_value=False,
    callback=_remember_reason,
    help="Why; kept in the audit log.",
)


def chosen_context() -> str | None:
    """What ``--context`` of the running command names."""
    name: str | None = click.get_current_context().meta.get(_CONTEXT_KEY)
    return name


def open_client() -> Client:
    """A client of the server the running command was told, or of the current one.

    Raises:
        AuthenticationError: no server is known.
    """
    from picloud.profiles import load_profile

    around = surroundings()
    profile = load_profile(around.environ, chosen_context())
    client = Client(profile, transport=around.transport)
    client.reason = click.get_current_context().meta.get(_REASON_KEY)
    return client


def connected(command: Callable[Concatenate[Client, P], None]) -> Callable[P, None]:
    """Give ``command`` a client of the chosen server as its first argument."""

    @context_option
    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with open_client() as client:
            command(client, *args, **kwargs)

    return run


data_option = click.option(
    "--data", type=click.Path(file_okay=False, path_type=Path), metavar="DIR", help="The data folder of `picloud up`."
)


def settings_with(**given: object) -> Settings:
    """The settings of the environment; a variable given here wins, unless it is None.

    An option of the command line becomes a variable, so that it is checked by the same rules.

    Raises:
        SettingsError: names every value that is wrong.
    """
    from picloud.settings import load_settings

    chosen = {name: str(value) for name, value in given.items() if value is not None}
    return load_settings({**surroundings().environ, **chosen})


json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
limit_option = click.option(
    "--limit", type=click.IntRange(min=1), default=50, show_default=True, metavar="N", help="At most this many."
)
yes_option = click.option("-y", "--yes", is_flag=True, help="Do not ask.")


def confirm(question: str | Callable[[], str], *, yes: bool) -> None:
    """Ask before something is lost; a no ends the command.

    Args:
        question: or what finds out how to ask, called only when somebody is there to answer.

    Raises:
        click.UsageError: nobody is there to answer.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError("this needs --yes when nobody can be asked")
    if not click.confirm(question if isinstance(question, str) else question(), err=True):
        click.echo("nothing was changed", err=True)
        click.get_current_context().exit(ExitCode.FAILED)


class _Id(click.ParamType[str]):
    """An id of an execution, a dead letter or a worker."""

    name = "id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from picloud.ids import parse_id

        found = parse_id(str(value))
        if found is None:
            self.fail(f"{value!r} is not an id, as in 019a1b2c-3d4e-7f50-8a6b-7c8d9e0f1a2b", param, ctx)
        return str(found)


id_type = _Id()


class _Moment(click.ParamType[datetime]):
    """A moment: so far from now, or RFC 3339."""

    name = "when"
    _direction = 1
    _examples = ""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        if match := _DURATION.fullmatch(value):
            distance = timedelta(seconds=int(match[1]) * _SECONDS_OF[match[2]])
            return datetime.now(UTC) + self._direction * distance
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is neither {self._examples} nor RFC 3339 (2030-01-31T12:00:00Z)", param, ctx)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


class Since(_Moment):
    """A moment in the past: ``15m``, ``2h``, ``3d`` ago, or RFC 3339."""

    _direction = -1
    _examples = "a time ago (15m, 2h, 3d)"


class Lifetime(_Moment):
    """A moment to come: in ``12h``, ``90d``, or RFC 3339."""

    _examples = "a time from now (12h, 90d)"


def filters(*names: str) -> Callable[[Function], Function]:
    """The named filters of a list as options; a function gets them as keywords, None when not given."""
    helps = {
        "app": "Only of this app.",
        "script": "Only of this script.",
        "source": "Only what this source fired: http, kv, cron, invoke, …",
        "trigger": "Only what this fired: a trigger's name, a route as 'METHOD /PATH', or an id.",
    }

    def decorate(function: Function) -> Function:
        for name in reversed(names):
            if name == "since":
                option = click.option("--since", type=Since(), help="Only from then on: 15m, 2h, 3d, or RFC 3339.")
            else:
                option = click.option(f"--{name}", metavar=name.upper(), help=helps[name])
            function = option(function)
        return function

    return decorate


def as_query(filters: Mapping[str, object]) -> dict[str, object]:
    """Filters as the API takes them: instants in RFC 3339."""
    return {
        name: value.astimezone(UTC).isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else value
        for name, value in filters.items()
    }


def _refuse_constant(name: str) -> None:
    """Python reads NaN and Infinity, which JSON does not have."""
    raise json.JSONDecodeError(f"{name} is no JSON value", name, 0)


def read_json(value: str | None, option: str) -> Any:
    """The JSON given as ``value``, in the file ``@name`` or, for ``@-``, on standard input; None: nothing given.

    Raises:
        click.UsageError: it is not JSON, or there is no such file.
    """
    if value is None:
        return None
    try:
        if value == "@-":
            text = sys.stdin.read()
        else:
            text = Path(value[1:]).read_text("utf-8") if value.startswith("@") else value
        return json.loads(text, parse_constant=_refuse_constant)
    except OSError as error:
        raise click.UsageError(f"{option} {value}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise click.UsageError(f"{option} {value}: is not UTF-8 text") from None
    except json.JSONDecodeError as error:
        shown = value if value.startswith("@") else "the value"
        raise click.UsageError(
            f"{option}: {shown} is not JSON: line {error.lineno}, column {error.colno}: {error.msg}"
        ) from None
