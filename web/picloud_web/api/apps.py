"""Apps, their domains, and the private addresses their scripts may call."""

from typing import Annotated

import msgspec

from picloud.access import Capability
from picloud.control import apps, http_allowed
from picloud.control.apps import App, Domain, RemovedApp
from picloud.control.pages import Page
from picloud_web.api.conditions import IfMatch
from picloud_web.api.endpoints import Call, Endpoints
from picloud_web.api.inputs import Input, Name, Paging, Text

api = Endpoints("apps")


class NewApp(Input, frozen=True):
    """An app to be made; its name is also a host name."""

    name: Name


class NewDomain(Input, frozen=True):
    """A host name to be mapped to an app."""

    domain: Name


Entries = Annotated[list[Text], msgspec.Meta(max_length=http_allowed.MOST_ENTRIES)]


class Allowed(Input, frozen=True):
    """Private addresses: `192.168.1.50`, `192.168.1.0/24`, `nas.lan`, `*.lan`."""

    allowed: Entries


class AllowedChange(Input, frozen=True):
    """What to add to a list of private addresses, and what to take from it."""

    allow: Entries = msgspec.field(default_factory=list[str])
    forbid: Entries = msgspec.field(default_factory=list[str])


@api.get("/apps", needs=Capability.SELF)
async def list_apps(call: Call, query: Paging) -> Page[App]:
    """The apps the caller may see, by name."""
    async with call.reading() as connection:
        visible = call.caller.sight(Capability.APP_READ)
        return await apps.list_apps(connection, limit=query.limit, after=query.after, ids=visible)


@api.post("/apps", needs=Capability.INSTANCE_CREATE_APPS, statuses=(201,))
async def create_app(call: Call, body: NewApp) -> App:
    """Make an empty app."""
    async with call.transaction() as connection:
        made = await apps.create_app(connection, call.principal, body.name)
        call.entry.app = made.name
    call.headers["Location"] = f"/api/v1/apps/{made.name}"
    return made


@api.get("/apps/{app}", needs=Capability.APP_READ)
async def show_app(call: Call) -> App:
    """One app."""
    async with call.reading() as connection:
        return await apps.read_app(connection, call.app)


@api.delete("/apps/{app}", needs=Capability.APP_MANAGE, statuses=(200,))
async def remove_app(call: Call, headers: IfMatch) -> RemovedApp:
    """Remove an app with everything it holds.

    What waits or runs ends as `cancelled`; executions stay as history until they are too old.
    """
    async with call.transaction() as connection:
        await apps.lock_app_to_remove(connection, call.app)
        call.entry.before = before = await apps.read_app(connection, call.app)
        headers.require(before)
        return await apps.remove_app(connection, call.app)


@api.post("/apps/{app}/pause", needs=Capability.APP_MANAGE)
async def pause_app(call: Call) -> App:
    """Stop an app: its requests are answered 503, its rows wait; what runs goes on."""
    async with call.transaction() as connection:
        return await apps.pause_app(connection, call.app)


@api.post("/apps/{app}/resume", needs=Capability.APP_MANAGE)
async def resume_app(call: Call) -> App:
    """Let a paused app go on with what waits."""
    async with call.transaction() as connection:
        resumed = await apps.resume_app(connection, call.app)
    await call.wake_relay()
    return resumed


@api.get("/apps/{app}/domains", needs=Capability.APP_READ)
async def list_domains(call: Call) -> Page[Domain]:
    """The domains mapped to an app."""
    async with call.reading() as connection:
        return await apps.list_domains(connection, call.app)


@api.post("/apps/{app}/domains", needs=Capability.INSTANCE_MANAGE_DOMAINS, statuses=(201,))
async def add_domain(call: Call, body: NewDomain) -> Domain:
    """Map a domain to an app. PiCloud's own names, localhost and IP addresses are refused."""
    async with call.transaction() as connection:
        call.entry.object = body.domain
        return await apps.add_domain(connection, call.app, body.domain, call.services.settings)


@api.delete("/apps/{app}/domains/{domain}", needs=Capability.APP_REMOVE_DOMAINS)
async def remove_domain(call: Call) -> None:
    """Take a domain away from an app."""
    async with call.transaction() as connection:
        await apps.remove_domain(connection, call.app, call.path["domain"])


@api.get("/apps/{app}/http-allowed", needs=Capability.APP_READ)
async def show_allowed(call: Call) -> Allowed:
    """The private addresses that scripts of an app may call."""
    async with call.reading() as connection:
        return Allowed(allowed=await http_allowed.read_allowed(connection, call.app))


@api.put("/apps/{app}/http-allowed", needs=Capability.INSTANCE_MANAGE_NETWORK)
async def replace_allowed(call: Call, body: Allowed) -> Allowed:
    """Say which private addresses scripts of an app may call. Only for instance admins.

    It holds for runs that begin from now on. Loopback, link-local and metadata addresses, and the hosts of PiCloud
    itself, are refused whatever the list says.
    """
    async with call.transaction() as connection:
        call.entry.before = await http_allowed.read_allowed(connection, call.app)
        entries = await http_allowed.replace_allowed(connection, call.principal, call.app, body.allowed)
        call.entry.after = entries
    return Allowed(allowed=entries)


@api.patch("/apps/{app}/http-allowed", needs=Capability.INSTANCE_MANAGE_NETWORK)
async def change_allowed(call: Call, body: AllowedChange) -> Allowed:
    """Add to the list and take from it. What is to be forbidden and is not on it is answered 404.

    Only for instance admins.
    """
    async with call.transaction() as connection:
        call.entry.before = await http_allowed.read_allowed(connection, call.app)
        entries = await http_allowed.change_allowed(
            connection, call.principal, call.app, allow=body.allow, forbid=body.forbid
        )
        call.entry.after = entries
    return Allowed(allowed=entries)


ENDPOINTS = api.collected()
