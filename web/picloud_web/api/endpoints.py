"""What an endpoint of the control API is, and the one way every call takes through it.

An endpoint is a function whose annotations say all there is to say::

    @api.post("/apps/{app}/pause")
    async def pause(call: Call) -> App:
        \"\"\"Stop an app.\"\"\"

``query`` and ``body`` are further parameters, of msgspec types. From them come the checks
of a request, the answer's encoding and the OpenAPI document (``picloud_web.api.openapi``).

A function is only reached through ``_Responder``: it refuses requests that a foreign page
made, asks for a key, asks what the key may do, reads the body within its limit. No endpoint
can be added that forgets one of these.
"""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from uuid import UUID

import falcon
import falcon.asgi
import msgspec
import psycopg
import psycopg_pool

from picloud.broker import OUTAGES, WAKE_LIST, script
from picloud.control.apps import find_app
from picloud.control.identity import Principal, authenticate
from picloud.control.records import Connection
from picloud.database import is_outage
from picloud.errors import (
    AuthenticationError,
    InvalidInputError,
    NotFoundError,
    PermissionDeniedError,
    PiCloudError,
    UnavailableError,
)
from picloud.settings import KIB
from picloud_web import problems
from picloud_web.bodies import read_body
from picloud_web.services import Services

_WAKE = script("wake")

Application: TypeAlias = falcon.asgi.App[falcon.asgi.Request, falcon.asgi.Response]

DEFAULT_BODY_BYTES = 256 * KIB

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
#: What browsers say of a request that another origin's page made (Fetch Metadata, W3C).
_FOREIGN_SITES = frozenset({"cross-site", "same-site"})

