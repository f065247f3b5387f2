"""What an endpoint of the control API is.

An endpoint is a function whose annotations say all there is to say::

    @api.post("/apps/{app}/pause", needs=Capability.APP_MANAGE)
    async def pause(call: Call) -> App:
        \"\"\"Stop an app.\"\"\"

``query``, ``headers`` and ``body`` are further parameters, of msgspec types. From them come the checks
of a request, the answer's encoding and the OpenAPI document (``picloud_web.api.openapi``). ``needs`` is what the caller
must be allowed, in the app of the path when there is one; it has no default, so that nobody can forget to say it.
An answer is JSON, unless the function returns an ``Html`` page or an ``EventStream``.

What an endpoint changes it changes in ``Call.transaction``, which writes the audit log.

``picloud_web.api.serving`` is how calls reach it.
"""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import falcon.asgi
import msgspec

from picloud.access import Caller, Capability, Principal
from picloud.broker import OUTAGES, WAKE_LIST, script
from picloud.control.apps import find_app
from picloud.control.audit import Entry, write_entry
from picloud.control.records import Connection
from picloud.settings import KIB
from picloud_web.api.senders import Sender
from picloud_web.services import Services

_WAKE = script("wake")

DEFAULT_BODY_BYTES = 256 * KIB

#: A placeholder of an endpoint's path: its name, and int, uuid, path (all that is left), segment (all up to the next
#: slash that is not percent-encoded) or nothing.
PLACEHOLDER = re.compile(r"\{(\w+)(?::(\w+))?\}")


@dataclass(frozen=True, slots=True)
class Html:
    """An answer that is a page.

    Attributes:
        policy: its Content-Security-Policy.
    """

    text: str
    policy: str


@dataclass(frozen=True, slots=True)
class EventStream:
    """An answer that goes on: server-sent events, until the source ends or the caller leaves."""

    events: AsyncIterator[falcon.asgi.SSEvent]


@dataclass(slots=True)
class Call:
    """One call of an endpoint.

    Attributes:
        path: the values of the path's placeholders; an ``:int`` is an int, a ``:uuid`` a UUID.
        status: what is answered when the endpoint returns; one of those it declared.
        reason: why the caller does it, in the caller's words.
        sender: where the call comes from.
        headers: sent with the answer; ``cookies``: as ``Set-Cookie``.
        entry: what the audit log will say; an endpoint fills in what was there before and after.
        execution_id: of what the call may have made run; a problem names it, so that the caller can ask.
        ask_again: looks once more at who is calling and whether they may; for answers that go on. Raises what a new
            request would be refused with.
    """

    services: Services
    caller: Caller
    endpoint: Endpoint
    path: dict[str, Any]
    status: int
    request_id: str
    reason: str | None = None
    sender: Sender = field(default_factory=Sender)
    headers: dict[str, str] = field(default_factory=dict[str, str])
    cookies: list[str] = field(default_factory=list[str])
    execution_id: UUID | None = None
    ask_again: Callable[[], Awaitable[Caller]] | None = None
    entry: Entry = field(init=False)

    def __post_init__(self) -> None:
        self.entry = Entry(
            action=self.endpoint.operation, app=self.path.get("app"), object=self._object(), reason=self.reason
        )

    @property
    def principal(self) -> Principal:
        """Who is calling."""
        return self.caller.principal

    @property
    def app(self) -> str:
        """The app in the path."""
        return str(self.path["app"])

    async def app_ids(self, connection: Connection) -> list[int] | None:
        """The ids of the apps the call is about; None: all.

        That is the app in the path, else every app in which the caller has the capability that the endpoint needs.
        Raises: NotFoundError.
        """
        name = self.path.get("app")
        if name is not None:
            return [(await find_app(connection, name)).id]
        assert self.endpoint.needs is not None, "a call that needs nothing is about no app"
        return self.caller.sight(self.endpoint.needs)

    def _object(self) -> str:
        """What the call is about, in the app or without one, as its path names it."""
        return "/".join(str(value) for name, value in self.path.items() if name != "app")

    @asynccontextmanager
    async def reading(self) -> AsyncGenerator[Connection]:
        """A connection on which every statement is a transaction of its own."""
        async with self.services.database.connection() as connection:
            yield connection

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Connection]:
        """A connection in a transaction, committed at the end of the block with an entry in the audit log."""
        async with self.services.database.connection() as connection, connection.transaction():
            yield connection
            if not self.entry.is_void:
                await write_entry(connection, self.entry, self.caller, self.request_id)

    async def wake_relay(self) -> None:
        """Say that rows became due, after their commit. A relay that does not hear it looks by itself, later."""
        try:
            await self.services.redis.eval(_WAKE, 1, WAKE_LIST)
        except OUTAGES:
            pass


Handler = Callable[..., Awaitable[Any]]

