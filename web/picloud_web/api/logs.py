"""Logs as they are written."""

import asyncio
import time

from picloud.access import Capability
from picloud.control import logs
from picloud.control.logs import LogPage
from picloud_web.api.endpoints import Call, Endpoints
from picloud_web.api.inputs import Paging, Seconds

api = Endpoints("logs")

_PAUSE_SECONDS = 0.5


class Follow(Paging, frozen=True):
    """What follows the cursor; `limit` counts attempts, whose lines stay together."""

    wait: Seconds = 0


@api.get("/logs", "/apps/{app}/logs", needs=Capability.APP_READ_EXECUTIONS)
async def follow_logs(call: Call, query: Follow) -> LogPage:
    """Logs after the cursor, oldest first; without one, the last there are.

    `next` is always there: pass it on to go on reading. With `wait` an empty answer comes only after that many
    seconds.
    """
    give_up_at = time.monotonic() + query.wait
    while True:
        async with call.reading() as connection:
            app_ids = await call.app_ids(connection)
            page = await logs.follow_logs(connection, app_ids=app_ids, limit=query.limit, after=query.after)
        left = give_up_at - time.monotonic()
        if page.items or left <= 0:
            return page
        await asyncio.sleep(min(_PAUSE_SECONDS, left))


ENDPOINTS = api.collected()
