"""Routes of an app."""

from typing import Annotated, Literal

import msgspec

from picloud.access import Capability
from picloud.control import routes
from picloud.control.apps import find_app
from picloud.control.pages import Page
from picloud.control.routes import Route
from picloud_web.api.endpoints import Call, Endpoints
from picloud_web.api.inputs import Input, Name, Paging, Text

api = Endpoints("routes")


class NewRoute(Input, frozen=True):
    """A route to be added; `script` is the script's name.

    Attributes:
        auth: what it asks of its callers, as in a manifest: `none`, `api_key`, `{"kind": "github", "secret": "NAME"}`.
    """

    method: Name
    path: Name
    script: Name
    dispatch_mode: Literal["sync", "async"] = "sync"
    auth: Text | Annotated[dict[Name, Text], msgspec.Meta(max_length=10)] = "none"


@api.get("/apps/{app}/routes", needs=Capability.APP_READ)
async def list_routes(call: Call, query: Paging) -> Page[Route]:
    """The routes of an app."""
    async with call.reading() as connection:
        return await routes.list_routes(connection, call.app, limit=query.limit, after=query.after)


@api.post("/apps/{app}/routes", needs=Capability.APP_MANAGE_ROUTES, statuses=(201,))
async def create_route(call: Call, body: NewRoute) -> Route:
    """Add a route. One that answers the same requests as another is refused."""
    async with call.transaction() as connection:
        made = await routes.create_route(
            connection,
            call.app,
            method=body.method,
            path=body.path,
            script=body.script,
            mode=body.dispatch_mode,
            auth=body.auth,
        )
        call.entry.object, call.entry.after = f"{made.method} {made.path}", made
        return made


@api.get("/apps/{app}/routes/{id:int}", needs=Capability.APP_READ)
async def show_route(call: Call) -> Route:
    """One route."""
    async with call.reading() as connection:
        return await routes.read_route(connection, await find_app(connection, call.app), call.path["id"])


@api.delete("/apps/{app}/routes/{id:int}", needs=Capability.APP_MANAGE_ROUTES)
async def remove_route(call: Call) -> None:
    """Remove a route."""
    async with call.transaction() as connection:
        route = await routes.read_route(connection, await find_app(connection, call.app), call.path["id"])
        call.entry.object, call.entry.before = f"{route.method} {route.path}", route
        await routes.remove_route(connection, call.app, call.path["id"])


ENDPOINTS = api.collected()
