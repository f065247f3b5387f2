"""Executions and logs as they go on: server-sent events (HTML Standard, section 9.2).

An event's ``id`` says all that its reader has by then. Who comes back with it, as ``Last-Event-ID``, goes on behind it:
nothing comes twice, nothing is left out. That holds when the connection breaks, when PostgreSQL restarts
and when the process does, because what is streamed is what is stored.
"""

import re
from dataclasses import dataclass, replace
from typing import Annotated, Any
from uuid import UUID

import msgspec
from falcon.asgi import SSEvent

from picloud.access import Capability
from picloud.control import executions, logs
from picloud.control.executions import ExecutionStatus
from picloud.control.logs import Cursor, LogLine
from picloud.control.records import Connection
from picloud.errors import InvalidInputError
from picloud_web.api.endpoints import Call, Endpoints, EventStream
from picloud_web.api.inputs import After, Input, Text
from picloud_web.api.openapi import Problem
from picloud_web.api.streaming import open_stream
from picloud_web.streams import Watch

api = Endpoints("streams")

#: Attempts whose lines are read at once.
_ATTEMPTS = 50

_SEEN = re.compile(r"([0-9]{1,9})\.([0-9]{1,9})\.([0-9]{1,9})\.([a-z_]{1,20})")
_SEEN_OF_LOGS = re.compile(r"([A-Za-z0-9_-]{1,200})\.([0-9]{1,9})")
#: Of a reader who has no status yet.
_NO_STATUS = "none"

_EVENTS_OF_EXECUTION = {"status": ExecutionStatus, "log": LogLine, "problem": Problem}
_EVENTS_OF_LOGS = {"log": LogLine, "problem": Problem}


class Resumption(Input, frozen=True):
    """Where a reader was."""

    last_event_id: Annotated[Text, msgspec.Meta(description="The `id` of the last event that arrived.")] | None = (
        msgspec.field(default=None, name="Last-Event-ID")
    )


class LogStart(Input, frozen=True):
    """Where logs begin."""

    after: After | None = None


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a reader of one execution has, and the id of the last event it got.

    Attributes:
        attempt: of which it has ``lines`` lines; those of the attempts before it has all.
        attempts: as the last ``status`` said.
    """

    attempt: int = 0
    lines: int = 0
    attempts: int = 0
    status: str = _NO_STATUS

    @classmethod
    def read(cls, text: str | None) -> "_Seen":
        """Raises: InvalidInputError."""
        if not text:
            return cls()
        match = _SEEN.fullmatch(text)
        if match is None:
            raise _not_ours()
        return cls(int(match[1]), int(match[2]), int(match[3]), match[4])

    def __str__(self) -> str:
        return f"{self.attempt}.{self.lines}.{self.attempts}.{self.status}"

    @property
    def is_final(self) -> bool:
        """Nothing follows what the reader has."""
        return self.status not in {_NO_STATUS, "pending", "running"}


@api.get(
    "/executions/{id:uuid}/events",
    "/apps/{app}/executions/{id:uuid}/events",
    needs=Capability.APP_READ_EXECUTIONS,
    statuses=(200, 204),
    errors=("no_capacity",),
    events=_EVENTS_OF_EXECUTION,
)
async def stream_execution(call: Call, headers: Resumption) -> EventStream | None:
    """One execution as it goes on: a `status` whenever it changes, a `log` for every line; ends with the final status.

    Logs come when an attempt ends. `Last-Event-ID` goes on where a reader was; 204: there is nothing more to come.
    """
    seen = _Seen.read(headers.last_event_id)
    async with call.reading() as connection:
        await executions.require(connection, call.path["id"], app_ids=await call.app_ids(connection))
    if seen.is_final:
        return None
    return open_stream(call, Watch(execution_id=call.path["id"]), _ExecutionReader(call, seen))


@api.get(
    "/logs/events",
    "/apps/{app}/logs/events",
    needs=Capability.APP_READ_EXECUTIONS,
    errors=("no_capacity",),
    events=_EVENTS_OF_LOGS,
)
async def stream_logs(call: Call, query: LogStart, headers: Resumption) -> EventStream:
    """Logs as they are written, a `log` for every line; without a cursor, those from now on.

    `after` is the `next` of a page of logs. `Last-Event-ID` goes on where a reader was, whatever `after` says.
    """
    cursor, lines = query.after, 0
    if headers.last_event_id:
        match = _SEEN_OF_LOGS.fullmatch(headers.last_event_id)
        if match is None:
            raise _not_ours()
        cursor, lines = match[1], int(match[2])
    async with call.reading() as connection:
        app_ids = await call.app_ids(connection)
        if cursor is None:
            cursor = (await logs.follow_logs(connection, app_ids=app_ids, limit=1, after=None)).next
    Cursor.decode(cursor)
    return open_stream(call, Watch(app_ids=app_ids), _LogReader(call, cursor, lines))


class _ExecutionReader:
    """Reads what is new of one execution."""

    def __init__(self, call: Call, seen: _Seen) -> None:
        self._call = call
        self._id: UUID = call.path["id"]
        self._seen = seen
        self.has_more = True
        self.is_done = False

    async def read(self, connection: Connection) -> list[SSEvent]:
        """The lines of attempts that have ended, and then where the execution is, unless the reader knows."""
        app_ids = await self._call.app_ids(connection)
        status = await executions.read_status(connection, self._id, app_ids=app_ids)
        ended = status.attempts - (status.status == "running")
        first = self._seen.attempt
        last = min(ended, first + _ATTEMPTS - 1)
        lines = await logs.read_attempt_logs(connection, self._id, first, last)
        events = [self._line(line) for line in lines[self._seen.lines :]]
        self.has_more = last < ended
        if self.has_more:
            self._seen = replace(self._seen, attempt=last + 1, lines=0)
        elif (status.status, status.attempts) != (self._seen.status, self._seen.attempts):
            self._seen = replace(self._seen, attempts=status.attempts, status=status.status)
            events.append(event("status", status, str(self._seen)))
        self.is_done = status.is_final and not self.has_more
        return events

    def _line(self, line: LogLine) -> SSEvent:
        is_same = line.attempt == self._seen.attempt
        self._seen = replace(self._seen, attempt=line.attempt, lines=self._seen.lines + 1 if is_same else 1)
        return event("log", line, str(self._seen))


class _LogReader:
    """Reads what was logged since.

    Args:
        cursor: behind which the reader has ``lines`` lines.
    """

    is_done = False

    def __init__(self, call: Call, cursor: str, lines: int) -> None:
        self._call = call
        self._cursor = cursor
        self._lines = lines
        self.has_more = True

    async def read(self, connection: Connection) -> list[SSEvent]:
        """The lines of the next attempts. An id names a cursor and how many lines behind it the reader has."""
        app_ids = await self._call.app_ids(connection)
        page = await logs.follow_logs(connection, app_ids=app_ids, limit=_ATTEMPTS, after=self._cursor)
        events = [
            event("log", line, f"{self._cursor}.{number}")
            for number, line in enumerate(page.items, start=1)
            if number > self._lines
        ]
        self.has_more = page.next != self._cursor
        if self.has_more:
            self._cursor, self._lines = page.next, 0
            if events:
                events[-1].event_id = f"{page.next}.0"
        return events


def event(name: str, value: Any, event_id: str) -> SSEvent:
    """An event whose data is one line of JSON."""
    return SSEvent(event=name, event_id=event_id, text=msgspec.json.encode(value).decode())


def _not_ours() -> InvalidInputError:
    return InvalidInputError("Last-Event-ID: not an id of this stream", hint="leave it out to begin anew")


ENDPOINTS = api.collected()
