"""Requests to apps: find the route, then run its script now (sync) or accept it for later (async)."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace
from typing import Protocol
from urllib.parse import unquote
from uuid import UUID

import falcon.asgi
import msgspec

from picloud.access.signatures import SignatureError
from picloud.broker import Reply
from picloud.errors import (
    AuthenticationError,
    CapacityError,
    ConflictError,
    InvalidInputError,
    NotFoundError,
    PermissionDeniedError,
    PiCloudError,
)
from picloud.ids import new_id
from picloud.logs import about
from picloud.outbox.accept import ONE_ATTEMPT, Arrival, FirstAnswer
from picloud.services import provenance
from picloud.services.provenance import Provenance
from picloud.settings import Settings
from picloud_web import problems
from picloud_web.bodies import check_body, read_body
from picloud_web.callers import NOBODY, Admitted, Callers
from picloud_web.directory import App, Directory
from picloud_web.events import RequestHead, event_document, fingerprint
from picloud_web.ingress import AppChangedError
from picloud_web.responses import sandbox, write_reply
from picloud_web.routing import Match
from picloud_web.seen import Seen
from picloud_web.services import Dispatcher

#: Times a request is routed anew because its app was deployed at that very moment.
_MOST_TRIES = 3
_MOST_KEY_CHARACTERS = 255
#: Seconds after which asking a paused app again makes sense.
_PAUSED_RETRY_SECONDS = 10


class DataPlaneDispatcher(Dispatcher, Protocol):
    """What only the data plane needs: Idempotency-Keys."""

    async def accept_async_once(self, arrival: Arrival, *, key: str, fingerprint: bytes) -> FirstAnswer: ...

    async def run_sync_once(
        self, arrival: Arrival, *, timeout_ms: int, key: str, fingerprint: bytes
    ) -> tuple[Reply, bool]: ...


class MethodNotAllowedError(NotFoundError):
    """Raised when the path exists, for other methods."""

    code = "method_not_allowed"

    def __init__(self, allowed: list[str]) -> None:
        super().__init__("this path answers other methods")
        self.allowed = allowed


@dataclass(frozen=True, slots=True)
class AppPath:
    """Which app a request is for, and the path inside it.

    Attributes:
        path: percent-decoded, begins with a slash.
        segments: of the path, decoded one by one: an encoded slash divides nothing.
        is_own_host: asked for as ``/@{app}/…`` on PiCloud's own host.
    """

    app_name: str
    path: str
    segments: tuple[str, ...]
    is_own_host: bool

    @classmethod
    def from_raw(cls, app_name: str, raw_path: bytes, *, is_own_host: bool) -> AppPath:
        """From a path as it came, percent-encoded."""
        text = raw_path.decode("latin-1")
        segments = tuple(text[1:].split("/"))
        if "%" in text or not text.isascii():
            segments = tuple(unquote(segment.encode("latin-1").decode("utf-8", "replace")) for segment in segments)
            text = "/" + "/".join(segments)
        return cls(app_name, text, segments, is_own_host)


@dataclass(frozen=True, slots=True)
class _Call:
    """One request, read and checked."""

    id: UUID
    head: RequestHead
    body: bytes | None
    key: str | None
    traceparent: str | None = None
    admitted: Admitted = NOBODY

    @property
    def fingerprint(self) -> bytes:
        """What its Idempotency-Key names."""
        return fingerprint(self.head, self.body, self.admitted.name)


class DataPlane:
    """Answers the requests of apps."""

    def __init__(
        self,
        settings: Settings,
        directory: Directory,
        dispatcher: DataPlaneDispatcher,
        provenance: Provenance,
        callers: Callers,
    ) -> None:
        self._directory = directory
        self._callers = callers
        self._provenance = provenance
        self._dispatcher = dispatcher
        self._most_body_bytes = settings.max_body_bytes
        self._executions_url = f"{settings.base_url}/api/v1/executions/"
        self._retry = settings.retry.policy()

    async def handle(
        self, request: falcon.asgi.Request, response: falcon.asgi.Response, where: AppPath, *, is_proxy_trusted: bool
    ) -> None:
        """Answer ``request``; every outcome, errors too, is in ``response``."""
        if where.is_own_host:
            sandbox(response)
        execution_id = new_id()
        seen = request.context.seen = Seen(execution_id, where.app_name, request.get_header("traceparent"))
        if seen.brought is not None:
            response.set_header("traceparent", seen.brought.header)
        is_tried = False
        try:
            app, match = await self._find(where, request.method)
            if match is None:
                return _write_options(response, app.routes.methods(where.segments))
            seen.matched(match.route.is_sync, match.route.path)
            admitted = await self._callers.admit(match.route.auth, where.app_name, request.headers_lower)
            call = await self._read(request, where.path, execution_id, is_proxy_trusted)
            await self._callers.check_signature(match.route.auth, app.id, request.headers_lower, call.body)
            call = replace(call, admitted=admitted)
            is_tried = True
            with about(app=where.app_name, execution_id=execution_id):
                await self._call(response, where, app, match, replace(call, traceparent=seen.traceparent))
        except PiCloudError as error:
            if isinstance(error, MethodNotAllowedError):
                response.set_header("Allow", ", ".join(error.allowed))
            if isinstance(error, AuthenticationError) and not isinstance(error, SignatureError):
                response.set_header("WWW-Authenticate", 'Bearer realm="picloud"')  # RFC 6750, section 3
            with about(app=where.app_name, execution_id=execution_id):
                problems.write_error(response, error, execution_id if is_tried and _may_be_written(error) else None)

    async def _find(self, where: AppPath, method: str) -> tuple[App, Match | None]:
        """The app and the route of this request; no match: OPTIONS of a path that does not define it.

        Raises:
            NotFoundError: no such app, or no such route.
            CapacityError: code ``app_paused``.
        """
        app = await self._directory.app(where.app_name)
        match = app.routes.find(method, where.segments) if app is not None else None
        if app is not None and (match is None or app.is_paused):
            # About to say no: not before PostgreSQL was asked lately.
            app = await self._directory.recheck(where.app_name)
            match = app.routes.find(method, where.segments) if app is not None else None
        if app is None:
            raise NotFoundError(
                f"no app is called {where.app_name!r}" if where.app_name.isprintable() else "no such app"
            )
        if app.is_paused:
            raise CapacityError("the app is paused", code="app_paused", retry_after_seconds=_PAUSED_RETRY_SECONDS)
        if match is None:
            allowed = app.routes.methods(where.segments)
            if not allowed:
                raise NotFoundError("no route of this app answers this path")
            if method != "OPTIONS":
                raise MethodNotAllowedError(allowed)
        return app, match

    async def _read(self, request: falcon.asgi.Request, path: str, execution_id: UUID, is_proxy_trusted: bool) -> _Call:
        """The whole request, refused when no script could be given it.

        Raises:
            InvalidInputError: ``body_too_large`` or ``request_not_usable``.
        """
        body = await read_body(request, self._most_body_bytes)
        check_body(body, request.content_type)
        key = request.get_header("idempotency-key")
        if key is not None and not 0 < len(key) <= _MOST_KEY_CHARACTERS:
            raise InvalidInputError(f"an Idempotency-Key has 1 to {_MOST_KEY_CHARACTERS} characters")
        head = RequestHead(request.method, path, request.query_string, request.headers_lower, is_proxy_trusted)
        return _Call(execution_id, head, body, key)

    async def _call(self, response: falcon.asgi.Response, where: AppPath, app: App, match: Match, call: _Call) -> None:
        """Run or accept; when the app was deployed in between, find the route again under the same execution id."""
        for _ in range(_MOST_TRIES):
            arrival = self._arrival(app, match, call)
            try:
                if match.route.is_sync:
                    return await self._run(response, where, match, arrival, call)
                return await self._accept(response, arrival, call)
            except AppChangedError:
                await self._directory.refresh(where.app_name)
                app, found = await self._find(where, call.head.method)
                if found is None:
                    return _write_options(response, app.routes.methods(where.segments))
                match = found
                call = await self._admit_again(app, match, where, call)
        raise CapacityError("the app is being changed all the time")

    async def _admit_again(self, app: App, match: Match, where: AppPath, call: _Call) -> _Call:
        """The call as the route of this moment admits it: routes and credentials may both have changed."""
        auth, headers = match.route.auth, call.head.headers
        admitted = await self._callers.admit(auth, where.app_name, headers, is_again=True)
        await self._callers.check_signature(auth, app.id, headers, call.body)
        return replace(call, admitted=admitted)

    def _arrival(self, app: App, match: Match, call: _Call) -> Arrival:
        route = match.route
        hops = self._provenance.of(call.head.headers.get(provenance.HEADER))
        return Arrival(
            id=call.id,
            app_id=app.id,
            app_revision=app.revision,
            script_id=route.script_id,
            source="http",
            principal_id=route.principal_id,
            event=event_document(call.head, match.params, call.admitted.name),
            retry=ONE_ATTEMPT if route.is_sync else self._retry,
            body=call.body,
            trigger_id=route.id,
            root_execution_id=hops.root if hops else None,
            trigger_depth=hops.depth + 1 if hops else 0,
            traceparent=call.traceparent,
            access_revision=call.admitted.revision,
        )

    async def _run(
        self, response: falcon.asgi.Response, where: AppPath, match: Match, arrival: Arrival, call: _Call
    ) -> None:
        timeout_ms = match.route.timeout_ms
        if call.key is None:
            reply = await self._dispatcher.run_sync(arrival, timeout_ms=timeout_ms)
        else:
            reply, is_replay = await self._dispatcher.run_sync_once(
                arrival, timeout_ms=timeout_ms, key=call.key, fingerprint=call.fingerprint
            )
            if is_replay:
                response.set_header("Idempotency-Replayed", "true")
        write_reply(response, reply, is_own_host=where.is_own_host)

    async def _accept(self, response: falcon.asgi.Response, arrival: Arrival, call: _Call) -> None:
        if call.key is None:
            accepted_at, execution_id = await self._dispatcher.accept_async(arrival), arrival.id
        else:
            first = await self._dispatcher.accept_async_once(arrival, key=call.key, fingerprint=call.fingerprint)
            accepted_at, execution_id = first.accepted_at, first.execution_id
            if not first.is_first:
                response.set_header("Idempotency-Replayed", "true")
        response.status = 202
        response.content_type = "application/json"
        response.set_header("Location", f"{self._executions_url}{execution_id}")
        response.set_header("X-Execution-Id", str(execution_id))
        response.data = msgspec.json.encode(
            {"accepted_at": accepted_at.astimezone(dt.UTC), "execution_id": execution_id}
        )


def _may_be_written(error: PiCloudError) -> bool:
    """Whether an execution may exist after this error. Refusals come before anything is written."""
    return not isinstance(
        error,
        AuthenticationError | CapacityError | ConflictError | InvalidInputError | NotFoundError | PermissionDeniedError,
    )


def _write_options(response: falcon.asgi.Response, allowed: list[str]) -> None:
    """OPTIONS of a path whose script does not answer it itself. No CORS headers: those are the script's decision."""
    response.status = 204
    response.set_header("Allow", ", ".join(allowed))
