"""Scripts, their versions, and running one."""

import datetime as dt
from typing import Annotated, Any, Literal
from uuid import UUID

import falcon
import msgspec

from picloud.access import Capability
from picloud.broker import Reply
from picloud.control import scripts
from picloud.control.apps import AppRow, find_app, lock_app
from picloud.control.executions import shown_result
from picloud.control.pages import Page
from picloud.control.records import Connection
from picloud.control.scripts import RemovedScript, Script, Version
from picloud.control.trigger_rows import lock_app_and_rows
from picloud.errors import CapacityError, NotFoundError, UnavailableError
from picloud.ids import new_id
from picloud.outbox.accept import ONE_ATTEMPT, Arrival
from picloud.settings import KIB, MIB
from picloud_web.api.conditions import IfMatch
from picloud_web.api.endpoints import Call, Endpoints
from picloud_web.api.inputs import Input, Name, Paging, Removal
from picloud_web.bodies import check_body
from picloud_web.ingress import AppChangedError
from picloud_web.problems import status_of_code

api = Endpoints("scripts")

_MAX_SOURCE_BYTES = 2 * MIB
_MAX_ARGS_BYTES = 1 * MIB + 64 * KIB


Positive = Annotated[int, msgspec.Meta(ge=1)]


class Limits(Input, frozen=True, omit_defaults=True, kw_only=True):
    """What a version may spend; the platform's ceilings hold besides."""

    timeout_seconds: Annotated[float, msgspec.Meta(ge=0.001)] | None = None
    max_operations: Positive | None = None
    max_memory_bytes: Positive | None = None
    max_call_depth: Positive | None = None
    max_string_bytes: Positive | None = None
    max_array_length: Positive | None = None
    max_map_length: Positive | None = None


Source = Annotated[str, msgspec.Meta(max_length=_MAX_SOURCE_BYTES)]


class NewVersion(Input, frozen=True, kw_only=True):
    """A script as it shall be; without `limits` it keeps those it has."""

    source: Source
    limits: Limits | None = None


class NewScript(NewVersion, frozen=True, kw_only=True):
    """A script to be made."""

    name: Name


class Rollback(Input, frozen=True):
    """Where to go back to; without `version`, to the one before the current one."""

    version: Annotated[int, msgspec.Meta(ge=1, le=2_147_483_647)] | None = None


class Invocation(Input, frozen=True):
    """What to run a script with."""

    args: Any = None
    mode: Literal["sync", "async"] = "sync"


