"""Queues, workers, the books, the totals."""

from typing import Annotated
from uuid import UUID

import msgspec

from picloud.access import Capability
from picloud.broker import ASYNC_LIST, OUTAGES, SYNC_LIST, worker_alive_key
from picloud.control import system
from picloud.control.pages import Page
from picloud.control.records import Connection
from picloud.control.system import Books, Broker, Queues, Stats, Throughput, Worker
from picloud_web.api.endpoints import Call, Endpoints
from picloud_web.api.inputs import Input, Text, wanted_app_ids

api = Endpoints("system")


class OneApp(Input, frozen=True, kw_only=True):
    """What an overview is narrowed to."""

    app: Text | None = None


class Window(Input, frozen=True, kw_only=True):
    """The seconds that are counted: the last ones."""

    seconds: Annotated[float, msgspec.Meta(ge=0.1, le=3_600)] = 10.0


@api.get("/queues", needs=Capability.APP_READ_EXECUTIONS)
async def show_queues(call: Call, query: OneApp) -> Queues:
    """What waits per app and source, what lies in the broker, and who runs it (for instance admins)."""
    async with call.reading() as connection:
        waiting = await system.read_queues(connection, app_ids=await wanted_app_ids(call, connection, query.app))
        workers = await _workers(call, connection) if call.caller.may(Capability.INSTANCE_READ) else []
    return Queues(waiting, await _broker(call), workers)


@api.get("/system/workers", needs=Capability.INSTANCE_READ)
async def list_workers(call: Call) -> Page[Worker]:
    """Every worker process that is not yet forgotten."""
    async with call.reading() as connection:
        return Page(await _workers(call, connection), None)


@api.post("/system/workers/{id:uuid}/drain", needs=Capability.INSTANCE_MANAGE_WORKERS)
async def drain_worker(call: Call) -> Worker:
    """Let a worker process end what it runs and begin nothing more."""
    async with call.transaction() as connection:
        return await system.drain_worker(connection, call.path["id"])


@api.get("/system/books", needs=Capability.INSTANCE_READ)
async def show_books(call: Call) -> Books:
    """Everything ever accepted and what became of it, read in one snapshot."""
    async with call.reading() as connection:
        return await system.read_books(connection)


@api.get("/system/throughput", needs=Capability.INSTANCE_READ)
async def show_throughput(call: Call, query: Window) -> Throughput:
    """What was accepted and what ended within the last seconds."""
    async with call.reading() as connection:
        return await system.read_throughput(connection, query.seconds)


@api.get("/system/stats", needs=Capability.INSTANCE_READ)
async def show_stats(call: Call) -> Stats:
    """The totals of the installation."""
    async with call.reading() as connection:
        return await system.read_stats(connection)


async def _workers(call: Call, connection: Connection) -> list[Worker]:
    return await system.read_workers(connection, await _listening(call, await system.read_worker_ids(connection)))


async def _listening(call: Call, ids: list[UUID]) -> set[UUID]:
    if not ids:
        return set()
    try:
        alive = await call.services.redis.mget([worker_alive_key(worker_id) for worker_id in ids])
    except OUTAGES:
        return set()
    return {worker_id for worker_id, value in zip(ids, alive, strict=True) if value is not None}


async def _broker(call: Call) -> Broker:
    try:
        sync, async_ = [await call.services.redis.llen(name) for name in (SYNC_LIST, ASYNC_LIST)]
    except OUTAGES:
        return Broker(is_up=False, sync=0, async_=0)
    return Broker(is_up=True, sync=sync, async_=async_)


ENDPOINTS = api.collected()
