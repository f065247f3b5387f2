"""Scripts as they are to be: drafts, compiled and compared with what there is, and written many at once.

A deploy writes drafts as new versions; a rollback to a release points at versions that are there
already, and brings back scripts that were removed. Whoever writes has locked the app and raises its
revision. ``scripts`` is about one script.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence

import msgspec

from picloud.access import Principal
from picloud.control.apps import AppRow
from picloud.control.records import Connection, fetch_rows
from picloud.engine import ScriptLimits, check_script, parse_limits
from picloud.engine.limits import LIMIT_NAMES, timeout_seconds
from picloud.errors import InvalidInputError, ScriptError
from picloud.manifest import ScriptEntry
from picloud.queries import Queries
from picloud.settings import SandboxCeilings

_SQL = Queries("control")

#: What follows a script's name in the control API; a script in a folder cannot be called so.
_WORDS_OF_THE_API = frozenset({"versions", "rollback", "invoke"})


class StoredVersion(msgspec.Struct, frozen=True):
    """A version that is there already; its script may have been removed."""

    script_id: int
    version: int


class Draft(msgspec.Struct, frozen=True):
    """A script as somebody wants it to be.

    Attributes:
        file: how messages name it.
        source: empty where ``stored`` says which it is, and nobody has asked to see it.
        stored: the version it shall be, when it is to be gone back to; None: it becomes a new one.
    """

    name: str
    file: str
    source: str
    limits: ScriptLimits
    stored: StoredVersion | None = None

    @property
    def sha256(self) -> bytes:
        return hashlib.sha256(self.source.encode()).digest()


class CurrentScript(msgspec.Struct, frozen=True):
    """What is compared with a draft."""

    id: int
    name: str
    version: int
    sha256: bytes
    limits: ScriptLimits

    def equals(self, draft: Draft) -> bool:
        if draft.stored is not None:
            return draft.stored == StoredVersion(self.id, self.version)
        return self.sha256 == draft.sha256 and self.limits == draft.limits


def limits_of(entry: ScriptEntry) -> ScriptLimits:
    """What a manifest's entry asks for."""
    return ScriptLimits(**{name: getattr(entry, name) for name in LIMIT_NAMES})


def timeout_ms(limits: ScriptLimits, ceilings: SandboxCeilings) -> int:
    """How long a run may take: what a script's row says for its current version."""
    return round(timeout_seconds(limits, ceilings) * 1_000)


async def check_drafts(drafts: Sequence[Draft]) -> None:
    """Compile every draft, off the event loop.

    Raises:
        ScriptError: names every draft that does not compile, one a line, as ``file:line:column: message``.
        InvalidInputError: a name or source that cannot be stored.
    """
    for draft in drafts:
        folder, _, last = draft.name.rpartition("/")
        if folder and last in _WORDS_OF_THE_API:
            raise InvalidInputError(f"{draft.file}: in a folder the name {last!r} is taken by the control API")
        if "\0" in draft.source:
            raise InvalidInputError(f"{draft.file}: the source holds a NUL character")
    problems = [problem for problem in await asyncio.to_thread(_compile, drafts) if problem is not None]
    if problems:
        first = problems[0][1]
        lines = (f"{file}:{error.line}:{error.column}: {error.message}" for file, error in problems)
        raise ScriptError("\n".join(lines), name=first.name, line=first.line, column=first.column)


def _compile(drafts: Sequence[Draft]) -> list[tuple[str, ScriptError] | None]:
    return [_problem(draft) for draft in drafts]


def _problem(draft: Draft) -> tuple[str, ScriptError] | None:
    try:
        check_script(draft.name, draft.source)
    except ScriptError as error:
        return draft.file, error
    return None


# Reading


async def read_current(connection: Connection, app: AppRow) -> dict[str, CurrentScript]:
    """Every living script of an app by its name."""
    parameters = {"app": app.name, "app_id": app.id, "name": None, "after": None, "limit": None, "with_source": False}
    rows = await fetch_rows(connection, _SQL.scripts, parameters)
    return {
        row.name: CurrentScript(row.id, row.name, row.version, bytes(row.sha256), parse_limits(row.limits))
        for row in rows
    }


async def read_sources(connection: Connection, script_ids: Sequence[int]) -> dict[str, str]:
    """The sources these scripts run now, by name."""
    rows = await fetch_rows(connection, _SQL.current_sources, {"script_ids": list(script_ids)})
    return {row.name: row.source for row in rows}


# Writing


async def write_drafts(
    connection: Connection,
    app: AppRow,
    principal: Principal,
    drafts: Sequence[Draft],
    *,
    current: Mapping[str, CurrentScript],
    ceilings: SandboxCeilings,
) -> None:
    """Make the drafts what runs from now on, each as a new version; ``current`` are the app's scripts by name."""
    if not drafts:
        return
    ids = [current[draft.name].id if draft.name in current else None for draft in drafts]
    await connection.execute(
        _SQL.insert_versions,
        {
            "app_id": app.id,
            "principal_id": principal.id,
            "ids": ids,
            "names": [draft.name for draft in drafts],
            "sources": [draft.source for draft in drafts],
            "sha256s": [draft.sha256 for draft in drafts],
            "limits": [draft.limits.to_json() for draft in drafts],
            "timeouts_ms": [timeout_ms(draft.limits, ceilings) for draft in drafts],
        },
    )


async def restore_versions(
    connection: Connection,
    drafts: Sequence[Draft],
    *,
    current: Mapping[str, CurrentScript],
    ceilings: SandboxCeilings,
) -> Mapping[int, int]:
    """Make stored versions what runs from now on; no version is written.

    Returns:
        Scripts that were made after another one of their name had been removed, and go again for that one, by id the
        id of what is there now. Their routes and triggers have been handed over.
    """
    stored = [(draft, draft.stored) for draft in drafts if draft.stored is not None]
    replaced = {
        current[draft.name].id: version.script_id
        for draft, version in stored
        if draft.name in current and current[draft.name].id != version.script_id
    }
    await delete_scripts(connection, list(replaced))  # first: there is one living script of a name
    await point_to(connection, {version: timeout_ms(draft.limits, ceilings) for draft, version in stored})
    pairs = {"old_ids": list(replaced), "new_ids": list(replaced.values())}
    await connection.execute(_SQL.hand_over_routes, pairs)
    await connection.execute(_SQL.hand_over_triggers, pairs)
    return replaced


async def point_to(connection: Connection, versions: Mapping[StoredVersion, int]) -> None:
    """Make these versions, each with the timeout of its runs in milliseconds, what their scripts run."""
    await connection.execute(
        _SQL.point_to_versions,
        {
            "ids": [version.script_id for version in versions],
            "versions": [version.version for version in versions],
            "timeouts_ms": list(versions.values()),
        },
    )


async def delete_scripts(connection: Connection, script_ids: Sequence[int]) -> None:
    """Take scripts away; their versions stay, for history, for rows that wait and for releases."""
    if script_ids:
        await connection.execute(_SQL.delete_scripts, {"script_ids": list(script_ids)})
