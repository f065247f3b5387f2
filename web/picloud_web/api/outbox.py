"""Rows that still have to run."""

from typing import Literal
from uuid import UUID

import msgspec

from picloud.access import Capability
from picloud.broker import INBOX_ALIVE_SECONDS, OUTAGES, Reply, inbox_alive_key, inbox_key, script
from picloud.control import waiting
from picloud.control.pages import Page
from picloud.control.waiting import Row, RowDetail
from picloud_web.api.endpoints import Call, Endpoints
from picloud_web.api.inputs import Filtered, filters

api = Endpoints("outbox")

_REPLY = script("reply")


class OutboxFilters(Filtered, frozen=True, kw_only=True):
    """A page of rows."""

    status: Literal["pending", "published", "running", "held"] | None = None


class Cancelled(msgspec.Struct, frozen=True):
    """An execution that was taken back."""

    id: UUID
    status: Literal["cancelled"]


@api.get("/outbox", "/apps/{app}/outbox", needs=Capability.APP_READ_EXECUTIONS)
async def list_rows(call: Call, query: OutboxFilters) -> Page[Row]:
    """Rows still to run, the longest accepted first."""
    async with call.reading() as connection:
        wanted = await filters(call, connection, query, query.status)
        return await waiting.list_rows(connection, wanted, limit=query.limit, after=query.after)


@api.get("/outbox/{id:uuid}", "/apps/{app}/outbox/{id:uuid}", needs=Capability.APP_READ_EXECUTIONS)
async def show_row(call: Call) -> RowDetail:
    """One row with its event."""
    async with call.reading() as connection:
        return await waiting.read_row(connection, call.path["id"], app_ids=await call.app_ids(connection))


@api.post("/outbox/{id:uuid}/cancel", "/apps/{app}/outbox/{id:uuid}/cancel", needs=Capability.APP_CANCEL_EXECUTIONS)
async def cancel_row(call: Call) -> Cancelled:
    """Take a row back, whether it waits or runs. One that has ended is answered 409."""
    return await _cancel(call)


@api.delete(
    "/outbox/{id:uuid}", "/apps/{app}/outbox/{id:uuid}", needs=Capability.APP_CANCEL_EXECUTIONS, statuses=(200,)
)
async def delete_row(call: Call) -> Cancelled:
    """The same as `cancel`."""
    return await _cancel(call)


async def _cancel(call: Call) -> Cancelled:
    async with call.transaction() as connection:
        app_ids = await call.app_ids(connection)
        gone = await waiting.cancel(connection, call.path["id"], by=call.principal.name, app_ids=app_ids)
        call.entry.app = gone.app
    if gone.reply_to is not None:
        await _answer_waiter(call, gone.reply_to, gone.id)
    await call.wake_relay()  # the next row of its key may go
    return Cancelled(gone.id, "cancelled")


async def _answer_waiter(call: Call, inbox: str, execution_id: UUID) -> None:
    """Tell who waits for a sync run; unheard, they find the record at their deadline."""
    error = {"code": "cancelled", "message": f"cancelled by {call.principal.name}"}
    reply = Reply(execution_id, "cancelled", error=error)
    keys = (inbox_key(inbox), inbox_alive_key(inbox))
    try:
        await call.services.redis.eval(_REPLY, 2, *keys, str(INBOX_ALIVE_SECONDS), reply.encode())
    except OUTAGES:
        pass


ENDPOINTS = api.collected()
