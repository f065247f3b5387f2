"""``picloud web``, ``relay``, ``worker`` and ``mail``: the production processes, found by name.

What runs them stands above this package (the web application, the worker), so it is
not imported but looked up in the entry-point group ``picloud.processes``.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any

import click

from picloud.cli.help import example
from picloud.cli.options import settings_with
from picloud.errors import ConfigurationError

GROUP = "picloud.processes"


@example("PICLOUD_BIND=0.0.0.0:8000 picloud web")
@click.command()
def web() -> None:
    """Run the web processes.

    They answer the apps' routes and the control API on PICLOUD_BIND.
    """
    _exit_with(_process("web")(settings_with()))


@example("picloud relay")
@click.command()
def relay() -> None:
    """Run the relay, which schedules.

    It hands due work to the workers and looks after what was lost. Several may run at once.
    """
    _exit_with(_process("relay")(settings_with()))


@example("picloud worker --processes 2 --threads 4")
@click.command()
@click.option("--processes", type=click.IntRange(min=0), metavar="N", help="Processes; 0: one for every core.")
@click.option("--threads", type=click.IntRange(min=1), metavar="T", help="Scripts that run at once in each process.")
@click.option("--no-sync", is_flag=True, help="Take async work only: for machines on slow links.")
def worker(processes: int | None, threads: int | None, no_sync: bool) -> None:
    """Run a worker, which runs scripts.

    Ctrl-C or SIGTERM lets running scripts end and hands the rest back.
    """
    settings = settings_with(PICLOUD_WORKER_PROCESSES=processes, PICLOUD_WORKER_THREADS=threads)
    _exit_with(_process("worker")(settings, takes_sync=not no_sync))


@example("PICLOUD_SMTP_BIND=127.0.0.1:2525 picloud mail")
@click.command()
def mail() -> None:
    """Run the mail listener.

    It takes mail on PICLOUD_SMTP_BIND for the addresses of email triggers. docs/mail.md says more.
    """
    _exit_with(_process("mail")(settings_with()))


def _process(name: str) -> Callable[..., Any]:
    found = next(iter(entry_points(group=GROUP, name=name)), None)
    if found is None:
        raise ConfigurationError(
            f"this installation has no {name} process", hint="install the whole picloud package, as `make up` does"
        )
    run: Callable[..., Any] = found.load()
    return run


def _exit_with(code: int | None) -> None:
    click.get_current_context().exit(code or 0)
