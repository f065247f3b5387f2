"""Deploy and rollback: an app made what its manifest and files say, or what a release was, in one transaction.

1. The manifest is checked, what there is is compared with what is wanted (``plan``, pure functions),
   and every script that is new or changed is compiled.
2. Nothing to change: nothing is written, the app's revision stays.
3. The app's row is locked, the comparison made again (another deploy may have come between),
   and the changes are written (``applying``). A queue that is no longer named stays as long as there
   are messages in it.
4. What the app is now is kept as a release (``releases``).

A rollback does the same with a release in place of the folder: scripts point at the versions they had.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from picloud.access import Principal
from picloud.control.applying import write_changes
from picloud.control.apps import AppRow, find_app, hold_apps, insert_app, lock_app, raise_revision
from picloud.control.drafts import Draft, check_drafts, read_sources
from picloud.control.found import read_found
from picloud.control.plan import Change, Found, Kept, Wanted, changed_drafts, kept_queues, plan_changes
from picloud.control.queues import hold_queues
from picloud.control.records import Connection
from picloud.control.releases import (
    Drift,
    StoredRelease,
    content_sha256,
    insert_label,
    insert_release,
    read_drift,
    read_labelled,
    read_newest,
    read_target,
    wanted_of,
)
from picloud.control.secrets import missing_secrets
from picloud.control.source_diff import with_diffs
from picloud.control.wanted import read_wanted
from picloud.errors import ConflictError, NotFoundError
from picloud.settings import Settings


class DeployPlan(msgspec.Struct, frozen=True):
    """What a deploy or a rollback changes, or would change.

    Attributes:
        revision: of the app afterwards; 0 while there is no app.
        kept: what is no longer named and stays, because messages wait in it.
        release: the number of the release that has this content; null: a dry run, which did not make it.
        current_release: the number of the release that runs afterwards; null: there is none.
        note: why nothing was done, where that is not because nothing differs.
        drift: what something other than a deploy had changed since the last release.
        missing_secrets: what the manifest requires and is not set.
    """

    app: str
    dry_run: bool
    unchanged: bool
    revision: int
    changes: list[Change]
    kept: list[Kept]
    release: int | None = None
    current_release: int | None = None
    note: str | None = None
    drift: list[Drift] = msgspec.field(default_factory=list[Drift])
    missing_secrets: list[str] = msgspec.field(default_factory=list[str])


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """Under which conditions a deploy is made, and what it tells.

    Attributes:
        label: what the release is called. If there is one of this name and content, nothing is done.
        revision: the app must have it; 0: there must be no such app.
        allows_missing_secrets: a secret that the manifest requires and nobody has set is only told.
        shows_diff: the plan has the difference of each source.
    """

    label: str | None = None
    revision: int | None = None
    allows_missing_secrets: bool = False
    shows_diff: bool = False


_NO_TERMS = Terms()


async def deploy(
    connection: Connection,
    settings: Settings,
    principal: Principal,
    app_name: str,
    *,
    manifest: Mapping[str, Any],
    files: Mapping[str, str],
    dry_run: bool,
    cancels_waiting: bool = False,
    terms: Terms = _NO_TERMS,
) -> DeployPlan:
    """Make the app what ``manifest`` and ``files`` say.

    Args:
        connection: in a transaction of the caller's.
        manifest: ``picloud.toml`` as values.
        files: every script of the app by its path, ``scripts/lib/util.rhai``. A script that is not
            among them is removed.
        cancels_waiting: rows of scripts and triggers that are removed end as cancelled, and queues that are no longer
            named are removed with their messages.

    Raises:
        ManifestError: the manifest is wrong, or names another app than ``app_name``.
        ScriptError: names every script that does not compile.
        ConflictError: a mail address is another app's; the label stands for other content; the app has another
            revision; a secret is missing.
    """
    wanted = read_wanted(app_name, manifest, files, cancels_waiting=cancels_waiting)
    try:
        app: AppRow | None = await find_app(connection, app_name)
    except NotFoundError:
        app = None
    if (repeated := await _repeated(connection, settings, app, wanted, terms, dry_run=dry_run)) is not None:
        return repeated
    _check_revision(app_name, 0 if app is None else app.revision, terms)
    found = Found() if app is None else await read_found(connection, app)
    await check_drafts(changed_drafts(wanted, found))
    plan = await _plan(connection, settings, app, wanted, found, is_new=app is None, shows_diff=terms.shows_diff)
    if dry_run:
        return msgspec.structs.replace(plan, dry_run=True)
    _check_secrets(plan, terms, is_new=app is None)
    if plan.unchanged and plan.release is not None and terms.label is None:
        return plan
    return await _change(connection, settings, principal, wanted, terms, checked=changed_drafts(wanted, found))


async def _change(
    connection: Connection,
    settings: Settings,
    principal: Principal,
    wanted: Wanted,
    terms: Terms,
    *,
    checked: list[Draft],
) -> DeployPlan:
    """Compare again with the app locked, and write what differs."""
    await hold_apps(connection)
    is_new = await insert_app(connection, principal, wanted.app)
    app = await lock_app(connection, wanted.app)
    if (repeated := await _repeated(connection, settings, app, wanted, terms, dry_run=False)) is not None:
        return repeated
    _check_revision(wanted.app, 0 if is_new else app.revision, terms)
    await hold_queues(connection, app)
    found = await read_found(connection, app)
    plan = await _plan(connection, settings, app, wanted, found, is_new=is_new, shows_diff=terms.shows_diff)
    _check_secrets(plan, terms, is_new=is_new)
    # Somebody else's deploy came between and left a script that nobody has compiled for us.
    await check_drafts([draft for draft in changed_drafts(wanted, found) if draft not in checked])
    if not plan.unchanged:
        plan = await _write(connection, settings, principal, app, plan, wanted=wanted, found=found, is_new=is_new)
    elif plan.release is None:
        plan = await _keep(connection, principal, app, wanted, plan)
    if terms.label is not None:
        assert plan.release is not None
        await insert_label(connection, app, terms.label, plan.release)
    return plan


async def roll_back(
    connection: Connection,
    settings: Settings,
    principal: Principal,
    app_name: str,
    *,
    number: int | None = None,
    dry_run: bool = False,
    cancels_waiting: bool = False,
    shows_diff: bool = False,
) -> DeployPlan:
    """Make the app what it was in a release: its routes, triggers and queues, and each script at the version it had.

    No version is written: scripts point at what they ran. Secrets that are missing are told, and refuse nothing:
    who goes back has no time for them.

    Args:
        connection: in a transaction of the caller's.
        number: None: the release before the deploy whose content runs; so each further call goes one further back.
        cancels_waiting: as in a deploy.

    Raises:
        NotFoundError: no such app or release.
        ConflictError: there is nothing to go back to; a mail address is another app's by now.
    """
    await hold_apps(connection)
    app = await (find_app if dry_run else lock_app)(connection, app_name)
    if not dry_run:
        await hold_queues(connection, app)
    target = await read_target(connection, app, number)
    wanted = await wanted_of(connection, target, with_source=shows_diff, cancels_waiting=cancels_waiting)
    found = await read_found(connection, app)
    plan = await _plan(connection, settings, app, wanted, found, restored=target, shows_diff=shows_diff)
    if dry_run:
        return msgspec.structs.replace(plan, dry_run=True)
    if not plan.unchanged:
        return await _write(connection, settings, principal, app, plan, wanted=wanted, found=found, restored=target)
    return plan if plan.release is not None else await _keep(connection, principal, app, wanted, plan, target)


# The plan


async def _plan(
    connection: Connection,
    settings: Settings,
    app: AppRow | None,
    wanted: Wanted,
    found: Found,
    *,
    is_new: bool = False,
    restored: StoredRelease | None = None,
    shows_diff: bool = False,
) -> DeployPlan:
    """What turns ``found`` into ``wanted``; its release is the one that runs, if that is what is wanted."""
    changes = [Change("create", "app", wanted.app)] * is_new + plan_changes(wanted, found, settings)
    if shows_diff:
        changes = await _with_diffs(connection, changes, wanted, found)
    newest = None if app is None else await read_newest(connection, app)
    is_it = not changes and newest is not None and _is_same(newest, wanted, restored)
    return DeployPlan(
        wanted.app,
        dry_run=False,
        unchanged=not changes,
        revision=0 if app is None else app.revision,
        changes=changes,
        kept=kept_queues(wanted, found),
        release=newest.number if is_it and newest is not None else None,
        current_release=None if newest is None else newest.number,
        drift=[] if app is None else await read_drift(connection, settings, app, found),
        missing_secrets=await missing_secrets(connection, app, wanted.manifest.secrets),
    )


def _is_same(newest: StoredRelease, wanted: Wanted, restored: StoredRelease | None) -> bool:
    """Whether the release that runs is the one that would be made."""
    return newest.sha256 == content_sha256(wanted) if restored is None else newest.origin == restored.origin


async def _with_diffs(connection: Connection, changes: Sequence[Change], wanted: Wanted, found: Found) -> list[Change]:
    updated = {change.name for change in changes if (change.kind, change.action) == ("script", "update")}
    before = await read_sources(connection, [found.scripts[name].id for name in updated])
    return await with_diffs(changes, before, {name: wanted.drafts[name].source for name in updated})


async def _repeated(
    connection: Connection, settings: Settings, app: AppRow | None, wanted: Wanted, terms: Terms, *, dry_run: bool
) -> DeployPlan | None:
    """The answer to a deploy whose label there is already: nothing is done, whatever came since.

    Raises:
        ConflictError: the label stands for other content.
    """
    if app is None or terms.label is None:
        return None
    release = await read_labelled(connection, app, terms.label)
    if release is None:
        return None
    if release.sha256 != content_sha256(wanted):
        raise ConflictError(
            f"{app.name}: release {release.number} is called {terms.label!r} and has other content",
            hint="a label stands for one content: deploy this one under another",
            code="release_differs",
        )
    newest = await read_newest(connection, app)
    assert newest is not None, "the labelled one, or one that came later"
    return DeployPlan(
        app.name,
        dry_run=dry_run,
        unchanged=True,
        revision=app.revision,
        changes=[],
        kept=[],
        release=release.number,
        current_release=newest.number,
        note=_note_on_repeat(release, newest),
        drift=await read_drift(connection, settings, app),
        missing_secrets=await missing_secrets(connection, app, wanted.manifest.secrets),
    )


def _note_on_repeat(release: StoredRelease, newest: StoredRelease) -> str:
    deployed = f"this was deployed before, as release {release.number}"
    if newest.origin == release.origin:
        return f"{deployed}, and runs"
    return (
        f"{deployed}; release {newest.number} came later and goes on:"
        f" `picloud releases rollback {release.app} {release.number}` would bring this one back"
    )


def _check_revision(app_name: str, revision: int, terms: Terms) -> None:
    """Raises: ConflictError: the app was changed since the caller looked."""
    if terms.revision is not None and terms.revision != revision:
        state = f"is at revision {revision}" if revision else "does not exist"
        raise ConflictError(
            f"{app_name} {state}, not at revision {terms.revision}",
            hint="look at what changed, and deploy again",
            code="precondition_failed",
        )


def _check_secrets(plan: DeployPlan, terms: Terms, *, is_new: bool) -> None:
    """Raises: ConflictError: the app would not find what its manifest requires."""
    if plan.missing_secrets and not terms.allows_missing_secrets:
        setting = f"`picloud secrets set {plan.app} {plan.missing_secrets[0]}`"
        raise ConflictError(
            f"{plan.app} requires secrets that are not set: {', '.join(plan.missing_secrets)}",
            hint=f"`picloud apps create {plan.app}`, then {setting}" if is_new else setting,
            code="secrets_missing",
        )


# Writing it, with the app locked


async def _write(
    connection: Connection,
    settings: Settings,
    principal: Principal,
    app: AppRow,
    plan: DeployPlan,
    *,
    wanted: Wanted,
    found: Found,
    restored: StoredRelease | None = None,
    is_new: bool = False,
) -> DeployPlan:
    """Write what the plan says, and keep it as a release."""
    await write_changes(connection, settings, principal, app=app, wanted=wanted, found=found)
    if not is_new:
        plan = msgspec.structs.replace(plan, revision=await raise_revision(connection, app))
    return await _keep(connection, principal, app, wanted, plan, restored)


async def _keep(
    connection: Connection,
    principal: Principal,
    app: AppRow,
    wanted: Wanted,
    plan: DeployPlan,
    restored: StoredRelease | None = None,
) -> DeployPlan:
    """Keep what the app is now as its newest release."""
    number = await insert_release(connection, app, principal, wanted, revision=plan.revision, restored=restored)
    return msgspec.structs.replace(plan, release=number, current_release=number)
