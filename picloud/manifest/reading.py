"""From TOML text or JSON to a ``Manifest``, or to every problem at once."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from picloud.errors import ManifestError
from picloud.manifest.entries import DISPATCH_MODES, DispatchMode, Manifest, RouteEntry, ScriptEntry
from picloud.manifest.names import METHODS, path_shape, wrong_app_name, wrong_path, wrong_secret_name
from picloud.manifest.positions import Place, Positions, find_positions
from picloud.manifest.route_auth import read_auth
from picloud.manifest.scripts import files_named, read_scripts, script_of
from picloud.manifest.syntax import syntax_problem
from picloud.manifest.tables import Problem, Problems, Table
from picloud.manifest.triggers import read_queues, read_triggers

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FILE_NAME = "picloud.toml"


@dataclass(frozen=True, slots=True)
class ManifestText:
    """``picloud.toml`` as it was read from a file.

    Attributes:
        manifest: None when there are problems.
        files_named: every script's file it names, with the place where it does; also of a manifest with problems.
    """

    file: str
    manifest: Manifest | None
    problems: tuple[Problem, ...]
    files_named: tuple[tuple[Place, str], ...] = ()
    _positions: Positions = field(default_factory=Positions)

    def problem(self, place: Place, message: str, *, of_key: bool = False) -> Problem:
        """A problem that somebody else found, at its place in the text."""
        problems = Problems(self.file, self._positions)
        problems.add(place, message, of_key=of_key)
        return problems.in_order()[0]


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
    text = read_manifest(path)
    return text.manifest, text.problems


def read_manifest(path: Path) -> ManifestText:
    """The manifest at ``path`` with the places in its text.

    Raises:
        ManifestError: there is no such file, or it cannot be read.
    """
    file = str(path)
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
        positions = find_positions(text)
    except tomllib.TOMLDecodeError as error:
        return ManifestText(file, None, (syntax_problem(file, str(error), text),))
    except RecursionError:
        return ManifestText(file, None, (Problem(file, 1, 1, "arrays or tables are nested too deeply"),))
    problems = Problems(file, positions)
    manifest = _read(data, problems)
    found = problems.in_order()
    return ManifestText(file, None if found else manifest, found, tuple(files_named(data)), positions)


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
    scripts = read_scripts(top)
    routes = _routes(top, scripts)
    triggers = read_triggers(top, scripts)
    queues = read_queues(top)
    secrets = _secrets(top)
    top.refuse_the_rest()
    return Manifest(app, tuple(scripts.values()), tuple(routes), tuple(triggers), tuple(queues), secrets)


def _app(top: Table) -> str:
    table = top.table("app")
    if table is None:
        return ""
    name = table.checked_text("name", wrong_app_name)
    table.refuse_the_rest()
    return name or ""


def _secrets(top: Table) -> tuple[str, ...]:
    """The secrets the app requires, each once."""
    table = top.table("secrets", required=False)
    if table is None:
        return ()
    names = table.checked_texts("required", wrong_secret_name)
    table.refuse_the_rest()
    return tuple(dict.fromkeys(names))


def _routes(top: Table, scripts: dict[str, ScriptEntry]) -> list[RouteEntry]:
    """The routes; a script that only a route names joins ``scripts``."""
    routes: list[RouteEntry] = []
    first_of: dict[tuple[str, str], str] = {}
    for table in top.tables("route"):
        method = table.choice("method", METHODS, ignore_case=True)
        path = table.checked_text("path", wrong_path)
        script = script_of(table, "script", scripts)
        mode: DispatchMode | None = table.choice("dispatch_mode", DISPATCH_MODES, default="sync")
        auth = read_auth(table)
        table.refuse_the_rest()
        if method is None or path is None or script is None or mode is None or auth is None:
            continue
        earlier = first_of.get((method, path_shape(path)))
        if earlier is not None:
            table.problem("path", f"{method} {path} answers the same requests as {method} {earlier} above")
            continue
        first_of[method, path_shape(path)] = path
        routes.append(RouteEntry(method, path, script.name, mode, script.file, auth))
    return routes
