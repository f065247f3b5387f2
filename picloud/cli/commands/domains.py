"""``picloud domains``: host names that serve one app and nothing else."""

from __future__ import annotations

from typing import Any

import click

from picloud.cli.client import Client, api_path
from picloud.cli.help import example
from picloud.cli.options import confirm, connected, json_option, yes_option
from picloud.cli.output import Column, note, print_json, print_rows
from picloud.cli.text import age

_COLUMNS = (
    Column("DOMAIN", "domain"),
    Column("APP", "app"),
    Column("AGE", lambda row: age(row["created_at"]), is_number=True),
)


@example("picloud domains ls shop")
@click.group()
def domains() -> None:
    """Map host names to apps."""


@example("picloud domains ls shop --json")
@domains.command("ls")
@click.argument("app")
@json_option
@connected
def list_domains(client: Client, *, app: str, as_json: bool) -> None:
    """List the domains of an app."""
    found = client.get(api_path("apps", app, "domains"))["items"]
    print_rows([_row(each, app) for each in found], _COLUMNS, as_json=as_json, empty=f"no domain is mapped to {app}")


@example("picloud domains create shop shop.example.org")
@domains.command("create")
@click.argument("app")
@click.argument("domain")
@json_option
@connected
def create_domain(client: Client, *, app: str, domain: str, as_json: bool) -> None:
    """Map a domain to an app."""
    made = client.post(api_path("apps", app, "domains"), {"domain": domain})
    if as_json:
        print_json(_row(made, app))
    else:
        note(f"{made['domain']} serves {app} now; let its DNS entry point here")


@example("picloud domains rm shop shop.example.org --yes")
@domains.command("rm")
@click.argument("app")
@click.argument("domain")
@yes_option
@connected
def remove_domain(client: Client, *, app: str, domain: str, yes: bool) -> None:
    """Take a domain away from an app."""
    confirm(f"Take {domain} away from {app}?", yes=yes)
    client.delete(api_path("apps", app, "domains", domain))
    note(f"{domain} serves {app} no more")


def _row(domain: dict[str, Any], app: str) -> dict[str, Any]:
    return {"id": domain["domain"], "app": app, **domain}