_NO_EVENTS: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method of one path.

    Attributes:
        needs: what the caller must be allowed; None: nobody is asked who they are.
        statuses: what it answers when all goes well; the first one unless the handler says otherwise.
        query: type of the query parameters; None: there are none.
        headers: type of the request headers that mean something here; None: there are none.
        body: type of the JSON body; ``msgspec.Raw``: any JSON value, as bytes; None: there is none.
        returns: type of the answer; None: it is empty.
        errors: codes of problems that are its own, beside those every endpoint of its kind may answer.
        events: types of what an ``EventStream`` carries, by the name of the event.
        is_alias: the same handler is served on another path, which is the first.
    """

    method: str
    path: str
    tag: str
    handler: Handler
    needs: Capability | None
    statuses: tuple[int, ...]
    max_body_bytes: int
    query: Any
    headers: Any
    body: Any
    returns: Any
    errors: tuple[str, ...] = ()
    events: Mapping[str, Any] = field(default_factory=dict[str, Any])
    is_alias: bool = False

    @property
    def operation(self) -> str:
        """What it does, stable: in the audit log. Two paths of one handler do the same."""
        return self.handler.__name__

    @property
    def operation_id(self) -> str:
        """OpenAPI's ``operationId``, unique: the path below an app has a name of its own."""
        return f"{self.operation}_of_app" if self.is_alias else self.operation

    @property
    def is_stream(self) -> bool:
        """It answers with an ``EventStream``, or with nothing when nothing would follow."""
        return EventStream in {self.returns, *typing.get_args(self.returns)}

    def honours(self, header: str) -> bool:
        """Whether it reads this header."""
        return self.headers is not None and any(
            field.encode_name == header for field in msgspec.structs.fields(self.headers)
        )

    @property
    def summary(self) -> str:
        return (inspect.getdoc(self.handler) or "").partition("\n")[0]

    @property
    def description(self) -> str:
        return (inspect.getdoc(self.handler) or "").partition("\n")[2].strip()

    @property
    def placeholders(self) -> list[tuple[str, str | None]]:
        """Names in the path with their converters."""
        return [(match[1], match[2]) for match in PLACEHOLDER.finditer(self.path)]


class Endpoints:
    """Collects the endpoints of one module: its decorators are the methods of HTTP."""

    def __init__(self, tag: str) -> None:
        self._tag = tag
        self._collected: list[Endpoint] = []

    def get(
        self,
        *paths: str,
        needs: Capability | None,
        statuses: tuple[int, ...] = (200,),
        errors: tuple[str, ...] = (),
        events: Mapping[str, Any] = _NO_EVENTS,
    ) -> Callable[[Handler], Handler]:
        return self._decorator("GET", paths, needs, statuses, 0, errors=errors, events=events)

    def post(
        self,
        *paths: str,
        needs: Capability | None,
        statuses: tuple[int, ...] = (200,),
        max_body_bytes: int = DEFAULT_BODY_BYTES,
        errors: tuple[str, ...] = (),
    ) -> Callable[[Handler], Handler]:
        return self._decorator("POST", paths, needs, statuses, max_body_bytes, errors=errors)

    def put(
        self,
        *paths: str,
        needs: Capability | None,
        statuses: tuple[int, ...] = (200,),
        max_body_bytes: int = DEFAULT_BODY_BYTES,
        errors: tuple[str, ...] = (),
    ) -> Callable[[Handler], Handler]:
        return self._decorator("PUT", paths, needs, statuses, max_body_bytes, errors=errors)

    def patch(
        self,
        *paths: str,
        needs: Capability | None,
        max_body_bytes: int = DEFAULT_BODY_BYTES,
        errors: tuple[str, ...] = (),
    ) -> Callable[[Handler], Handler]:
        return self._decorator("PATCH", paths, needs, (200,), max_body_bytes, errors=errors)

    def delete(
        self, *paths: str, needs: Capability | None, statuses: tuple[int, ...] = (204,), errors: tuple[str, ...] = ()
    ) -> Callable[[Handler], Handler]:
        return self._decorator("DELETE", paths, needs, statuses, 0, errors=errors)

    def collected(self) -> tuple[Endpoint, ...]:
        return tuple(self._collected)

    def _decorator(
        self,
        method: str,
        paths: tuple[str, ...],
        needs: Capability | None,
        statuses: tuple[int, ...],
        max_body_bytes: int,
        *,
        errors: tuple[str, ...],
        events: Mapping[str, Any] = _NO_EVENTS,
    ) -> Callable[[Handler], Handler]:
        def collect(handler: Handler) -> Handler:
            hints = typing.get_type_hints(handler, include_extras=True)
            returns = hints.get("return")
            for number, path in enumerate(paths):
                self._collected.append(
                    Endpoint(
                        method=method,
                        path=path,
                        tag=self._tag,
                        handler=handler,
                        needs=needs,
                        statuses=statuses,
                        max_body_bytes=max_body_bytes,
                        query=hints.get("query"),
                        headers=hints.get("headers"),
                        body=hints.get("body"),
                        returns=None if returns is type(None) else returns,
                        errors=errors,
                        events=events,
                        is_alias=number > 0,
                    )
                )
            return handler

        return collect
