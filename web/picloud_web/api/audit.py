"""The audit log."""

from picloud.access import Capability
from picloud.control import audit
from picloud.control.audit import AuditEntry, AuditFilters
from picloud.control.pages import Page
from picloud_web.api.endpoints import Call, Endpoints
from picloud_web.api.inputs import Instant, Paging, Text

api = Endpoints("audit log")


class AppAuditQuery(Paging, frozen=True, kw_only=True):
    """A page of the audit log of one app."""

    principal: Text | None = None
    action: Text | None = None
    object: Text | None = None
    since: Instant | None = None


class AuditQuery(AppAuditQuery, frozen=True, kw_only=True):
    """A page of the audit log."""

    app: Text | None = None


@api.get("/audit", needs=Capability.INSTANCE_READ_AUDIT)
async def list_audit_log(call: Call, query: AuditQuery) -> Page[AuditEntry]:
    """Who did what to which object, newest first."""
    return await _list(call, query, query.app)


@api.get("/audit/{id:int}", needs=Capability.INSTANCE_READ_AUDIT)
async def show_audit_entry(call: Call) -> AuditEntry:
    """One entry of the audit log."""
    async with call.reading() as connection:
        return await audit.read_entry(connection, call.path["id"])


@api.get("/apps/{app}/audit", needs=Capability.APP_READ_AUDIT)
async def list_app_audit_log(call: Call, query: AppAuditQuery) -> Page[AuditEntry]:
    """Who did what in one app, newest first."""
    return await _list(call, query, call.app)


async def _list(call: Call, query: AppAuditQuery, app: str | None) -> Page[AuditEntry]:
    wanted = AuditFilters(
        apps=None if app is None else [app],
        principal=query.principal,
        action=query.action,
        object=query.object,
        since=query.since,
    )
    async with call.reading() as connection:
        return await audit.list_entries(connection, wanted, limit=query.limit, after=query.after)


ENDPOINTS = api.collected()
