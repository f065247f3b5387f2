"""Releases: what an app was after each deploy and each rollback, numbered from 1; the newest one is the one that runs.

A release holds the manifest in its one form and, for every script, the version it ran. Going back to
one (``deploy.roll_back``) makes the app that again, and is itself a release, which says whose content it
``restores``: the numbers tell what ran when, in a straight line.

A **label** is what a deploy calls its release, the id of a commit for example. It stands for one content
for ever; one release can have several. What was changed since the newest release by something other than a
deploy is the app's **drift**.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from picloud.access import Principal
from picloud.control.apps import AppRow, find_app
from picloud.control.drafts import Draft, StoredVersion
from picloud.control.found import found_after, read_found
from picloud.control.pages import Page, int_cursor, page_of
from picloud.control.plan import Action, Change, Found, Wanted, plan_changes
from picloud.control.records import Connection, fetch_row, fetch_rows, stored_json
from picloud.control.source_diff import with_diffs
from picloud.control.wanted import wanted_by
from picloud.engine import parse_limits
from picloud.errors import ConflictError, ManifestError, NotFoundError
from picloud.manifest import parse_manifest
from picloud.queries import Queries
from picloud.settings import Settings

_SQL = Queries("releases")


class Drift(msgspec.Struct, frozen=True):
    """Something that is not as the newest release has it.

    Attributes:
        what: what became of it since, by something other than a deploy.
    """

    kind: Literal["app", "script", "route", "queue", "trigger"]
    name: str
    what: Literal["added", "changed", "removed"]


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """A release as it is listed.

    Attributes:
        id: the number.
        labels: what deploys called it.
        restores: of a rollback, the number of the release whose content it is.
        scripts: how many.
        sha256: of the manifest and every source; the same for the same content.
        is_current: it is the newest one, which runs.
        is_drifted: it runs, but something was changed since.
    """

    id: int
    app: str
    number: int
    labels: list[str]
    restores: int | None
    scripts: int
    sha256: str
    is_current: bool
    is_drifted: bool
    created_at: dt.datetime
    created_by: str


class ReleasedScript(msgspec.Struct, frozen=True):
    """A script as a release has it."""

    name: str
    version: int
    sha256: str


class ReleaseDetail(Release, frozen=True, kw_only=True):
    """A release with what it holds.

    Attributes:
        manifest: as JSON, in its one form: in the order of names, every script by file and name.
        versions: what each script runs.
        previous: the number of the release before it.
        changes: what it changed of that one.
        drift: what is not as it says; only of the release that runs.
    """

    manifest: Any
    versions: list[ReleasedScript]
    previous: int | None
    changes: list[Change]
    drift: list[Drift]


class StoredRelease(msgspec.Struct, frozen=True, kw_only=True):
    """A release as it is kept."""

    id: int
    app: str
    number: int
    is_current: bool
    labels: list[str]
    restores: int | None
    scripts: int
    sha256: bytes
    revision: int
    created_at: dt.datetime
    created_by: str
    manifest: str | None

    @property
    def origin(self) -> int:
        """The number of the deploy whose content this is."""
        return self.number if self.restores is None else self.restores


async def list_releases(
    connection: Connection, settings: Settings, app_name: str, *, limit: int, after: str | None
) -> Page[Release]:
    """Newest first. Raises: NotFoundError."""
    app = await find_app(connection, app_name)
    rows = await _read(connection, app, after=int_cursor(after), limit=limit + 1)
    drifted = after is None and bool(rows) and bool(await read_drift(connection, settings, app))
    shown = [Release(**_shown(row), is_drifted=row.is_current and drifted) for row in rows]
    return page_of(shown, limit, lambda release: release.number)


async def show_release(
    connection: Connection, settings: Settings, app_name: str, number: int, *, with_diff: bool
) -> ReleaseDetail:
    """One release, with what it changed of the one before. Raises: NotFoundError."""
    app = await find_app(connection, app_name)
    release = await read_release(connection, app, number)
    wanted = await wanted_of(connection, release, with_source=with_diff)
    earlier = await _read(connection, app, after=number, limit=1, with_manifest=True)
    previous = earlier[0] if earlier else None
    before = None if previous is None else await wanted_of(connection, previous, with_source=with_diff)
    changes = plan_changes(wanted, Found() if before is None else found_after(before, settings), settings)
    if with_diff and before is not None:
        changes = await with_diffs(changes, _sources(before), _sources(wanted))
    drift = await read_drift(connection, settings, app) if release.is_current else []
    rows = await fetch_rows(connection, _SQL.release_scripts, {"release_id": release.id, "with_source": False})
    return ReleaseDetail(
        **_shown(release),
        is_drifted=bool(drift),
        manifest=stored_json((release.manifest or "").encode()),
        versions=[ReleasedScript(row.name, row.version, bytes(row.sha256).hex()) for row in rows],
        previous=None if previous is None else previous.number,
        changes=changes,
        drift=drift,
    )


def _shown(row: StoredRelease) -> dict[str, Any]:
    names = ("app", "number", "labels", "restores", "scripts", "is_current", "created_at", "created_by")
    return {name: getattr(row, name) for name in names} | {"id": row.number, "sha256": row.sha256.hex()}


# What a deploy and a rollback need


async def read_release(connection: Connection, app: AppRow, number: int) -> StoredRelease:
    """With its manifest. Raises: NotFoundError."""
    found = await _read(connection, app, number=number, limit=1, with_manifest=True)
    if not found:
        raise NotFoundError(f"{app.name} has no release {number}", hint=f"`picloud releases ls {app.name}` lists them")
    return found[0]


async def read_newest(connection: Connection, app: AppRow) -> StoredRelease | None:
    """The release that runs; None: the app was never deployed."""
    found = await _read(connection, app, limit=1)
    return found[0] if found else None


async def read_labelled(connection: Connection, app: AppRow, label: str) -> StoredRelease | None:
    """The release that was given this label."""
    row = await fetch_row(connection, _SQL.labelled_release, {"app_id": app.id, "label": label})
    return None if row is None else await read_release(connection, app, row.number)


async def read_target(connection: Connection, app: AppRow, number: int | None) -> StoredRelease:
    """The release a rollback goes back to: the one named, or the one before the deploy whose content runs.

    Raises:
        NotFoundError: no such release.
        ConflictError: there is none to go back to.
    """
    if number is not None:
        return await read_release(connection, app, number)
    newest = await read_newest(connection, app)
    origin = 0 if newest is None else newest.origin
    row = await fetch_row(connection, _SQL.previous_release, {"app_id": app.id, "number": origin})
    if row is None or row.number is None:
        before = f"no release before {origin}" if origin else "no release: nothing was deployed yet"
        raise ConflictError(f"{app.name} has {before}", hint=f"`picloud releases ls {app.name}` lists them")
    return await read_release(connection, app, row.number)


async def wanted_of(
    connection: Connection, release: StoredRelease, *, with_source: bool = False, cancels_waiting: bool = False
) -> Wanted:
    """A release as something to be made so: its scripts at the versions they had.

    Raises:
        ManifestError: this version of PiCloud cannot read its manifest any more.
    """
    manifest = parse_manifest(msgspec.json.decode(release.manifest or "{}"))
    files = {entry.name: entry.file for entry in manifest.scripts}
    parameters = {"release_id": release.id, "with_source": with_source}
    drafts = {
        row.name: Draft(
            row.name,
            files[row.name],
            row.source or "",
            parse_limits(row.limits),
            StoredVersion(row.script_id, row.version),
        )
        for row in await fetch_rows(connection, _SQL.release_scripts, parameters)
    }
    return wanted_by(manifest, drafts, cancels_waiting=cancels_waiting)


async def read_drift(
    connection: Connection, settings: Settings, app: AppRow, found: Found | None = None
) -> list[Drift]:
    """What is not as the newest release has it; ``found`` is what there is, for who has read it already."""
    newest = await read_newest(connection, app)
    if newest is None or newest.revision == app.revision:
        return []
    try:
        wanted = await wanted_of(connection, await read_release(connection, app, newest.number))
    except ManifestError:  # of an older PiCloud: no deploy may fail for what was once deployed
        return []
    changes = plan_changes(wanted, await read_found(connection, app) if found is None else found, settings)
    # A queue that no manifest names is no drift: to send to one makes it.
    return [
        Drift(change.kind, change.name, _BECAME[change.action])
        for change in changes
        if (change.action, change.kind) != ("delete", "queue")
    ]


#: What must have been done to something that would now have to be created, changed or removed.
_BECAME: Mapping[Action, Literal["added", "changed", "removed"]] = {
    "create": "removed",
    "update": "changed",
    "delete": "added",
}


# Writing; the caller has locked the app


async def insert_release(
    connection: Connection,
    app: AppRow,
    principal: Principal,
    wanted: Wanted,
    *,
    revision: int,
    restored: StoredRelease | None = None,
) -> int:
    """Keep what runs now as a release; ``restored`` is what was gone back to. Returns its number."""
    row = await fetch_row(
        connection,
        _SQL.insert_release,
        {
            "app_id": app.id,
            "manifest": msgspec.json.encode(wanted.manifest.to_data()).decode(),
            "sha256": content_sha256(wanted) if restored is None else restored.sha256,
            "revision": revision,
            "restores": None if restored is None else restored.origin,
            "principal_id": principal.id,
        },
    )
    assert row is not None
    return int(row.number)


async def insert_label(connection: Connection, app: AppRow, label: str, number: int) -> None:
    """Let a label, which no release of the app has, stand for a release."""
    await connection.execute(_SQL.insert_label, {"app_id": app.id, "label": label, "number": number})


def content_sha256(wanted: Wanted) -> bytes:
    """The same for what would be the same app: SHA-256 of the manifest in its one form and of every source."""
    sources = {name: draft.sha256.hex() for name, draft in sorted(wanted.drafts.items())}
    return hashlib.sha256(msgspec.json.encode([wanted.manifest.to_data(), sources])).digest()


async def _read(
    connection: Connection,
    app: AppRow,
    *,
    limit: int,
    number: int | None = None,
    after: int | None = None,
    with_manifest: bool = False,
) -> list[StoredRelease]:
    parameters = {
        "app": app.name,
        "app_id": app.id,
        "number": number,
        "after": after,
        "limit": limit,
        "with_manifest": with_manifest,
    }
    return [StoredRelease(**row._asdict()) for row in await fetch_rows(connection, _SQL.releases, parameters)]


def _sources(wanted: Wanted) -> dict[str, str]:
    return {name: draft.source for name, draft in wanted.drafts.items()}
