"""Dead letters."""

from typing import Annotated, Any
from uuid import UUID

import msgspec

from picloud.control import dead_letters
from picloud.control.dead_letters import DeadLetter, DeadLetterDetail, Replayed, Resolution, Selection
from picloud.control.pages import Page
from picloud.settings import MIB
from picloud_web.api.endpoints import Call, Endpoints
from picloud_web.api.inputs import Filtered, Input, Instant, Text, filters, wanted_app_id

api = Endpoints("dead letters")

_MAX_EVENT_BYTES = 8 * MIB
#: Letters replayed in one transaction.
_BATCH = 500


class DeadLetterFilters(Filtered, frozen=True, kw_only=True):
    """A page of dead letters."""

    resolution: Resolution | None = None


class ReplayMany(Input, frozen=True, kw_only=True):
    """Which open letters are meant: those that fit everything that is given. Nothing given: all."""

    ids: Annotated[list[UUID], msgspec.Meta(max_length=1_000)] | None = None
    app: Text | None = None
    script: Text | None = None
    source: Text | None = None
    resolution: Resolution | None = None
    since: Instant | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 1_000
    dry_run: bool = False


class ReplayedMany(msgspec.Struct, frozen=True):
    """What a replay of many did.

    Attributes:
        matched: open letters that fit, before this call; more than `limit` are left for another one.
        replayed: in the order in which they will run; empty in a dry run.
    """

    dry_run: bool
    matched: int
    replayed: list[Replayed]


class Ignore(Input, frozen=True):
    """Why nothing is to be done."""

    reason: Text | None = None


class Edit(Input, frozen=True):
    """The event a replay shall run; `body` in it is the body of an HTTP request."""

    event: dict[str, Any]


@api.get("/dead-letters", "/apps/{app}/dead-letters")
async def list_dead_letters(call: Call, query: DeadLetterFilters) -> Page[DeadLetter]:
    """Dead letters, newest first, without their events."""
    async with call.reading() as connection:
        wanted = await filters(call, connection, query, query.resolution)
        return await dead_letters.list_dead_letters(connection, wanted, limit=query.limit, after=query.after)


@api.post("/dead-letters/replay", "/apps/{app}/dead-letters/replay")
async def replay_many(call: Call, body: ReplayMany) -> ReplayedMany:
    """Replay every open letter that fits, what died first first; `dry_run` only counts them.

    Those whose script is no longer there stay as they are.
    """
    async with call.reading() as connection:
        wanted = Selection(
            app_id=await wanted_app_id(call, connection, body.app),
            script=body.script,
            source=body.source,
            resolution=body.resolution,
            since=body.since,
            ids=body.ids,
        )
        matched = await dead_letters.count_replayable(connection, wanted)
        chosen = [] if body.dry_run else await dead_letters.find_replayable(connection, wanted, limit=body.limit)
    done: list[Replayed] = []
    for start in range(0, len(chosen), _BATCH):
        async with call.transaction() as connection:
            done += await dead_letters.replay(connection, call.principal, chosen[start : start + _BATCH])
        await call.wake_relay()
    return ReplayedMany(body.dry_run, matched, done)


@api.get("/dead-letters/{id:uuid}", "/apps/{app}/dead-letters/{id:uuid}")
async def show_dead_letter(call: Call) -> DeadLetterDetail:
    """One dead letter with its event and every attempt."""
    async with call.reading() as connection:
        app_id = await call.app_id(connection)
        return await dead_letters.read_dead_letter(connection, call.path["id"], app_id=app_id)


@api.patch("/dead-letters/{id:uuid}", "/apps/{app}/dead-letters/{id:uuid}", max_body_bytes=_MAX_EVENT_BYTES)
async def edit_dead_letter(call: Call, body: Edit) -> DeadLetterDetail:
    """Change the event of an open letter before it is replayed; what it died with is kept in `edited_from`."""
    async with call.transaction() as connection:
        app_id = await call.app_id(connection)
        return await dead_letters.edit(connection, call.path["id"], body.event, app_id=app_id)


@api.post("/dead-letters/{id:uuid}/replay", "/apps/{app}/dead-letters/{id:uuid}/replay")
async def replay_dead_letter(call: Call) -> Replayed:
    """Run the event again as a new execution. A letter that is resolved already is answered 409."""
    async with call.transaction() as connection:
        app_id = await call.app_id(connection)
        replayed = await dead_letters.replay_one(connection, call.principal, call.path["id"], app_id=app_id)
    await call.wake_relay()
    return replayed


@api.post("/dead-letters/{id:uuid}/ignore", "/apps/{app}/dead-letters/{id:uuid}/ignore")
async def ignore_dead_letter(call: Call, body: Ignore) -> DeadLetterDetail:
    """Say that nothing is to be done about a letter."""
    async with call.transaction() as connection:
        app_id = await call.app_id(connection)
        return await dead_letters.ignore(connection, call.principal, call.path["id"], note=body.reason, app_id=app_id)


ENDPOINTS = api.collected()
