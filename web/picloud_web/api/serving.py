"""The one way every call takes to its endpoint.

Refuse what a foreign page sent; ask who is calling (``credentials``); ask whether they may (``picloud.access``); read
the body within its limit; check the values; let the endpoint work; send what it returns. No endpoint can be added that
forgets one of these.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import quote, unquote

import falcon
import falcon.asgi
import psycopg
import psycopg_pool

from picloud.access import Caller
from picloud.database import is_outage
from picloud.errors import (
    AuthenticationError,
    InvalidInputError,
    NotFoundError,
    PiCloudError,
    UnavailableError,
)
from picloud_web import problems
from picloud_web.api.answers import write_answer
from picloud_web.api.conditions import refuse_conditions
from picloud_web.api.credentials import NOBODY, NOT_FOR_OTHER_PAGES, authenticate, reason, refuse_foreign_pages
from picloud_web.api.endpoints import PLACEHOLDER, Call, Endpoint
from picloud_web.api.inputs import decode_body, read_headers, read_query
from picloud_web.api.senders import Sender, Senders
from picloud_web.bodies import read_body
from picloud_web.services import Services

Application: TypeAlias = falcon.asgi.App[falcon.asgi.Request, falcon.asgi.Response]

#: How Falcon's router writes a placeholder. Numbers are those that fit into PostgreSQL's integer.
_CONVERTERS = {
    "uuid": ":uuid",
    "int": ":int(min=1, max=2147483647)",
    "path": ":path",
    "segment": ":path",
    None: "",
}
_TAIL_MARKER = re.compile(":(?:path|segment)}")
_TAIL_PATTERNS = {"int": "[1-9][0-9]{0,8}", "path": ".+", "segment": "[^/]+"}


def mount(app: Application, services: Services, prefix: str, endpoints: Iterable[Endpoint]) -> None:
    """Give every endpoint its place in the router of ``app``."""
    by_template: dict[str, list[Endpoint]] = {}
    for endpoint in endpoints:
        by_template.setdefault(_template(endpoint.path), []).append(endpoint)
    senders = Senders(services.settings)
    for template, sharing in by_template.items():
        app.add_route(prefix + template, _Resource(services, senders, prefix, sharing))


class _Resource:
    """The endpoints of one template, as Falcon looks for them: ``on_get`` and so on."""

    def __init__(self, services: Services, senders: Senders, prefix: str, endpoints: list[Endpoint]) -> None:
        for method in {endpoint.method for endpoint in endpoints}:
            setattr(self, f"on_{method.lower()}", _Responder(services, senders, prefix, method, endpoints).respond)
        self.on_options = _Responder(services, senders, prefix, "OPTIONS", endpoints).tell_methods


class _Responder:
    """Answers one method of one template."""

    def __init__(
        self, services: Services, senders: Senders, prefix: str, method: str, endpoints: list[Endpoint]
    ) -> None:
        self._services = services
        self._senders = senders
        self._method = method
        # The longest first: …/scripts/{name:path} alone would take …/versions for a part of the name.
        self._endpoints = [
            (_Tail.of(each.path, prefix), each) for each in sorted(endpoints, key=lambda each: -len(each.path))
        ]

    async def respond(self, request: falcon.asgi.Request, response: falcon.asgi.Response, **path: Any) -> None:
        """Take one call all the way; what goes wrong is raised, and answered by ``picloud_web.problems``."""
        endpoint, path = self._find(path, request)
        # Whatever is answered, a page of another origin must not load it: a JSON text may be a script too.
        response.set_headers(NOT_FOR_OTHER_PAGES)
        refuse_foreign_pages(request)
        try:
            sender = self._senders.of(request)
            caller = await _authorized(self._services, request, sender, endpoint, path.get("app"))
            called = request.context.request_id
            call = Call(self._services, caller, endpoint, path, endpoint.statuses[0], called, reason(request), sender)
            call.ask_again = lambda: _authorized(self._services, request, sender, endpoint, path.get("app"))
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

    async def tell_methods(self, request: falcon.asgi.Request, response: falcon.asgi.Response, **path: Any) -> None:
        """Answer OPTIONS: a template's endpoints may have several paths, each with methods of its own."""
        sharing, _ = self._sharing(path, request)
        response.status = 204
        response.set_header("Allow", ", ".join(sorted(sharing)))

    def _find(self, values: dict[str, Any], request: falcon.asgi.Request) -> tuple[Endpoint, dict[str, Any]]:
        """Which endpoint is meant, and the values of its placeholders."""
        sharing, found = self._sharing(values, request)
        if self._method not in sharing:
            raise falcon.HTTPMethodNotAllowed(sorted(sharing))
        return sharing[self._method], found

    def _sharing(
        self, values: dict[str, Any], request: falcon.asgi.Request
    ) -> tuple[dict[str, Endpoint], dict[str, Any]]:
        """The endpoints of the path that is meant, by method, and the values of its placeholders."""
        if any("\0" in value for value in values.values() if isinstance(value, str)):
            raise NotFoundError("nothing has a NUL character in its name")
        for tail, candidate in self._endpoints:
            found = values if tail is None else tail.values(values, _raw_path(request))
            if found is not None:
                return {each.method: each for _, each in self._endpoints if each.path == candidate.path}, found
        raise falcon.HTTPNotFound


