"""``picloud workers``: every worker process, and draining one."""

from __future__ import annotations

import click

from picloud.cli.client import Client, api_path
from picloud.cli.help import example
from picloud.cli.options import connected, id_type, json_option
from picloud.cli.output import Column, note, print_json, print_rows
from picloud.cli.text import age

COLUMNS = (
    Column("ID", "id"),
    Column("HOST", "host"),
    Column("PID", "pid", is_number=True, is_optional=True),
    Column("STATUS", "status"),
    Column("RUNNING", lambda row: f"{row['running']}/{row['threads']}", is_number=True),
    Column("TAKES", lambda row: "all" if row["takes_sync"] else "async", is_optional=True),
    Column("AVERAGE RUN", lambda row: f"{row['run_ms']:.1f} ms", is_number=True, is_optional=True),
    Column("BEAT", lambda row: age(row["beat_at"]), is_number=True),
    Column("UP", lambda row: age(row["started_at"]), is_number=True, is_optional=True),
    Column("RELEASE", "release", is_optional=True),
)


@example("picloud workers ls")
@click.group()
def workers() -> None:
    """See and drain worker processes."""


@example("picloud workers ls --json")
@workers.command("ls")
@json_option
@connected
def list_workers(client: Client, *, as_json: bool) -> None:
    """List worker processes on all machines."""
    found = client.get("/system/workers")["items"]
    print_rows(found, COLUMNS, as_json=as_json, empty="no worker is running")


@example("picloud workers drain 019a1b2c-3d4e-7f50-8a6b-7c8d9e0f1a2b")
@workers.command("drain")
@click.argument("worker_id", metavar="ID", type=id_type)
@json_option
@connected
def drain(client: Client, *, worker_id: str, as_json: bool) -> None:
    """Let a worker process end what it runs, and begin nothing more."""
    found = client.post(api_path("system", "workers", worker_id, "drain"))
    if as_json:
        print_json(found)
    else:
        note(f"{found['host']} (pid {found['pid']}) begins nothing more; {found['running']} running")
