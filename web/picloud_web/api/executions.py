"""What ran and what runs."""

import asyncio
import time
from uuid import UUID

from picloud.control import executions, logs, system
from picloud.control.apps import find_app
from picloud.control.executions import Execution, ExecutionDetail, Status
from picloud.control.logs import LogLine
from picloud.control.pages import Page
from picloud.control.records import Connection
from picloud.control.system import AbandonedExecution
from picloud_web.api.endpoints import Call, Endpoints
from picloud_web.api.inputs import Filtered, Input, Paging, Seconds, filters

api = Endpoints("executions")

#: A waiting caller costs one index look-up a turn; the turns get longer.
_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 1.0


class ExecutionFilters(Filtered, frozen=True, kw_only=True):
    """A page of executions."""

    status: Status | None = None


class Wait(Input, frozen=True):
    """How long to wait for an end."""

    wait: Seconds = 0


class Limited(Input, frozen=True):
    """Nothing to choose."""


@api.get("/executions", "/apps/{app}/executions")
async def list_executions(call: Call, query: ExecutionFilters) -> Page[Execution]:
    """Executions, newest first; those that still wait or run are among them."""
    async with call.reading() as connection:
        wanted = await filters(connection, query, call.path.get("app"), query.status)
        return await executions.list_executions(connection, wanted, limit=query.limit, after=query.after)


@api.get("/executions/{id:uuid}", "/apps/{app}/executions/{id:uuid}")
async def show_execution(call: Call, query: Wait) -> ExecutionDetail:
    """One execution with its result and logs.

    With `wait` the answer comes when it has ended, or after that many seconds as it then is.
    """
    execution_id: UUID = call.path["id"]
    give_up_at = time.monotonic() + query.wait
    pause = _FIRST_PAUSE_SECONDS
    while True:
        async with call.reading() as connection:
            left = give_up_at - time.monotonic()
            if left <= 0 or pause == _FIRST_PAUSE_SECONDS or await executions.has_ended(connection, execution_id):
                found = await executions.read_execution(
                    connection, execution_id, app_id=await _app_id(call, connection)
                )
                if left <= 0 or found.finished_at is not None:
                    return found
        await asyncio.sleep(min(pause, left))
        pause = min(pause * 1.5, _LONGEST_PAUSE_SECONDS)


@api.get("/executions/{id:uuid}/logs", "/apps/{app}/executions/{id:uuid}/logs")
async def show_logs(call: Call) -> Page[LogLine]:
    """What one execution logged, in all its attempts."""
    async with call.reading() as connection:
        await executions.read_execution(connection, call.path["id"], app_id=await _app_id(call, connection))
        return Page(await logs.read_logs(connection, call.path["id"]), None)


@api.get("/executions/{id:uuid}/tree", "/apps/{app}/executions/{id:uuid}/tree")
async def show_tree(call: Call, query: Paging) -> Page[Execution]:
    """Everything that goes back to the same first cause, oldest first, each with its `trigger_depth`."""
    async with call.reading() as connection:
        app_id = await _app_id(call, connection)
        return await executions.read_tree(
            connection, call.path["id"], limit=query.limit, after=query.after, app_id=app_id
        )


@api.get("/abandoned-executions", "/apps/{app}/abandoned-executions")
async def list_abandoned(call: Call, query: Filtered) -> Page[AbandonedExecution]:
    """Sync runs whose answer nobody waited for any more, newest first."""
    async with call.reading() as connection:
        wanted = await filters(connection, query, call.path.get("app"))
        return await system.list_abandoned(connection, wanted, limit=query.limit, after=query.after)


async def _app_id(call: Call, connection: Connection) -> int | None:
    app = call.path.get("app")
    return None if app is None else (await find_app(connection, app)).id


ENDPOINTS = api.collected()
