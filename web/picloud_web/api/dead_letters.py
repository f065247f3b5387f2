"""Dead letters: seen, replayed, ignored, edited. Dry runs are in ``dry_runs``."""

import datetime as dt
from typing import Annotated, Any
from uuid import UUID

import msgspec

from picloud.access import Capability
from picloud.control import dead_letters, resolutions
from picloud.control.dead_letters import DeadLetter, DeadLetterDetail, LetterFilters, LetterGroup, Resolution
from picloud.control.pages import DEFAULT_LIMIT, Page
from picloud.control.records import Connection
from picloud.control.resolutions import Ignored, Pace, Replayed, VersionChoice
from picloud.settings import MIB
from picloud_web.api.conditions import IfMatch
from picloud_web.api.endpoints import Call, Endpoints
from picloud_web.api.inputs import Filtered, Input, Instant, Limit, Text, wanted_app_ids

api = Endpoints("dead letters")

MAX_EVENT_BYTES = 8 * MIB
#: Letters resolved in one transaction.
_BATCH = 500


class DeadLetterFilters(Filtered, frozen=True, kw_only=True):
    """A page of dead letters; `since` and `until` are about when they died."""

    resolution: Resolution | None = None
    fingerprint: Text | None = None
    until: Instant | None = None


class GroupFilters(Input, frozen=True, kw_only=True):
    """Which letters are counted; without `resolution` those with which something can still be done."""

    limit: Limit = DEFAULT_LIMIT
    app: Text | None = None
    script: Text | None = None
    source: Text | None = None
    trigger: Text | None = None
    fingerprint: Text | None = None
    resolution: Resolution | None = None
    since: Instant | None = None
    until: Instant | None = None


class Selected(Input, frozen=True, kw_only=True):
    """Which open letters are meant: those that fit everything that is given. Nothing given: all."""

    ids: Annotated[list[UUID], msgspec.Meta(max_length=1_000)] | None = None
    app: Text | None = None
    script: Text | None = None
    source: Text | None = None
    trigger: Text | None = None
    fingerprint: Text | None = None
    resolution: Resolution | None = None
    since: Instant | None = None
    until: Instant | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 1_000
    dry_run: bool = False


class Replay(Input, frozen=True):
    """Which version of the script runs: the one that is deployed, or the one that failed."""

    version: VersionChoice = "current"


class ReplayMany(Selected, frozen=True, kw_only=True):
    """Which letters are replayed, and how; `rate` is how many may begin in a second (none given: all at once)."""

    version: VersionChoice = "current"
    rate: Annotated[float, msgspec.Meta(ge=0.001, le=10_000)] | None = None


class ReplayedMany(msgspec.Struct, frozen=True):
    """What a replay of many did.

    Attributes:
        matched: open letters that fit, before this call; more than `limit` are left for another one.
        replayed: in the order in which they will run; empty in a dry run.
        last_at: when the last of them may run.
    """

    dry_run: bool
    matched: int
    replayed: list[Replayed]
    last_at: dt.datetime | None = None


class Ignore(Input, frozen=True):
    """Why nothing is to be done."""

    reason: Text | None = None


class IgnoreMany(Selected, frozen=True, kw_only=True):
    """Which letters are ignored, and why."""

    reason: Text | None = None


class IgnoredMany(msgspec.Struct, frozen=True):
    """What was ignored; `matched` are the open letters that fit, before this call."""

    dry_run: bool
    matched: int
    ignored: list[Ignored]


class Edit(Input, frozen=True):
    """The event a replay shall run; `body` in it is the body of an HTTP request."""

    event: dict[str, Any]


@api.get("/dead-letters", "/apps/{app}/dead-letters", needs=Capability.APP_DEAD_LETTER_READ)
async def list_dead_letters(call: Call, query: DeadLetterFilters) -> Page[DeadLetter]:
    """Dead letters, newest first, without their events."""
    async with call.reading() as connection:
        wanted = await _filters(call, connection, query)
        return await dead_letters.list_dead_letters(connection, wanted, limit=query.limit, after=query.after)


@api.get("/dead-letters/groups", "/apps/{app}/dead-letters/groups", needs=Capability.APP_DEAD_LETTER_READ)
async def group_dead_letters(call: Call, query: GroupFilters) -> Page[LetterGroup]:
    """Dead letters counted by what they died of, the most frequent error first; always one page."""
    async with call.reading() as connection:
        wanted = await _filters(call, connection, query)
        only_open = query.resolution is None
        groups = await dead_letters.group_dead_letters(connection, wanted, limit=query.limit, only_open=only_open)
    return Page(groups, None)


@api.post("/dead-letters/replay", "/apps/{app}/dead-letters/replay", needs=Capability.APP_DEAD_LETTER_MANAGE)
async def replay_many(call: Call, body: ReplayMany) -> ReplayedMany:
    """Replay every open letter that fits, what died first first; `dry_run` only counts them.

    Those whose script is no longer there stay as they are. With a `rate` the rows are written now and fall due one
    after another.
    """
    matched, chosen = await _chosen(call, body)
    pace = Pace() if body.rate is None else Pace(interval_ms=1_000 / body.rate)
    done: list[Replayed] = []
    for start in range(0, len(chosen), _BATCH):
        async with call.transaction() as connection:
            batch = await resolutions.replay(
                connection, call.principal, chosen[start : start + _BATCH], version=body.version, pace=pace
            )
            call.entry.app = call.path.get("app", body.app)
            call.entry.after = {"replayed": [each.id for each in batch]}
        done += batch
        pace = pace.after(batch)
        await call.wake_relay()
    return ReplayedMany(body.dry_run, matched, done, done[-1].available_at if done else None)


