"""Dry runs of dead letters: waited for, as an invocation is."""

from typing import Any

from picloud.access import Capability
from picloud.control import dry_runs
from picloud.control.dry_runs import DryRun
from picloud.control.resolutions import VersionChoice
from picloud.errors import UnavailableError
from picloud.ids import new_id
from picloud_web.api.dead_letters import MAX_EVENT_BYTES
from picloud_web.api.endpoints import Call, Endpoints
from picloud_web.api.inputs import Input
from picloud_web.ingress import AppChangedError
from picloud_web.problems import status_of_code

api = Endpoints("dead letters")

_TRIES_WHILE_THE_APP_CHANGES = 3


class Trial(Input, frozen=True, kw_only=True):
    """What is tried: `event` in place of the letter's own, which stays as it is.

    HTTP calls other than GET and HEAD are made only `with_calls`.
    """

    version: VersionChoice = "current"
    event: dict[str, Any] | None = None
    with_calls: bool = False


@api.post(
    "/dead-letters/{id:uuid}/dry-run",
    "/apps/{app}/dead-letters/{id:uuid}/dry-run",
    needs=Capability.APP_DEAD_LETTER_MANAGE,
    max_body_bytes=MAX_EVENT_BYTES,
)
async def try_dead_letter(call: Call, body: Trial) -> DryRun:
    """Run a letter's event and tell what would be committed; nothing is.

    200 says that it ran: `status` and `error` say how it went. The letter stays as it is, resolved or not.
    """
    execution_id = new_id()
    for _ in range(_TRIES_WHILE_THE_APP_CHANGES):
        async with call.reading() as connection:
            arrival, timeout_ms = await dry_runs.arrival_of(
                connection,
                call.path["id"],
                execution_id,
                version=body.version,
                event=body.event,
                with_calls=body.with_calls,
                app_ids=await call.app_ids(connection),
            )
        try:
            reply = await call.services.dispatcher.run_sync(arrival, timeout_ms=timeout_ms)
        except AppChangedError:
            continue  # deployed between our look and the insert: look again
        except UnavailableError:
            call.execution_id = execution_id
            raise
        if reply.error is not None and status_of_code(str(reply.error.get("code"))) == 503:
            raise UnavailableError(str(reply.error.get("message")), code=str(reply.error.get("code")))
        return dry_runs.answer_of(reply)
    raise UnavailableError("the app is being deployed again and again")


ENDPOINTS = api.collected()
