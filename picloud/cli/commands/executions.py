"""``picloud executions``: what ran, what came of it, and what it caused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import click

from picloud.cli.client import Client, api_path
from picloud.cli.commands.logs import print_lines
from picloud.cli.help import example
from picloud.cli.options import as_query, connected, filters, id_type, json_option, limit_option
from picloud.cli.output import Column, Row, dim, note, print_fields, print_json, print_rows, status
from picloud.cli.text import age, compact_json, error_hint, error_text, local_clock, one_line, printable

_STATUSES = ("pending", "running", "completed", "failed", "dead", "cancelled", "depth_exceeded", "abandoned")


def _took(row: Row) -> str:
    return "" if row.get("run_ms") is None else f"{row['run_ms']:.1f} ms"


def _script(row: Row) -> str:
    version = "" if row.get("version") is None else f" v{row['version']}"
    return f"{row['script'] or '(gone)'}{version}"


_COLUMNS = (
    Column("ID", "id"),
    Column("APP", "app"),
    Column("SCRIPT", _script),
    Column("STATUS", "status"),
    Column("FIRED BY", lambda row: row.get("trigger") or row["source"], may_shrink=True, is_optional=True),
    Column("RUNS", "attempts", is_number=True, is_optional=True),
    Column("TOOK", _took, is_number=True, is_optional=True),
    Column("AGE", lambda row: age(row["created_at"]), is_number=True, is_optional=True),
    Column("ERROR", lambda row: one_line(error_text(row["error"], row["script"])), may_shrink=True),
)


@example("picloud executions ls --status dead --since 1h")
@click.group()
def executions() -> None:
    """See what ran, and what it caused."""


@example("picloud executions ls --app demo --status failed --since 2h")
@executions.command("ls")
@filters("app", "script", "source", "trigger", "since")
@click.option(
    "--status", type=click.Choice(_STATUSES), metavar="STATUS", help=f"Only with this status: {', '.join(_STATUSES)}."
)
@limit_option
@json_option
@connected
def list_executions(client: Client, /, *, limit: int, as_json: bool, **given: object) -> None:
    """List executions, newest first."""
    rows = client.items("/executions", limit=limit, **as_query(given))
    print_rows(rows, _COLUMNS, as_json=as_json, empty="no executions")


@example("picloud executions show 019a1b2c-3d4e-7f50-8a6b-7c8d9e0f1a2b")
@executions.command("show")
@click.argument("execution_id", metavar="ID", type=id_type)
@click.option("--wait", type=click.FloatRange(0, 60), metavar="SECONDS", help="Wait at most this long for its end.")
@json_option
@connected
def show_execution(client: Client, *, execution_id: str, wait: float | None, as_json: bool) -> None:
    """Show one execution with its result, its error and its logs."""
    found = client.get(api_path("executions", execution_id), wait=wait)
    if as_json:
        print_json(found)
        return
    _print_execution(found)


@example("picloud executions tree 019a1b2c-3d4e-7f50-8a6b-7c8d9e0f1a2b")
@executions.command("tree")
@click.argument("root_id", metavar="ROOT_ID", type=id_type)
@click.option(
    "--limit", type=click.IntRange(min=1), default=500, show_default=True, metavar="N", help="At most this many."
)
@json_option
@connected
def show_tree(client: Client, *, root_id: str, limit: int, as_json: bool) -> None:
    """Draw everything that goes back to one first cause, what waits or runs included.

    Any execution of the tree may be named. Of a tree that is too large, the oldest are shown.
    """
    rows = list(client.items(api_path("executions", root_id, "tree"), limit=limit + 1))
    if as_json:
        print_json(rows[:limit])
    else:
        for line in drawn_tree(rows[:limit]):
            click.echo(line)
    if len(rows) > limit:
        note(f"there are more than {limit}: --limit N shows more of them")


def drawn_tree(rows: Sequence[Row]) -> Iterator[str]:
    """A line for each execution, below what caused it.

    What was caused by something that is not among ``rows`` stands below the first cause.
    """
    known = {row["id"] for row in rows}
    children: dict[str | None, list[Row]] = {}
    for row in rows:
        root = row["root_execution_id"]
        parent = row["parent_execution_id"] if row["parent_execution_id"] in known else root
        children.setdefault(None if row["id"] == root or parent not in known else parent, []).append(row)
    # A stack and not recursion: a chain may be longer than Python's.
    left = [(row, "", "") for row in reversed(children.get(None, []))]
    while left:
        row, before, beside = left.pop()
        yield f"{dim(before)}{_node(row)}"
        below = children.get(row["id"], [])
        left += [
            (
                child,
                beside + ("└─ " if child is below[-1] else "├─ "),
                beside + ("   " if child is below[-1] else "│  "),
            )
            for child in reversed(below)
        ]


def _node(row: Row) -> str:
    parts = (
        row["id"],
        printable(_script(row)),
        status(row["status"]),
        _took(row) if row["finished_at"] else f"for {age(row['started_at'] or row['created_at'])}",
        dim(printable(" ".join(part for part in (row["source"], row.get("trigger")) if part))),
        one_line(error_text(row["error"], row["script"])),
    )
    return "  ".join(part for part in parts if part)


def _print_execution(found: dict[str, Any]) -> None:
    print_fields(
        (
            ("id", found["id"]),
            ("script", f"{found['app'] or '(gone)'}/{_script(found)}"),
            ("status", found["status"]),
            ("fired by", f"{found['source']}  {found.get('trigger') or ''}".strip()),
            ("runs as", found.get("principal")),
            ("runs", found["attempts"]),
            ("accepted", local_clock(found["created_at"])),
            ("started", local_clock(found.get("started_at"))),
            ("finished", local_clock(found.get("finished_at"))),
            ("took", _took(found)),
            ("operations", found.get("operations")),
            ("root", found["root_execution_id"] if found["root_execution_id"] != found["id"] else None),
            ("caused by", found.get("parent_execution_id")),
            ("depth", found["trigger_depth"] or None),
            ("error", error_text(found["error"], found["script"])),
            ("hint", error_hint(found["error"])),
            ("result", _result(found)),
        )
    )
    if found["logs"]:
        click.echo("")
        print_lines(found["logs"], with_origin=False)


def _result(found: dict[str, Any]) -> str:
    if found["status"] != "completed":
        return ""
    result = found["result"]
    return printable(result) if isinstance(result, str) else compact_json(result)