@api.post("/dead-letters/ignore", "/apps/{app}/dead-letters/ignore", needs=Capability.APP_DEAD_LETTER_MANAGE)
async def ignore_many(call: Call, body: IgnoreMany) -> IgnoredMany:
    """Say that nothing is to be done about every open letter that fits; `dry_run` only counts them."""
    matched, chosen = await _chosen(call, body)
    done: list[Ignored] = []
    for start in range(0, len(chosen), _BATCH):
        async with call.transaction() as connection:
            batch = await resolutions.ignore(
                connection, call.principal, chosen[start : start + _BATCH], note=body.reason
            )
            call.entry.app = call.path.get("app", body.app)
            call.entry.reason, call.entry.after = body.reason, {"ignored": [each.id for each in batch]}
        done += batch
    return IgnoredMany(body.dry_run, matched, done)


@api.get("/dead-letters/{id:uuid}", "/apps/{app}/dead-letters/{id:uuid}", needs=Capability.APP_DEAD_LETTER_READ)
async def show_dead_letter(call: Call) -> DeadLetterDetail:
    """One dead letter with its event, every attempt, its handlers and its replay."""
    async with call.reading() as connection:
        app_ids = await call.app_ids(connection)
        return await dead_letters.read_dead_letter(connection, call.path["id"], app_ids=app_ids)


@api.patch(
    "/dead-letters/{id:uuid}",
    "/apps/{app}/dead-letters/{id:uuid}",
    needs=Capability.APP_DEAD_LETTER_MANAGE,
    max_body_bytes=MAX_EVENT_BYTES,
)
async def edit_dead_letter(call: Call, headers: IfMatch, body: Edit) -> DeadLetterDetail:
    """Change the event of an open letter before it is replayed; what it died with is kept in `edited_from`."""
    async with call.transaction() as connection:
        app_ids = await call.app_ids(connection)
        await resolutions.lock_letter(connection, call.path["id"], app_ids=app_ids)
        before = await dead_letters.read_dead_letter(connection, call.path["id"], app_ids=app_ids)
        headers.require(before)
        edited = await resolutions.edit(connection, call.path["id"], body.event, app_ids=app_ids)
        call.entry.app, call.entry.before, call.entry.after = edited.app, before.event, edited.event
        return edited


@api.post(
    "/dead-letters/{id:uuid}/replay",
    "/apps/{app}/dead-letters/{id:uuid}/replay",
    needs=Capability.APP_DEAD_LETTER_MANAGE,
)
async def replay_dead_letter(call: Call, body: Replay) -> Replayed:
    """Run the event again as a new execution. A letter that is resolved already is answered 409."""
    async with call.transaction() as connection:
        app_ids = await call.app_ids(connection)
        replayed = await resolutions.replay_one(
            connection, call.principal, call.path["id"], app_ids=app_ids, version=body.version
        )
        letter = await dead_letters.read_dead_letter(connection, call.path["id"], app_ids=app_ids)
        call.entry.app, call.entry.after = letter.app, replayed
    await call.wake_relay()
    return replayed


@api.post(
    "/dead-letters/{id:uuid}/ignore",
    "/apps/{app}/dead-letters/{id:uuid}/ignore",
    needs=Capability.APP_DEAD_LETTER_MANAGE,
)
async def ignore_dead_letter(call: Call, body: Ignore) -> DeadLetterDetail:
    """Say that nothing is to be done about a letter."""
    async with call.transaction() as connection:
        app_ids = await call.app_ids(connection)
        ignored = await resolutions.ignore_one(
            connection, call.principal, call.path["id"], note=body.reason, app_ids=app_ids
        )
        call.entry.app, call.entry.reason = ignored.app, body.reason
        return ignored


async def _chosen(call: Call, body: Selected) -> tuple[int, list[UUID]]:
    """How many open letters fit, and those that are to be resolved now: none in a dry run."""
    async with call.reading() as connection:
        wanted = await _filters(call, connection, body, body.ids)
        matched = await resolutions.count_open(connection, wanted)
        chosen = [] if body.dry_run else await resolutions.find_open(connection, wanted, limit=body.limit)
    return matched, chosen


async def _filters(
    call: Call,
    connection: Connection,
    given: DeadLetterFilters | GroupFilters | Selected,
    ids: list[UUID] | None = None,
) -> LetterFilters:
    return LetterFilters(
        ids=ids,
        app_ids=await wanted_app_ids(call, connection, given.app),
        script=given.script,
        source=given.source,
        trigger=given.trigger,
        fingerprint=given.fingerprint,
        resolution=given.resolution,
        since=given.since,
        until=given.until,
    )


ENDPOINTS = api.collected()
