"""What an endpoint of the control API is.

An endpoint is a function whose annotations say all there is to say::

    @api.post("/apps/{app}/pause")
    async def pause(call: Call) -> App:
        \"\"\"Stop an app.\"\"\"

``query``, ``headers`` and ``body`` are further parameters, of msgspec types. From them come the checks
of a request, the answer's encoding and the OpenAPI document (``picloud_web.api.openapi``).

``picloud_web.api.serving`` is how calls reach it.
"""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from picloud.broker import OUTAGES, WAKE_LIST, script
from picloud.control.apps import find_app
from picloud.control.identity import Principal
from picloud.control.records import Connection
from picloud.settings import KIB
from picloud_web.services import Services

_WAKE = script("wake")

DEFAULT_BODY_BYTES = 256 * KIB

#: A placeholder of an endpoint's path: its name, and int, uuid, path (all that is left), segment (all up to the next
#: slash that is not percent-encoded) or nothing.
PLACEHOLDER = re.compile(r"\{(\w+)(?::(\w+))?\}")


@dataclass(slots=True)
class Call:
    """One call of an endpoint.

    Attributes:
        path: the values of the path's placeholders; an ``:int`` is an int, a ``:uuid`` a UUID.
        status: what is answered when the endpoint returns; one of those it declared.
        headers: sent with the answer.
        execution_id: of what the call may have made run; a problem names it, so that the caller can ask.
    """

    services: Services
    principal: Principal
    path: dict[str, Any]
    status: int
    headers: dict[str, str] = field(default_factory=dict[str, str])
    execution_id: UUID | None = None

    @property
    def app(self) -> str:
        """The app in the path."""
        return str(self.path["app"])

    async def app_id(self, connection: Connection) -> int | None:
        """The id of the app in the path; None: the path is about all apps. Raises: NotFoundError."""
        name = self.path.get("app")
        return None if name is None else (await find_app(connection, name)).id

    @asynccontextmanager
    async def reading(self) -> AsyncGenerator[Connection]:
        """A connection on which every statement is a transaction of its own."""
        async with self.services.database.connection() as connection:
            yield connection

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Connection]:
        """A connection in a transaction, committed at the end of the block."""
        async with self.services.database.connection() as connection, connection.transaction():
            yield connection

    async def wake_relay(self) -> None:
        """Say that rows became due, after their commit. A relay that does not hear it looks by itself, later."""
        try:
            await self.services.redis.eval(_WAKE, 1, WAKE_LIST)
        except OUTAGES:
            pass


Handler = Callable[..., Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method of one path.

    Attributes:
        statuses: what it answers when all goes well; the first one unless the handler says otherwise.
        query: type of the query parameters; None: there are none.
        headers: type of the request headers that mean something here; None: there are none.
        body: type of the JSON body; ``msgspec.Raw``: any JSON value, as bytes; None: there is none.
        returns: type of the answer; None: it is empty.
    """

    method: str
    path: str
    tag: str
    handler: Handler
    statuses: tuple[int, ...]
    max_body_bytes: int
    query: Any
    headers: Any
    body: Any
    returns: Any

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

    def get(self, *paths: str) -> Callable[[Handler], Handler]:
        return self._decorator("GET", paths, (200,), 0)

    def post(
        self, *paths: str, statuses: tuple[int, ...] = (200,), max_body_bytes: int = DEFAULT_BODY_BYTES
    ) -> Callable[[Handler], Handler]:
        return self._decorator("POST", paths, statuses, max_body_bytes)

    def put(
        self, *paths: str, statuses: tuple[int, ...] = (200,), max_body_bytes: int = DEFAULT_BODY_BYTES
    ) -> Callable[[Handler], Handler]:
        return self._decorator("PUT", paths, statuses, max_body_bytes)

    def patch(self, *paths: str, max_body_bytes: int = DEFAULT_BODY_BYTES) -> Callable[[Handler], Handler]:
        return self._decorator("PATCH", paths, (200,), max_body_bytes)

    def delete(self, *paths: str, statuses: tuple[int, ...] = (204,)) -> Callable[[Handler], Handler]:
        return self._decorator("DELETE", paths, statuses, 0)

    def collected(self) -> tuple[Endpoint, ...]:
        return tuple(self._collected)

    def _decorator(
        self, method: str, paths: tuple[str, ...], statuses: tuple[int, ...], max_body_bytes: int
    ) -> Callable[[Handler], Handler]:
        def collect(handler: Handler) -> Handler:
            hints = typing.get_type_hints(handler, include_extras=True)
            returns = hints.get("return")
            for path in paths:
                self._collected.append(
                    Endpoint(
                        method=method,
                        path=path,
                        tag=self._tag,
                        handler=handler,
                        statuses=statuses,
                        max_body_bytes=max_body_bytes,
                        query=hints.get("query"),
                        headers=hints.get("headers"),
                        body=hints.get("body"),
                        returns=None if returns is type(None) else returns,
                    )
                )
            return handler

        return collect