class Invoked(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What came of an invocation.

    Attributes:
        status: `completed` or `failed`; absent when it was only accepted (202).
        result: as in an execution.
    """

    execution_id: UUID
    accepted_at: dt.datetime | msgspec.UnsetType = msgspec.UNSET
    status: str | msgspec.UnsetType = msgspec.UNSET
    result: Any = msgspec.UNSET
    error: Any = msgspec.UNSET


@api.get("/apps/{app}/scripts", needs=Capability.APP_READ_SCRIPTS)
async def list_scripts(call: Call, query: Paging) -> Page[Script]:
    """The scripts of an app, by name, without their sources."""
    async with call.reading() as connection:
        return await scripts.list_scripts(connection, call.app, limit=query.limit, after=query.after)


@api.post(
    "/apps/{app}/scripts", needs=Capability.APP_WRITE_SCRIPTS, statuses=(201, 200), max_body_bytes=_MAX_SOURCE_BYTES
)
async def create_script(call: Call, body: NewScript) -> Script:
    """Make a script, or give the one of this name a new version."""
    return await _put(call, body.name, body)


@api.get("/apps/{app}/scripts/{name:path}", needs=Capability.APP_READ_SCRIPTS)
async def show_script(call: Call) -> Script:
    """One script with the source that runs now."""
    async with call.reading() as connection:
        return await scripts.show_script(connection, await find_app(connection, call.app), call.path["name"])


@api.put(
    "/apps/{app}/scripts/{name:path}",
    needs=Capability.APP_WRITE_SCRIPTS,
    statuses=(200, 201),
    max_body_bytes=_MAX_SOURCE_BYTES,
)
async def put_script(call: Call, headers: IfMatch, body: NewVersion) -> Script:
    """Write a new version of a script, or its first.

    Compiled before anything is written. The same source and limits as now write nothing.
    """
    return await _put(call, call.path["name"], body, headers)


async def _put(call: Call, name: str, wanted: NewVersion, condition: IfMatch | None = None) -> Script:
    limits = None if wanted.limits is None else msgspec.to_builtins(wanted.limits)
    wish = scripts.Wish(name, wanted.source, limits)
    async with call.transaction() as connection:
        if condition is not None and condition.is_given:
            await _require_unchanged(connection, await lock_app(connection, call.app), name, condition)
        script, is_new = await scripts.put_script(
            connection, call.app, call.principal, wish, call.services.settings.sandbox
        )
        call.entry.object, call.entry.after = script.name, {"version": script.version, "sha256": script.sha256}
    call.status = 201 if is_new else 200
    return script


@api.delete("/apps/{app}/scripts/{name:path}", needs=Capability.APP_WRITE_SCRIPTS, statuses=(200,))
async def remove_script(call: Call, query: Removal, headers: IfMatch) -> RemovedScript:
    """Remove a script that no route and no trigger uses. What was accepted for it still runs, or is cancelled."""
    async with call.transaction() as connection:
        if headers.is_given:
            app = await lock_app_and_rows(connection, call.app)
            await _require_unchanged(connection, app, call.path["name"], headers)
        removed = await scripts.remove_script(
            connection, call.app, call.principal, call.path["name"], cancels_waiting=query.cancel_waiting
        )
        call.entry.after = removed
    await call.wake_relay()
    return removed


async def _require_unchanged(connection: Connection, app: AppRow, name: str, condition: IfMatch) -> None:
    """Raises: ConflictError: the script is no longer what the caller has seen. The app is locked."""
    try:
        condition.require(await scripts.read_script(connection, app, name))
    except NotFoundError:
        condition.require(None)


@api.get("/apps/{app}/scripts/{name:path}/versions", needs=Capability.APP_READ_SCRIPTS)
async def list_versions(call: Call, query: Paging) -> Page[Version]:
    """The versions of a script, newest first, without their sources."""
    async with call.reading() as connection:
        app = await find_app(connection, call.app)
        return await scripts.list_versions(connection, app, call.path["name"], limit=query.limit, after=query.after)


@api.get("/apps/{app}/scripts/{name:path}/versions/{version:int}", needs=Capability.APP_READ_SCRIPTS)
async def show_version(call: Call) -> Version:
    """One version of a script with its source."""
    async with call.reading() as connection:
        app = await find_app(connection, call.app)
        return await scripts.read_version(connection, app, call.path["name"], call.path["version"])


@api.post("/apps/{app}/scripts/{name:path}/rollback", needs=Capability.APP_WRITE_SCRIPTS)
async def rollback(call: Call, body: Rollback) -> Script:
    """Make an earlier version of a script current again; no version is lost."""
    async with call.transaction() as connection:
        before = await scripts.read_script(connection, await find_app(connection, call.app), call.path["name"])
        script = await scripts.rollback(
            connection, call.app, call.path["name"], body.version, call.services.settings.sandbox
        )
        call.entry.before, call.entry.after = {"version": before.version}, {"version": script.version}
        return script


@api.post(
    "/apps/{app}/scripts/{name:path}/invoke",
    needs=Capability.APP_INVOKE,
    statuses=(200, 202),
    max_body_bytes=_MAX_ARGS_BYTES,
)
async def invoke(call: Call, body: Invocation) -> Invoked:
    """Run a script with arguments, and wait for what it returns (`sync`) or not (`async`).

    200 says that the script ran: `status` and `error` say how it went. 503 and 504 are problems: it did not run,
    or nobody knows yet how it ended.
    """
    execution_id = new_id()
    for _ in range(_TRIES_WHILE_THE_APP_CHANGES):
        arrival, timeout_ms = await _arrival(call, execution_id, body)
        try:
            if body.mode == "async":
                return await _accept(call, arrival)
            return _answer(await call.services.dispatcher.run_sync(arrival, timeout_ms=timeout_ms))
        except AppChangedError:
            continue  # deployed between our look and the insert: look again
        except UnavailableError:
            call.execution_id = execution_id
            raise
    raise UnavailableError(f"{call.app} is being deployed again and again")


_TRIES_WHILE_THE_APP_CHANGES = 3


async def _arrival(call: Call, execution_id: UUID, body: Invocation) -> tuple[Arrival, int]:
    async with call.reading() as connection:
        app = await find_app(connection, call.app)
        if app.paused:
            raise CapacityError(f"{app.name} is paused", retry_after_seconds=30, code="app_paused")
        script = await scripts.read_script(connection, app, call.path["name"])
    event = msgspec.json.encode({"args": body.args})
    check_body(event, falcon.MEDIA_JSON)
    is_async = body.mode == "async"
    arrival = Arrival(
        id=execution_id,
        app_id=app.id,
        app_revision=app.revision,
        script_id=script.id,
        source="invoke",
        principal_id=call.principal.id,
        event=event,
        retry=call.services.settings.retry.policy() if is_async else ONE_ATTEMPT,
    )
    return arrival, round(script.timeout_seconds * 1_000)


async def _accept(call: Call, arrival: Arrival) -> Invoked:
    accepted_at = await call.services.dispatcher.accept_async(arrival)
    call.status = 202
    call.headers["Location"] = f"/api/v1/executions/{arrival.id}"
    return Invoked(execution_id=arrival.id, accepted_at=accepted_at.astimezone(dt.UTC))


def _answer(reply: Reply) -> Invoked:
    """A reply as an answer; a run that never began, or whose end nobody knows, is a problem."""
    if reply.error is not None and status_of_code(str(reply.error.get("code"))) == 503:
        raise UnavailableError(str(reply.error.get("message")), code=str(reply.error.get("code")))
    headers = msgspec.json.encode(reply.http_headers)
    return Invoked(
        execution_id=reply.execution_id,
        status=reply.status,
        result=shown_result(reply.result_kind, reply.data, reply.http_status, headers),
        error=reply.error,
    )


ENDPOINTS = api.collected()
