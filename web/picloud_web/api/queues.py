"""Queues of an app; what waits of all sources is in ``system``."""

from picloud.access import Capability
from picloud.control import queues
from picloud.control.apps import find_app
from picloud.control.pages import Page
from picloud.control.queues import RemovedQueue, StoredQueue
from picloud_web.api.endpoints import Call, Endpoints
from picloud_web.api.inputs import Input, Paging, Removal, Text

api = Endpoints("queues")


class NewQueue(Input, frozen=True):
    """A queue to be made."""

    name: Text


@api.get("/apps/{app}/queues", needs=Capability.APP_READ)
async def list_queues(call: Call, query: Paging) -> Page[StoredQueue]:
    """The queues of an app, by name, with what is in them."""
    async with call.reading() as connection:
        return await queues.list_queues(connection, call.app, limit=query.limit, after=query.after)


@api.post("/apps/{app}/queues", needs=Capability.APP_MANAGE_QUEUES, statuses=(201,))
async def create_queue(call: Call, body: NewQueue) -> StoredQueue:
    """Make a queue; its messages wait until a trigger consumes it. One that is there already is answered 409."""
    async with call.transaction() as connection:
        made, _ = await queues.put_queue(connection, call.app, body.name, may_exist=False)
        call.entry.object = made.name
    return made


@api.get("/apps/{app}/queues/{queue:path}", needs=Capability.APP_READ)
async def show_queue(call: Call) -> StoredQueue:
    """One queue."""
    async with call.reading() as connection:
        return await queues.read_queue(connection, await find_app(connection, call.app), call.path["queue"])


@api.put("/apps/{app}/queues/{queue:path}", needs=Capability.APP_MANAGE_QUEUES, statuses=(200, 201))
async def put_queue(call: Call) -> StoredQueue:
    """Make a queue unless there is one."""
    async with call.transaction() as connection:
        queue, is_new = await queues.put_queue(connection, call.app, call.path["queue"])
        call.entry.is_void = not is_new
    call.status = 201 if is_new else 200
    return queue


@api.delete("/apps/{app}/queues/{queue:path}", needs=Capability.APP_MANAGE_QUEUES, statuses=(200,))
async def remove_queue(call: Call, query: Removal) -> RemovedQueue:
    """Remove a queue that no trigger consumes. Messages in it are answered 409, unless they are to be cancelled."""
    async with call.transaction() as connection:
        removed = await queues.remove_queue(
            connection, call.app, call.principal, call.path["queue"], cancels_waiting=query.cancel_waiting
        )
        call.entry.after = removed
        return removed


ENDPOINTS = api.collected()
