"""Deploy: a whole app at once, from its manifest and its scripts."""

from typing import Any

from picloud.access import Capability
from picloud.control import deploy
from picloud.control.deploy import DeployPlan
from picloud.control.deploy_rules import require_changes
from picloud.settings import MIB
from picloud_web.api.endpoints import Call, Endpoints
from picloud_web.api.inputs import Input

api = Endpoints("deploy")

_MAX_DEPLOY_BYTES = 8 * MIB


class DeployRequest(Input, frozen=True):
    """An app as it shall be.

    Attributes:
        manifest: `picloud.toml` as JSON.
        files: every script of the app by its path, `scripts/lib/util.rhai`.
        cancel_waiting: accepted rows of scripts and triggers that are removed end as `cancelled`, and queues that are
            no longer named are removed with their messages.
    """

    manifest: dict[str, Any]
    files: dict[str, str]
    dry_run: bool = False
    cancel_waiting: bool = False


@api.post("/apps/{app}/deploy", needs=Capability.APP_WRITE_SCRIPTS, max_body_bytes=_MAX_DEPLOY_BYTES)
async def deploy_app(call: Call, body: DeployRequest) -> DeployPlan:
    """Make an app what a manifest and files say, in one transaction, and tell what changed.

    The app is made when there is none. Scripts, routes and triggers that are no longer named are removed, and
    queues in which no messages wait. When nothing differs, nothing is written. Each kind of change needs what that
    change alone would need: a manifest that changes triggers needs `app:admin`.
    """
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
        )
        require_changes(call.caller, call.app, plan.changes)
        call.entry.is_void = plan.unchanged or plan.dry_run
        call.entry.after = {"revision": plan.revision, "changes": plan.changes}
    if not (plan.unchanged or plan.dry_run):
        await call.wake_relay()  # schedules begin, and messages may have a consumer now
    return plan


ENDPOINTS = api.collected()
