"""Firing a source by hand."""

from typing import Annotated, Any

import falcon
import msgspec

from picloud.access import Capability
from picloud.control.emit import Emitted, Source, emit
from picloud.settings import KIB, MIB
from picloud_web.api.endpoints import Call, Endpoints
from picloud_web.api.inputs import Input, Name
from picloud_web.bodies import check_body

api = Endpoints("emit")

_MAX_EVENT_BYTES = 1 * MIB + 64 * KIB


class Emission(Input, frozen=True, kw_only=True):
    """What is to be fired; without `trigger`, every trigger that listens."""

    source: Source
    event: Annotated[dict[str, Any], msgspec.Meta(description="What happened, as scripts see it in `ctx.event`.")] = (
        msgspec.field(default_factory=dict[str, Any])
    )
    trigger: Name | None = None


@api.post("/apps/{app}/emit", needs=Capability.APP_MANAGE_TRIGGERS, max_body_bytes=_MAX_EVENT_BYTES)
async def emit_event(call: Call, body: Emission) -> Emitted:
    """Fire a source by hand: the triggers that listen run as if it had happened.

    When none does, `executions` is empty and `note` says why.
    """
    check_body(msgspec.json.encode(body.event), falcon.MEDIA_JSON)
    async with call.transaction() as connection:
        emitted = await emit(
            connection,
            call.app,
            call.principal,
            body.source,
            body.event,
            trigger=body.trigger,
            retry=call.services.settings.retry.policy(),
        )
        call.entry.object, call.entry.after = body.source, emitted
    if emitted.executions:
        await call.wake_relay()
    return emitted


ENDPOINTS = api.collected()
