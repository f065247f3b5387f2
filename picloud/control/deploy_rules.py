"""What a deploy needs besides being let in: each kind of change needs what that change alone would need.

So a key that may write scripts deploys scripts and routes; a manifest that changes a trigger needs a key that may
change triggers. A deploy that changes nothing needs nothing more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from picloud.access import Caller, Capability
from picloud.control.plan import Change

_NEEDED: Mapping[str, Capability] = {
    "app": Capability.INSTANCE_CREATE_APPS,
    "script": Capability.APP_WRITE_SCRIPTS,
    "route": Capability.APP_MANAGE_ROUTES,
    "queue": Capability.APP_MANAGE_QUEUES,
    "trigger": Capability.APP_MANAGE_TRIGGERS,
}


def require_changes(caller: Caller, app: str, changes: Iterable[Change]) -> None:
    """Refuse changes that the caller may not make; nothing is committed then.

    Raises:
        PermissionDeniedError: names the first capability that is missing.
    """
    for kind in dict.fromkeys(change.kind for change in changes):
        needed = _NEEDED[kind]
        caller.require(needed, None if kind == "app" else app)
