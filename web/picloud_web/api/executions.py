"""What ran and what runs."""

import asyncio
import time
from uuid import UUID

from picloud.access import Capability
from picloud.control import executions, logs, system
from picloud.control.executions import Execution, ExecutionDetail, Status, TreeNode
from picloud.control.logs import LogLine
from picloud.control.pages import Page
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


@api.get("/executions", "/apps/{app}/executions", needs=Capability.APP_READ_EXECUTIONS)
async def list_executions(call: Call, query: ExecutionFilters) -> Page[Execution]:
    """Executions, newest first; those that still wait or run are among them."""
    async with call.reading() as connection:
        wanted = await filters(call, connection, query, query.status)
        return await executions.list_executions(connection, wanted, limit=query.limit, after=query.after)


@api.get("/executions/{id:uuid}", "/apps/{app}/executions/{id:uuid}", needs=Capability.APP_READ_EXECUTIONS)
async def show_execution(call: Call, query: Wait) -> ExecutionDetail:
    """One execution with its result and logs.

    With `wait` the answer comes when it has ended, or after that many seconds as it then is.
    """
    found = await _read(call)
    if query.wait and found.finished_at is None:
        await _wait_for_end(call, found.id, query.wait)
        found = await _read(call)
    return found


async def _read(call: Call) -> ExecutionDetail:
    async with call.reading() as connection:
        app_ids = await call.app_ids(connection)
        return await executions.read_execution(connection, call.path["id"], app_ids=app_ids)


async def _wait_for_end(call: Call, execution_id: UUID, most_seconds: float) -> None:
    give_up_at = time.monotonic() + most_seconds
    pause = _FIRST_PAUSE_SECONDS
    while (left := give_up_at - time.monotonic()) > 0:
        await asyncio.sleep(min(pause, left))
        pause = min(pause * 1.5, _LONGEST_PAUSE_SECONDS)
        async with call.reading() as connection:
            if await executions.has_ended(connection, execution_id):
                return


@api.get("/executions/{id:uuid}/logs", "/apps/{app}/executions/{id:uuid}/logs", needs=Capability.APP_READ_EXECUTIONS)
async def show_logs(call: Call) -> Page[LogLine]:
    """What one execution logged, in all its attempts."""
    async with call.reading() as connection:
        await executions.require(connection, call.path["id"], app_ids=await call.app_ids(connection))
        return Page(await logs.read_logs(connection, call.path["id"]), None)


@api.get("/executions/{id:uuid}/tree", "/apps/{app}/executions/{id:uuid}/tree", needs=Capability.APP_READ_EXECUTIONS)
async def show_tree(call: Call, query: Paging) -> Page[TreeNode]:
    """Everything that goes back to the same first cause, oldest first, with what caused it and its depth.

    What still waits or runs is among it. `parent_execution_id` may name an execution that history no longer has.
    """
    async with call.reading() as connection:
        app_ids = await call.app_ids(connection)
        return await executions.read_tree(
            connection, call.path["id"], limit=query.limit, after=query.after, app_ids=app_ids
        )


@api.get("/abandoned-executions", "/apps/{app}/abandoned-executions", needs=Capability.APP_READ_EXECUTIONS)
async def list_abandoned(call: Call, query: Filtered) -> Page[AbandonedExecution]:
    """Sync runs whose answer nobody waited for any more, newest first."""
    async with call.reading() as connection:
        wanted = await filters(call, connection, query)
        return await system.list_abandoned(connection, wanted, limit=query.limit, after=query.after)


ENDPOINTS = api.collected()
