"""Everything that can be allowed, and the one table that says who is allowed it.

Scopes are few because people choose them; capabilities are fine because code asks for them. Each endpoint of the
control API names the capability it needs. ``docs/access.md`` shows this table; a test walks every endpoint against it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from picloud.access.roles import AppRole, InstanceRole
from picloud.access.scopes import Scope


class Capability(StrEnum):
    """Something a caller may: in the installation (``Instance…``), in an app (``App…``), about itself (``Self…``)."""

    #: See who one is, and which apps there are for one; revoke the very key that asks.
    SELF = "Self"
    #: See, make and revoke one's own keys; one's own sessions and password. Not for every key: whoever stole one that
    #: may run scripts must not be able to lock its owner out.
    SELF_MANAGE_KEYS = "SelfManageKeys"
    SELF_MANAGE_SESSIONS = "SelfManageSessions"

    INSTANCE_READ = "InstanceRead"
    INSTANCE_CREATE_APPS = "InstanceCreateApps"
    INSTANCE_MANAGE_USERS = "InstanceManageUsers"
    INSTANCE_MANAGE_WORKERS = "InstanceManageWorkers"
    INSTANCE_MANAGE_DOMAINS = "InstanceManageDomains"
    INSTANCE_MANAGE_NETWORK = "InstanceManageNetwork"
    INSTANCE_READ_AUDIT = "InstanceReadAudit"

    APP_READ = "AppRead"
    APP_MANAGE = "AppManage"
    APP_MANAGE_MEMBERS = "AppManageMembers"
    APP_MANAGE_KEYS = "AppManageKeys"
    APP_REMOVE_DOMAINS = "AppRemoveDomains"
    APP_READ_AUDIT = "AppReadAudit"
    APP_READ_SCRIPTS = "AppReadScripts"
    APP_WRITE_SCRIPTS = "AppWriteScripts"
    APP_MANAGE_ROUTES = "AppManageRoutes"
    APP_INVOKE = "AppInvoke"
    APP_MANAGE_TRIGGERS = "AppManageTriggers"
    APP_MANAGE_QUEUES = "AppManageQueues"
    APP_READ_SECRETS = "AppReadSecrets"
    APP_MANAGE_SECRETS = "AppManageSecrets"
    APP_READ_DATA = "AppReadData"
    APP_WRITE_DATA = "AppWriteData"
    APP_READ_EXECUTIONS = "AppReadExecutions"
    APP_CANCEL_EXECUTIONS = "AppCancelExecutions"
    APP_DEAD_LETTER_READ = "AppDeadLetterRead"
    APP_DEAD_LETTER_MANAGE = "AppDeadLetterManage"


@dataclass(frozen=True, slots=True)
class Grant:
    """By what one capability is granted; a caller needs both.

    Attributes:
        role: the lowest role that has it: of the app for ``App…``, else of the installation.
        scopes: any one of them lets a key use it. Empty: every key may.
    """

    role: AppRole | InstanceRole
    scopes: frozenset[Scope]


def _instance(role: InstanceRole) -> Grant:
    return Grant(role, frozenset({Scope.INSTANCE_ADMIN}))


def _app(role: AppRole, *scopes: Scope) -> Grant:
    return Grant(role, frozenset(scopes))


_OF_APPS = (Scope.SCRIPT_READ, Scope.SCRIPT_INVOKE, Scope.DATA_WRITE, Scope.LOG_READ)

GRANTS: Mapping[Capability, Grant] = {
    Capability.SELF: Grant(InstanceRole.MEMBER, frozenset()),
    Capability.SELF_MANAGE_KEYS: Grant(InstanceRole.MEMBER, frozenset({Scope.APP_ADMIN})),
    Capability.SELF_MANAGE_SESSIONS: _instance(InstanceRole.MEMBER),
    Capability.INSTANCE_READ: _instance(InstanceRole.ADMIN),
    Capability.INSTANCE_CREATE_APPS: _instance(InstanceRole.ADMIN),
    Capability.INSTANCE_MANAGE_USERS: _instance(InstanceRole.ADMIN),
    Capability.INSTANCE_MANAGE_WORKERS: _instance(InstanceRole.ADMIN),
    # A domain is a claim on a name that is not PiCloud's to give: an instance admin approves it by mapping it.
    Capability.INSTANCE_MANAGE_DOMAINS: _instance(InstanceRole.ADMIN),
    Capability.INSTANCE_MANAGE_NETWORK: _instance(InstanceRole.ADMIN),
    Capability.INSTANCE_READ_AUDIT: _instance(InstanceRole.ADMIN),
    Capability.APP_READ: _app(AppRole.VIEWER, *_OF_APPS),
    Capability.APP_MANAGE: _app(AppRole.ADMIN, Scope.APP_ADMIN),
    Capability.APP_MANAGE_MEMBERS: _app(AppRole.ADMIN, Scope.APP_ADMIN),
    Capability.APP_MANAGE_KEYS: _app(AppRole.ADMIN, Scope.APP_ADMIN),
    Capability.APP_REMOVE_DOMAINS: _app(AppRole.ADMIN, Scope.APP_ADMIN),
    Capability.APP_READ_AUDIT: _app(AppRole.ADMIN, Scope.APP_ADMIN),
    Capability.APP_READ_SCRIPTS: _app(AppRole.VIEWER, Scope.SCRIPT_READ),
    Capability.APP_WRITE_SCRIPTS: _app(AppRole.EDITOR, Scope.SCRIPT_WRITE),
    Capability.APP_MANAGE_ROUTES: _app(AppRole.EDITOR, Scope.SCRIPT_WRITE),
    Capability.APP_INVOKE: _app(AppRole.EDITOR, Scope.SCRIPT_INVOKE),
    Capability.APP_MANAGE_TRIGGERS: _app(AppRole.EDITOR, Scope.APP_ADMIN),
    Capability.APP_MANAGE_QUEUES: _app(AppRole.EDITOR, Scope.APP_ADMIN),
    Capability.APP_READ_SECRETS: _app(AppRole.EDITOR, Scope.APP_ADMIN),
    Capability.APP_MANAGE_SECRETS: _app(AppRole.ADMIN, Scope.APP_ADMIN),
    Capability.APP_READ_DATA: _app(AppRole.VIEWER, Scope.DATA_WRITE),
    Capability.APP_WRITE_DATA: _app(AppRole.EDITOR, Scope.DATA_WRITE),
    Capability.APP_READ_EXECUTIONS: _app(AppRole.VIEWER, Scope.LOG_READ),
    Capability.APP_CANCEL_EXECUTIONS: _app(AppRole.EDITOR, Scope.APP_ADMIN),
    Capability.APP_DEAD_LETTER_READ: _app(AppRole.VIEWER, Scope.APP_ADMIN),
    Capability.APP_DEAD_LETTER_MANAGE: _app(AppRole.EDITOR, Scope.APP_ADMIN),
}
