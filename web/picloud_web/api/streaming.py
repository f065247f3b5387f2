"""How an answer goes on: what is new is read when something changed, and sent while the caller may still see it.

The caller is asked for again every second: a key that is revoked, or a role that is taken away, ends the
stream. A restart of PostgreSQL does not; nothing is sent while it is away, because nobody could say whether the caller
still may. A stream that must end, because the process stops or it was open for long, tells its client to come again.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from typing import Protocol

import psycopg
from falcon.asgi import SSEvent

from picloud.control.records import Connection
from picloud.database import is_outage
from picloud.errors import PiCloudError, UnavailableError
from picloud_web import problems
from picloud_web.api.endpoints import Call, EventStream
from picloud_web.streams import Place, Watch

_ASK_AGAIN_SECONDS = 1.0
#: Proxies close what is silent for longer, often after 30 s or 60 s.
_HEARTBEAT_SECONDS = 15.0
#: A restart of PostgreSQL takes seconds; of what takes longer the client should know.
_PATIENCE_SECONDS = 30.0
_COME_AGAIN_MS = 2_000


class Reader(Protocol):
    """Reads what a stream tells.

    Attributes:
        has_more: reading again gives more at once.
        is_done: nothing will follow.
    """

    has_more: bool
    is_done: bool

    async def read(self, connection: Connection) -> list[SSEvent]:
        """What is new. Raises: NotFoundError: what it reads is no longer there, or not for this caller."""
        ...


def open_stream(call: Call, watch: Watch, reader: Reader) -> EventStream:
    """A stream of what ``reader`` reads whenever ``watch`` changes.

    Raises:
        CapacityError: as many are open as may be.
    """
    streams = call.services.streams
    place = streams.take_place()
    streams.watch(call.services.database, watch)
    return EventStream(_events(call, watch, reader, place))


class _Pace:
    """When a stream does what."""

    def __init__(self, longest_seconds: float) -> None:
        self._started_at = self._asked_at = self._spoke_at = time.monotonic()
        self._longest_seconds = longest_seconds
        self._trouble_since: float | None = None

    def is_over(self) -> bool:
        """Open for as long as it may be."""
        return time.monotonic() - self._started_at >= self._longest_seconds

    def must_ask(self) -> bool:
        """The caller was not asked for within the last second."""
        return time.monotonic() - self._asked_at >= _ASK_AGAIN_SECONDS

    def asked(self) -> None:
        self._asked_at = time.monotonic()

    def must_speak(self) -> bool:
        """Silent for so long that somebody between may think it dead."""
        return time.monotonic() - self._spoke_at >= _HEARTBEAT_SECONDS

    def spoke(self) -> None:
        self._spoke_at = time.monotonic()

    def is_well(self) -> None:
        self._trouble_since = None

    def may_wait_out(self, error: PiCloudError) -> bool:
        """Whether it may pass by itself, and has not lasted for too long."""
        if not isinstance(error, UnavailableError):
            return False
        if self._trouble_since is None:
            self._trouble_since = time.monotonic()
        return time.monotonic() - self._trouble_since < _PATIENCE_SECONDS


async def _events(call: Call, watch: Watch, reader: Reader, place: Place) -> AsyncGenerator[SSEvent]:
    streams = call.services.streams
    pace = _Pace(streams.longest_seconds)
    pause_seconds = min(_ASK_AGAIN_SECONDS, streams.longest_seconds)
    is_changed = True
    yield SSEvent(retry=_COME_AGAIN_MS)
    try:
        while True:
            events: list[SSEvent] = []
            is_trouble = False
            try:
                events = await _news(call, reader, pace, is_changed=is_changed)
            except PiCloudError as error:
                is_trouble = pace.may_wait_out(error)
                if not is_trouble:
                    yield _problem(error)
                    return
            for event in events:
                yield event
                pace.spoke()
            if reader.is_done or streams.is_ending or pace.is_over():
                return
            if is_changed and reader.has_more and not is_trouble:
                continue
            if pace.must_speak():
                yield SSEvent(comment="still here")
                pace.spoke()
            is_changed = await watch.changed(pause_seconds) or is_trouble
    finally:
        streams.leave(place, watch)


async def _news(call: Call, reader: Reader, pace: _Pace, *, is_changed: bool) -> list[SSEvent]:
    """What the reader has, when there may be something; the caller may see it."""
    events: list[SSEvent] = []
    try:
        if pace.must_ask():
            await _ask_again(call)
            pace.asked()
        if is_changed:
            async with call.reading() as connection:
                events = await reader.read(connection)
    except psycopg.Error as error:
        if not is_outage(error):
            raise
        raise UnavailableError("PostgreSQL does not answer") from error
    pace.is_well()
    return events


async def _ask_again(call: Call) -> None:
    """Refuse who may no longer. Readers ask ``call`` for the apps it is about: those that the caller may see now."""
    assert call.ask_again is not None, "every call that is served can be asked for again"
    call.caller = await call.ask_again()


def _problem(error: PiCloudError) -> SSEvent:
    """The problem document that a new request would be answered with."""
    content = problems.document(error.code, problems.status_of(error), error.message, None)
    return SSEvent(event="problem", text=content.decode(), retry=_COME_AGAIN_MS)
