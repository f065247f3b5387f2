"""Members of an app."""

from picloud.access import AppRole, Capability
from picloud.control.pages import Page
from picloud.identity import members
from picloud.identity.members import Member
from picloud_web.api.endpoints import Call, Endpoints
from picloud_web.api.inputs import Input, Paging

api = Endpoints("members")


class MemberRole(Input, frozen=True, kw_only=True):
    """What somebody shall be in an app."""

    role: AppRole


@api.get("/apps/{app}/members", needs=Capability.APP_READ)
async def list_members(call: Call, query: Paging) -> Page[Member]:
    """The members of an app, by name. Admins of the installation are admins of every app without being listed."""
    async with call.reading() as connection:
        return await members.list_members(connection, call.app, limit=query.limit, after=query.after)


@api.get("/apps/{app}/members/{name}", needs=Capability.APP_READ)
async def show_member(call: Call) -> Member:
    """One member of an app."""
    async with call.reading() as connection:
        return await members.read_member(connection, call.app, call.path["name"])


@api.put("/apps/{app}/members/{name}", needs=Capability.APP_MANAGE_MEMBERS, statuses=(200, 201))
async def put_member(call: Call, body: MemberRole) -> Member:
    """Make somebody a member of an app, or give a member another role."""
    async with call.transaction() as connection:
        before, after = await members.put_member(connection, call.app, call.path["name"], body.role)
        call.entry.before, call.entry.after = before, after
        call.entry.is_void = before == after
    call.status = 200 if before else 201
    return after


@api.delete("/apps/{app}/members/{name}", needs=Capability.APP_MANAGE_MEMBERS)
async def remove_member(call: Call) -> None:
    """End somebody's membership. The last member may go: admins of the installation remain."""
    async with call.transaction() as connection:
        call.entry.before = await members.remove_member(connection, call.app, call.path["name"])


ENDPOINTS = api.collected()