def _template(path: str) -> str:
    """Falcon's template of a path. Falcon allows ``:path`` only at the end: what follows it is for ``_Tail``."""
    marker = _TAIL_MARKER.search(path)
    start = path if marker is None else path[: marker.end()]
    return PLACEHOLDER.sub(lambda match: f"{{{match[1]}{_CONVERTERS[match[2]]}}}", start)


@dataclass(frozen=True, slots=True)
class _Tail:
    """The end of a path, from its first ``:path`` or ``:segment`` placeholder on; Falcon gives it as one value.

    Attributes:
        name: of that placeholder.
        kinds: of every placeholder in the tail.
        is_raw: there are segments: the tail is split before its percent-encoding is undone.
        slashes: in the path before the tail.
    """

    pattern: re.Pattern[str]
    name: str
    kinds: dict[str, str | None]
    is_raw: bool
    slashes: int

    @classmethod
    def of(cls, path: str, prefix: str) -> _Tail | None:
        """None: Falcon's router sees to the whole path."""
        marker = _TAIL_MARKER.search(path)
        if marker is None:
            return None
        start = path.rindex("{", 0, marker.start())
        kinds = {match[1]: match[2] for match in PLACEHOLDER.finditer(path, start)}
        pattern = PLACEHOLDER.sub(lambda match: f"(?P<{match[1]}>{_TAIL_PATTERNS[match[2]]})", path[start:])
        slashes = (prefix + path[:start]).count("/")
        return cls(re.compile(pattern), next(iter(kinds)), kinds, "segment" in kinds.values(), slashes)

    def values(self, values: dict[str, Any], raw_path: str) -> dict[str, Any] | None:
        """``values`` with those of the tail; None: this is not the endpoint."""
        match = self.pattern.fullmatch(self._raw(values, raw_path) if self.is_raw else values[self.name])
        if match is None:
            return None
        return values | {name: self._value(name, text) for name, text in match.groupdict().items()}

    def _raw(self, values: dict[str, Any], raw_path: str) -> str:
        """The tail as it was sent; nothing when slashes before it were encoded too, so that it cannot be told."""
        tail = raw_path.split("/", self.slashes)[-1]
        return tail if unquote(tail) == values[self.name] else ""

    def _value(self, name: str, text: str) -> Any:
        if self.kinds[name] == "int":
            return int(text)
        return unquote(text) if self.is_raw else text


def _raw_path(request: falcon.asgi.Request) -> str:
    """The path as it was sent (ASGI, "HTTP connection scope"), without the query."""
    raw: bytes = request.scope.get("raw_path") or quote(request.path).encode("ascii")
    return raw.decode("latin-1").partition("?")[0]


async def _authorized(
    services: Services, request: falcon.asgi.Request, sender: Sender, endpoint: Endpoint, app: str | None
) -> Caller:
    """Who is calling; refused unless they may."""
    if endpoint.needs is None:
        return NOBODY
    caller = await authenticate(services, request, sender)
    caller.require(endpoint.needs, app)
    return caller


async def _answer(call: Call, endpoint: Endpoint, request: falcon.asgi.Request, response: falcon.asgi.Response) -> None:
    """Let the endpoint do its work, and send what it returns."""
    refuse_conditions(endpoint, request)
    inputs = await _inputs(endpoint, request)
    try:
        value = await endpoint.handler(call, **inputs)
    except PiCloudError as error:
        if call.execution_id is None:
            raise
        problems.write_error(response, error, call.execution_id)
        return
    write_answer(call, value, request, response)


async def _inputs(endpoint: Endpoint, request: falcon.asgi.Request) -> dict[str, Any]:
    """The handler's further arguments, checked."""
    inputs: dict[str, Any] = {}
    if endpoint.query is not None:
        inputs["query"] = read_query(request.params, endpoint.query)
    elif request.params:
        raise InvalidInputError(f"{next(iter(request.params))}: there is no such query parameter here")
    if endpoint.headers is not None:
        inputs["headers"] = read_headers(request.headers_lower, endpoint.headers)
    if endpoint.body is not None:
        content_type = (request.content_type or "application/json").partition(";")[0].strip().lower()
        if content_type != "application/json":
            raise InvalidInputError(
                f"the body must be application/json, not {content_type}", code="unsupported_media_type"
            )
        inputs["body"] = decode_body(await read_body(request, endpoint.max_body_bytes), endpoint.body)
    return inputs
