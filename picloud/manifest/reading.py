"""From TOML text or JSON to a ``Manifest``, or to every problem at once."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING, Any, cast

from picloud.errors import ManifestError
from picloud.manifest.entries import WHOLE_LIMITS, DispatchMode, Manifest, RouteEntry, ScriptEntry, TriggerEntry
from picloud.manifest.names import METHODS, path_shape, script_name, wrong_app_name, wrong_file, wrong_path
from picloud.manifest.names import wrong_script_name as wrong_name
from picloud.manifest.tables import Problem, Problems, Table, find_positions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

FILE_NAME = "picloud.toml"


def load_manifest(path: Path) -> Manifest:
    """Read and check the manifest at ``path``.

    Raises:
        ManifestError: names every problem, one a line, as ``file:line:column: place: message``.
    """
    manifest, problems = examine_manifest(path)
    if manifest is None:
        raise ManifestError("\n".join(str(each) for each in problems))
    return manifest


def examine_manifest(path: Path) -> tuple[Manifest | None, tuple[Problem, ...]]:
    """The manifest at ``path``, or everything that is wrong with it.

    Raises:
        ManifestError: there is no such file, or it cannot be read.
    """
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        raise ManifestError(f"{path}: no such file", hint="`picloud init DIR` makes an app folder") from None
    except UnicodeDecodeError:
        raise ManifestError(f"{path}: is not UTF-8 text") from None
    except OSError as error:
        raise ManifestError(f"{path}: {error.strerror}") from None
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        return None, (_syntax_problem(str(path), str(error), text),)
    problems = Problems(str(path), find_positions(text))
    manifest = _read(data, problems)
    found = problems.in_order()
    return (None if found else manifest), found


def parse_manifest(data: Mapping[str, Any], file: str = FILE_NAME) -> Manifest:
    """Check the values of a manifest that was sent as JSON and make them one.

    Args:
        data: as ``Manifest.to_data`` returns it, or what tomllib makes of the file.
        file: how messages name it.

    Raises:
        ManifestError: names every problem, one a line, as ``file: place: message``.
    """
    problems = Problems(file)
    manifest = _read(data, problems)
    problems.raise_any()
    return manifest


def _read(data: Mapping[str, Any], problems: Problems) -> Manifest:
    """What can be made of ``data``; only without problems it is a manifest."""
    top = Table(data, (), problems)
    app = _app(top)
    scripts = _scripts(top)
    routes = _routes(top, scripts)
    triggers = [_trigger(table) for table in top.tables("trigger")]
    top.refuse_the_rest()
    return Manifest(app, tuple(scripts.values()), tuple(routes), tuple(triggers))


def _app(top: Table) -> str:
    table = top.table("app")
    if table is None:
        return ""
    name = table.checked_text("name", wrong_app_name)
    table.refuse_the_rest()
    return name or ""


def _scripts(top: Table) -> dict[str, ScriptEntry]:
    """The entries by file; those with a problem are reported and left out."""
    entries: dict[str, ScriptEntry] = {}
    names: set[str] = set()
    for table in top.tables("script"):
        file = table.checked_text("file", wrong_file)
        name = table.text("name", default=script_name(file or ""))
        limits: dict[str, Any] = {"timeout_seconds": table.seconds("timeout_seconds")}
        limits |= {key: table.whole(key) for key in WHOLE_LIMITS}
        table.refuse_the_rest()
        if file is None or name is None:
            continue
        if (wrong := wrong_name(name)) is not None:
            table.problem("name", wrong)
        elif file in entries:
            table.problem("file", f"{file} has an entry already")
        elif name in names:
            table.problem("name", f"another script is called {name!r} already")
        else:
            entries[file] = ScriptEntry(name, file, **limits)
            names.add(name)
    return entries


def _routes(top: Table, scripts: dict[str, ScriptEntry]) -> list[RouteEntry]:
    """The routes; a script that only a route names joins ``scripts``."""
    routes: list[RouteEntry] = []
    first_of: dict[tuple[str, str], str] = {}
    for table in top.tables("route"):
        method = table.choice("method", METHODS, ignore_case=True)
        path = table.checked_text("path", wrong_path)
        script = _script_of_route(table, scripts)
        mode = table.choice("dispatch_mode", ("sync", "async"), default="sync")
        table.refuse_the_rest()
        if method is None or path is None or script is None or mode is None:
            continue
        earlier = first_of.get((method, path_shape(path)))
        if earlier is not None:
            table.problem("path", f"{method} {path} answers the same requests as {method} {earlier} above")
            continue
        first_of[method, path_shape(path)] = path
        routes.append(RouteEntry(method, path, script.name, cast("DispatchMode", mode), script.file))
    return routes


def _script_of_route(table: Table, scripts: dict[str, ScriptEntry]) -> ScriptEntry | None:
    file = table.checked_text("script", wrong_file)
    if file is None or file in scripts:
        return None if file is None else scripts[file]
    name = script_name(file)
    taken = next((entry.file for entry in scripts.values() if entry.name == name), None)
    if taken is not None:
        table.problem("script", f"{taken} is called {name!r} already: give {file} a [[script]] entry with its own name")
        return None
    return scripts.setdefault(file, ScriptEntry(name, file))


# Triggers: their shape is settled (the contract's section 5), the machinery is not there yet.


def _ops(table: Table) -> None:
    table.texts("ops")


def _missed(table: Table) -> None:
    table.choice("missed", ("skip", "once", "all"), default="once")


def _needed(key: str) -> Callable[[Table], object]:
    return lambda table: table.text(key)


def _optional(key: str) -> Callable[[Table], object]:
    return lambda table: table.text(key, default="")


#: What each kind says beside ``kind``, ``script``, ``name``, ``enabled`` and ``retry``.
_TRIGGER_KINDS: Mapping[str, tuple[Callable[[Table], object], ...]] = {
    "kv": (_needed("collection"), _ops),
    "cron": (_needed("schedule"), _optional("timezone"), _missed),
    "pubsub": (_needed("topic"),),
    "queue": (_needed("queue"), lambda table: table.whole("concurrency")),
    "email": (_needed("address"),),
    "dead_letter": (_optional("source"), _optional("trigger")),
}


def _trigger(table: Table) -> TriggerEntry:
    """Check the shape, then refuse: a trigger that is accepted and ignored would be believed to work."""
    kind = table.choice("kind", _TRIGGER_KINDS)
    file = table.checked_text("script", wrong_file)
    table.text("name", default="")
    table.boolean("enabled")
    _retry(table)
    if kind is not None:
        for read in _TRIGGER_KINDS[kind]:
            read(table)
        table.refuse_the_rest()
    table.problem(None, "this release has no triggers yet: remove it to deploy the rest")
    return TriggerEntry(kind or "", script_name(file or ""))


def _retry(trigger: Table) -> None:
    table = trigger.table("retry", required=False)
    if table is not None:
        table.whole("max_attempts")
        table.choice("backoff", ("exponential", "linear", "constant"), default="exponential")
        for key in ("base_ms", "max_ms", "jitter_pct"):
            table.whole(key, low=0)
        table.refuse_the_rest()


def _syntax_problem(file: str, message: str, text: str) -> Problem:
    """What tomllib says, with its position as every other problem has it."""
    what, _, position = message.partition(" (at ")
    numbers = [int(number) for number in re.findall(r"\d+", position)]
    line, column = numbers if len(numbers) == 2 else (len(text.splitlines()) or 1, 1)
    return Problem(file, line, column, what)