#: A placeholder of an endpoint's path, and how Falcon's router writes it. Ids are 32-bit where they count.
_PLACEHOLDER = re.compile(r"\{(\w+)(?::(\w+))?\}")
_CONVERTERS = {"uuid": ":uuid", "int": ":int(min=1, max=2147483647)", "path": ":path", None: ""}


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
        body: type of the JSON body; None: there is none.
        returns: type of the answer; None: it is empty.
    """

    method: str
    path: str
    tag: str
    handler: Handler
    statuses: tuple[int, ...]
    max_body_bytes: int
    query: Any
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
        return [(match[1], match[2]) for match in _PLACEHOLDER.finditer(self.path)]


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
                        body=hints.get("body"),
                        returns=None if returns is type(None) else returns,
                    )
                )
            return handler

        return collect


# Serving them


def mount(app: Application, services: Services, prefix: str, endpoints: Iterable[Endpoint]) -> None:
    """Give every endpoint its place in the router of ``app``."""
    by_template: dict[str, list[Endpoint]] = {}
    for endpoint in endpoints:
        by_template.setdefault(_template(endpoint.path), []).append(endpoint)
    for template, sharing in by_template.items():
        app.add_route(prefix + template, _Resource(services, sharing))


class _Resource:
    """The endpoints of one template, as Falcon looks for them: ``on_get`` and so on."""

    def __init__(self, services: Services, endpoints: list[Endpoint]) -> None:
        for method in {endpoint.method for endpoint in endpoints}:
            setattr(self, f"on_{method.lower()}", _Responder(services, method, endpoints).respond)


class _Responder:
    """Answers one method of one template."""

    def __init__(self, services: Services, method: str, endpoints: list[Endpoint]) -> None:
        self._services = services
        self._method = method
        # The longest first: …/scripts/{name:path} alone would take …/versions for a part of the name.
        self._endpoints = [
            (_tail_pattern(each.path), each) for each in sorted(endpoints, key=lambda each: -len(each.path))
        ]

    async def respond(self, request: falcon.asgi.Request, response: falcon.asgi.Response, **path: Any) -> None:
        """Take one call all the way; what goes wrong is raised, and answered by ``picloud_web.problems``."""
        endpoint, path = self._find(path)
        _refuse_foreign_pages(request)
        try:
            principal = await _authorize(self._services, request)
            call = Call(self._services, principal, path, endpoint.statuses[0])
            await _answer(call, endpoint, request, response)
        except AuthenticationError:
            response.set_header("WWW-Authenticate", 'Bearer realm="picloud"')  # RFC 6750, section 3
            raise
        except psycopg_pool.PoolTimeout as error:
            raise UnavailableError("no connection to PostgreSQL was free in time") from error
        except psycopg.Error as error:
            if not is_outage(error):
                raise
            raise UnavailableError("PostgreSQL does not answer") from error

    def _find(self, values: dict[str, Any]) -> tuple[Endpoint, dict[str, Any]]:
        """Which endpoint is meant, and the values of its placeholders."""
        if any("\0" in value for value in values.values() if isinstance(value, str)):
            raise NotFoundError("nothing has a NUL character in its name")
        for pattern, candidate in self._endpoints:
            found = _tail_values(pattern, values)
            if found is not None:
                sharing = {each.method: each for _, each in self._endpoints if each.path == candidate.path}
                if self._method not in sharing:
                    raise falcon.HTTPMethodNotAllowed(sorted(sharing))
                return sharing[self._method], found
        raise falcon.HTTPNotFound


def _template(path: str) -> str:
    """Falcon's template of a path. Falcon allows ``:path`` only at the end: what follows it is ``_tail_pattern``'s."""
    start, marker, _ = path.partition(":path}")
    return _PLACEHOLDER.sub(lambda match: f"{{{match[1]}{_CONVERTERS[match[2]]}}}", start + marker)


def _tail_pattern(path: str) -> re.Pattern[str] | None:
    """What the value of a ``:path`` placeholder must look like, with all that follows it; None: there is none."""
    start, marker, tail = path.partition(":path}")
    if not marker:
        return None
    name = start.rpartition("{")[2]
    return re.compile(f"(?P<{name}>.+)" + re.sub(r"\{(\w+):int\}", r"(?P<\1>[1-9][0-9]{0,8})", tail))


def _tail_values(pattern: re.Pattern[str] | None, values: dict[str, Any]) -> dict[str, Any] | None:
    if pattern is None:
        return values
    name, *numbers = pattern.groupindex
    match = pattern.fullmatch(values[name])
    if match is None:
        return None
    return values | {name: match[name]} | {number: int(match[number]) for number in numbers}


def _refuse_foreign_pages(request: falcon.asgi.Request) -> None:
    """A page of another origin must not act through the browser of whoever looks at it."""
    site = request.get_header("sec-fetch-site")
    if request.method not in _SAFE_METHODS and site is not None and site.lower() in _FOREIGN_SITES:
        raise PermissionDeniedError("another site's page may not change anything here", code="foreign_page")


async def _authorize(services: Services, request: falcon.asgi.Request) -> Principal:
    """Who is calling, and may they? For now an administrator may do everything and nobody else anything."""
    scheme, _, key = (request.get_header("authorization") or "").partition(" ")
    if scheme.lower() != "bearer" or not key:
        raise AuthenticationError(
            "this needs an API key, sent as `Authorization: Bearer pic_…`", hint="`picloud keys create` makes one"
        )
    async with services.database.connection() as connection:
        principal = await authenticate(connection, key.strip())
    if not principal.is_admin:
        raise PermissionDeniedError(f"{principal.name} is no administrator")
    return principal


async def _answer(call: Call, endpoint: Endpoint, request: falcon.asgi.Request, response: falcon.asgi.Response) -> None:
    """Let the endpoint do its work, and send what it returns."""
    inputs = await _inputs(endpoint, request)
    try:
        value = await endpoint.handler(call, **inputs)
    except PiCloudError as error:
        if call.execution_id is None:
            raise
        problems.write_error(response, error, call.execution_id)
        return
    response.set_headers(call.headers)
    response.set_header("Cache-Control", "no-store")
    if endpoint.returns is None:
        response.status = 204
        return
    response.status = call.status
    response.content_type = falcon.MEDIA_JSON
    response.data = msgspec.json.encode(value)


async def _inputs(endpoint: Endpoint, request: falcon.asgi.Request) -> dict[str, Any]:
    """The handler's further arguments, checked."""
    inputs: dict[str, Any] = {}
    if endpoint.query is not None:
        inputs["query"] = read_query(request.params, endpoint.query)
    elif request.params:
        raise InvalidInputError(f"{next(iter(request.params))}: there is no such query parameter here")
    if endpoint.body is not None:
        content_type = (request.content_type or "application/json").partition(";")[0].strip().lower()
        if content_type != "application/json":
            raise InvalidInputError(
                f"the body must be application/json, not {content_type}", code="unsupported_media_type"
            )
        inputs["body"] = decode_body(await read_body(request, endpoint.max_body_bytes), endpoint.body)
    return inputs


def read_query(parameters: Mapping[str, str | list[str]], into: Any) -> Any:
    """Query parameters as ``into``. Raises: InvalidInputError, naming the parameter."""
    try:
        return msgspec.convert(parameters, into, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidInputError(_where_and_what(error, "the query")) from None


def decode_body(data: bytes | None, into: Any) -> Any:
    """A JSON body as ``into``. Raises: InvalidInputError, naming the place."""
    try:
        # An endpoint whose values are all optional can be called without a body.
        return msgspec.json.decode(data or b"{}", type=into)
    except msgspec.ValidationError as error:
        raise InvalidInputError(_where_and_what(error, "the body")) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInputError(f"the body is not JSON: {error}") from None


def _where_and_what(error: msgspec.ValidationError, whole: str) -> str:
    """``Expected `int`, got `str` - at `$.limit``` as ``limit: expected `int`, got `str```."""
    what, _, place = str(error).partition(" - at `")
    place = place.rstrip("`").removeprefix("$").removeprefix(".")
    return f"{place or whole}: {what[:1].lower()}{what[1:]}"
