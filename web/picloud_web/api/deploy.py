"""Deploy: a whole app at once, from its manifest and its scripts."""

import re
from typing import Annotated, Any

import msgspec

from picloud.access import Capability
from picloud.control import deploy
from picloud.control.deploy import DeployPlan, Terms
from picloud.control.deploy_rules import require_changes
from picloud.errors import InvalidInputError
from picloud.settings import MIB
from picloud_web.api.endpoints import Call, Endpoints
from picloud_web.api.inputs import Input, Name, Text

api = Endpoints("deploy")

_MAX_DEPLOY_BYTES = 8 * MIB

_ETAG = re.compile(r'"(0|[1-9][0-9]{0,17})"')


class DeployRequest(Input, frozen=True):
    """An app as it shall be.

    Attributes:
        manifest: `picloud.toml` as JSON.
        files: every script of the app by its path, `scripts/lib/util.rhai`.
        cancel_waiting: accepted rows of scripts and triggers that are removed end as `cancelled`, and queues that are
            no longer named are removed with their messages.
        release: what the release is called, a commit's id for example. A label stands for one content: with the same,
            nothing is done; with another, the answer is 409, `release_differs`.
        diff: each change of a script has the difference of its source.
        allow_missing_secrets: secrets that the manifest requires and that are not set are only told.
    """

    manifest: dict[str, Any]
    files: dict[str, str]
    dry_run: bool = False
    cancel_waiting: bool = False
    release: Name | None = None
    diff: bool = False
    allow_missing_secrets: bool = False


class Revision(Input, frozen=True):
    """What the app must be for a deploy to be made (RFC 9110, section 13.1.1)."""

    if_match: (
        Annotated[Text, msgspec.Meta(description='The revision it must have: `"7"`, or `"0"`: no app.')] | None
    ) = msgspec.field(default=None, name="If-Match")


@api.post("/apps/{app}/deploy", needs=Capability.APP_WRITE_SCRIPTS, max_body_bytes=_MAX_DEPLOY_BYTES)
async def deploy_app(call: Call, headers: Revision, body: DeployRequest) -> DeployPlan:
    """Make an app what a manifest and files say, in one transaction, and tell what changed.

    The app is made when there is none. Scripts, routes and triggers that are no longer named are removed, and
    queues in which no messages wait. When nothing differs, nothing is written; otherwise the app is kept as a release.
    With `If-Match` only an app of that revision is changed, else the answer is 412. Secrets that the manifest requires
    and nobody has set are answered 409, `secrets_missing`. Each kind of change needs what that change alone would need:
    a manifest that changes triggers needs `app:admin`.
    """
    terms = Terms(
        label=body.release,
        revision=_revision(headers),
        allows_missing_secrets=body.allow_missing_secrets,
        shows_diff=body.diff,
    )
    async with call.transaction() as connection:
        plan = await deploy.deploy(
            connection,
            call.services.settings,
            call.principal,
            call.app,
            manifest=body.manifest,
            files=body.files,
            dry_run=body.dry_run,
            cancels_waiting=body.cancel_waiting,
            terms=terms,
        )
        _account_for(call, plan)
    return await _told(call, plan)


class RollbackRequest(Input, frozen=True):
    """Where to go back to.

    Attributes:
        release: the number; without one, the release before the deploy whose content runs.
        cancel_waiting: as in a deploy.
        diff: as in a deploy.
    """

    release: Annotated[int, msgspec.Meta(ge=1, le=2_147_483_647)] | None = None
    dry_run: bool = False
    cancel_waiting: bool = False
    diff: bool = False


@api.post("/apps/{app}/rollback", needs=Capability.APP_WRITE_SCRIPTS)
async def roll_back(call: Call, body: RollbackRequest) -> DeployPlan:
    """Make an app what it was in a release, in one transaction: routes, triggers, queues and each script's version.

    No version is written: scripts point at what they ran then. The rollback is a release itself. What began before
    ends as it began.
    """
    async with call.transaction() as connection:
        plan = await deploy.roll_back(
            connection,
            call.services.settings,
            call.principal,
            call.app,
            number=body.release,
            dry_run=body.dry_run,
            cancels_waiting=body.cancel_waiting,
            shows_diff=body.diff,
        )
        _account_for(call, plan)
    return await _told(call, plan)


def _account_for(call: Call, plan: DeployPlan) -> None:
    """Refuse what the caller may not change, and tell the audit log the rest; in the transaction."""
    require_changes(call.caller, call.app, plan.changes)
    call.entry.is_void = plan.unchanged or plan.dry_run
    changes = [msgspec.structs.replace(change, diff=None) for change in plan.changes]
    call.entry.after = {"revision": plan.revision, "release": plan.release, "changes": changes}


async def _told(call: Call, plan: DeployPlan) -> DeployPlan:
    """The plan as the answer, once it is committed."""
    if not (plan.unchanged or plan.dry_run):
        await call.wake_relay()  # schedules begin, and messages may have a consumer now
    call.headers["ETag"] = f'"{plan.revision}"'
    return plan


def _revision(headers: Revision) -> int | None:
    """Raises: InvalidInputError: it is no revision."""
    if headers.if_match is None:
        return None
    found = _ETAG.fullmatch(headers.if_match.strip())
    if found is None:
        raise InvalidInputError('If-Match: expected the revision of the app, as in "7"')
    return int(found[1])


ENDPOINTS = api.collected()
