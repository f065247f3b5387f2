"""Compiles scripts once and runs them often.

A run takes what the outbox row says and gives back bytes that are ready to be
stored: nothing here knows PostgreSQL, Redis or HTTP. A failing script is no
exception to the caller: it is a ``RunResult`` with a ``RunFailure``.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import Any, cast
from uuid import UUID

import msgspec
import rhai

from picloud.engine.limits import ScriptLimits, engine_limits
from picloud.engine.sdk.context import RunContext, RunLog
from picloud.engine.sdk.description import SdkModule
from picloud.engine.sdk.errors import caught_by_scripts, told_of
from picloud.engine.sdk.modules.response import Response
from picloud.engine.sdk.modules.url import query_fields
from picloud.engine.sdk.registration import register, script_modules
from picloud.errors import PiCloudError, ScriptError
from picloud.services.desk import RunServices
from picloud.settings import SandboxCeilings

#: Compiled scripts kept in a process; the least recently used goes first.
_CACHED_SCRIPTS = 512

#: A script may put its own retry off by this much at most.
_LONGEST_DELAY_SECONDS = 30 * 86_400

#: The constant every script sees; the compiler must know its name.
_CTX = "ctx"


@dataclass(frozen=True, slots=True)
class Run:
    """One execution, as the engine needs to know it.

    Attributes:
        event: JSON object: the request or event without its body.
        body: raw bytes of an HTTP body, None for other sources.
        traceparent: its span, as calls to others name it.
    """

    execution_id: UUID
    root_execution_id: UUID
    app: str
    script: str
    version: int
    source: str
    trigger: str | None
    principal: str
    trigger_depth: int
    attempt: int
    is_sync: bool
    event: bytes
    body: bytes | None = None
    traceparent: str = ""


@dataclass(frozen=True, slots=True)
class RunFailure:
    """Why a run failed.

    Attributes:
        code: script_failed, script_timeout, sandbox_limit_exceeded, script_does_not_compile,
            request_not_usable, cancelled or internal_error.
        script: that the place is in, when it is another than the one that ran: one it imports.
        reason: the code of what a service refused.
        hint: what to do about that.
        retryable: False: trying again cannot help, or the script said so.
        retry_after_ms: the delay the script asked for.
    """

    code: str
    message: str
    line: int | None = None
    column: int | None = None
    function: str | None = None
    script: str | None = None
    limit: str | None = None
    reason: str | None = None
    hint: str | None = None
    value: Any = None
    retryable: bool = True
    retry_after_ms: int | None = None

    def to_json(self) -> bytes:
        """The error document that is stored and shown; empty members are left out."""
        document = {
            "code": self.code,
            "message": self.message,
            "line": self.line,
            "column": self.column,
            "function": self.function,
            "script": self.script,
            "limit": self.limit,
            "reason": self.reason,
            "hint": self.hint,
            "value": self.value,
        }
        return json.dumps({name: value for name, value in document.items() if value is not None}, default=repr).encode()


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a run came to.

    Attributes:
        kind: unit, json, text, blob or response; None when it failed.
        data: the result as bytes.
        headers: of a response.
        logs: JSON array of log lines, None when there are none.
    """

    kind: str | None = None
    data: bytes | None = None
    http_status: int | None = None
    headers: tuple[tuple[str, str], ...] = ()
    logs: bytes | None = None
    run_us: int = 0
    operations: int = 0
    leaked_bytes: int = 0
    failure: RunFailure | None = field(default=None)


class ScriptRunner:
    """The engine of one process: shared modules, a cache of compiled scripts. Thread-safe."""

    def __init__(
        self,
        ceilings: SandboxCeilings,
        *,
        extra: Iterable[SdkModule] = (),
        new_context: Callable[[RunServices | None], RunContext] = RunContext,
    ) -> None:
        """An engine that runs scripts under ``ceilings``.

        Args:
            extra: modules beside those every script sees.
            new_context: makes what host functions know of a run.
        """
        modules, types = script_modules()
        more_modules, more_types = register(extra)
        modules, types = modules + more_modules, types + more_types
        self._ceilings = ceilings
        self._new_context = new_context
        self._engine = rhai.Engine(
            modules=modules,
            types=types,
            limits=engine_limits(ScriptLimits(), ceilings),
            resolver=self._imported,
            describe_error=caught_by_scripts,
        )
        self._compiled: OrderedDict[tuple[int, int], rhai.Script | RunFailure] = OrderedDict()
        self._limits: dict[ScriptLimits, rhai.Limits] = {}
        self._lock = threading.Lock()

    def prepare(self, key: tuple[int, int], name: str, source: str) -> None:
        """Compile a version; ``key`` is (script id, version) and never means another source."""
        compiled: rhai.Script | RunFailure
        try:
            compiled = self._engine.compile(source, name=name, constants=(_CTX,))
        except rhai.RhaiError as error:
            compiled = _failure_of(error)
        with self._lock:
            self._compiled[key] = compiled
            self._compiled.move_to_end(key)
            while len(self._compiled) > _CACHED_SCRIPTS:
                self._compiled.popitem(last=False)

    def _imported(self, path: str, _importer: str | None) -> rhai.Script | None:
        """``import "path"``: another script of the app that runs, at its deployed version."""
        services: RunServices = rhai.current_context().services
        key = services.catalog.scripts.get(path)
        if key is None:
            return None
        with self._lock:
            compiled = self._compiled.get(key)
        if compiled is None:
            self.prepare(key, path, services.source(key))
            with self._lock:
                compiled = self._compiled[key]
        if isinstance(compiled, RunFailure):
            raise ScriptError(compiled.message, name=path, line=compiled.line or 0, column=compiled.column or 0)
        return compiled

    def knows(self, key: tuple[int, int]) -> bool:
        """Is this version compiled? Marks it as used."""
        with self._lock:
            if key not in self._compiled:
                return False
            self._compiled.move_to_end(key)
            return True

    def run(
        self,
        key: tuple[int, int],
        run: Run,
        limits: ScriptLimits,
        cancel: rhai.CancelToken | None = None,
        services: RunServices | None = None,
    ) -> RunResult:
        """Run a prepared version on the calling thread; the GIL is released while the script runs.

        Args:
            services: what the script may do to the world; None: it can only compute.

        Raises:
            KeyError: the version is not prepared (or was pushed out by others).
        """
        with self._lock:
            script = self._compiled[key]
        if isinstance(script, RunFailure):
            return RunResult(failure=script)
        context = self._new_context(services)
        log = context.log
        try:
            ctx = _ctx(run)
        except ValueError as error:
            return RunResult(failure=RunFailure("request_not_usable", str(error), retryable=False))
        try:
            outcome = script.execute(
                constants={_CTX: ctx},
                context=context,
                limits=self._engine_limits(limits),
                on_print=lambda text: log.write("info", text),
                on_debug=lambda text, _source, line, column: log.write("debug", f"{line}:{column}: {text}"),
                cancel=cancel,
            )
        except rhai.RhaiError as error:
            return _failed(error, log)
        return _succeeded(outcome, log)

    def _engine_limits(self, limits: ScriptLimits) -> rhai.Limits:
        found = self._limits.get(limits)
        if found is None:
            found = self._limits[limits] = engine_limits(limits, self._ceilings)
        return found


def new_cancel_token() -> rhai.CancelToken:
    """A token that stops a run from another thread."""
    return rhai.CancelToken()


def check_script(name: str, source: str) -> None:
    """Compile without running.

    Raises:
        ScriptError: with the line and column of the first problem.
    """
    try:
        _checking_engine().compile(source, name=name, constants=(_CTX,))
    except rhai.RhaiError as error:
        raise ScriptError(error.message, name=name, line=error.line or 0, column=error.column or 0) from error


@cache
def _checking_engine() -> rhai.Engine:
    """One engine compiles all that is only checked: a deploy checks every script of an app."""
    modules, types = script_modules()
    return rhai.Engine(modules=modules, types=types)


def _ctx(run: Run) -> dict[str, Any]:
    """The value of ``ctx``; ``picloud.engine.sdk.ctx`` describes it."""
    ctx: dict[str, Any] = {
        "app": run.app,
        "script": run.script,
        "version": run.version,
        "execution_id": str(run.execution_id),
        "root_execution_id": str(run.root_execution_id),
        "trigger_depth": run.trigger_depth,
        "attempt": run.attempt,
        "principal": run.principal,
        "trigger": run.trigger,
        "traceparent": run.traceparent,
    }
    if run.source == "http":
        request = _request(run)
        # A route runs as its app; what is of interest to it is who calls, if that is known.
        ctx["principal"] = request.pop("caller", None)
        ctx["request"] = request
        if not run.is_sync:
            ctx["event"] = request | {"source": "http"}
    elif run.source == "dead_letter" and run.body is not None:
        ctx["event"] = _letter(run)
    else:
        # Spliced, not decoded: the event may be large and is parsed by the engine itself.
        rest = run.event.lstrip()[1:]
        separator = b"" if rest.lstrip().startswith(b"}") else b","
        ctx["event"] = rhai.Json(b'{"source":' + json.dumps(run.source).encode() + separator + rest)
    return ctx


def _request(run: Run) -> dict[str, Any]:
    return _with_body(msgspec.json.decode(run.event), run.body)


def _letter(run: Run) -> dict[str, Any]:
    """The event of a handler whose letter was an HTTP request: the body that died is part of it."""
    event: dict[str, Any] = msgspec.json.decode(run.event)
    return event | {"source": "dead_letter", "original": _with_body(event["original"], run.body)}


def _with_body(request: dict[str, Any], body: bytes | None) -> dict[str, Any]:
    content_type = (request.pop("content_type", None) or "").partition(";")[0].strip().lower()
    request["body"], request["raw_body"] = _body(body, content_type)
    return request


def _body(body: bytes | None, content_type: str) -> tuple[Any, Any]:
    """The body as a script wants it, and as it came: text where it is UTF-8, else a blob."""
    if not body:
        return None, ""
    try:
        raw: str | bytes = body.decode("utf-8")
    except UnicodeDecodeError:
        raw = body
    if content_type == "application/json" or content_type.endswith("+json"):
        return rhai.Json(body), raw
    if content_type == "application/x-www-form-urlencoded" and isinstance(raw, str):
        return query_fields(raw), raw
    return raw, raw


def _succeeded(outcome: rhai.Outcome, log: RunLog) -> RunResult:
    stats = outcome.stats
    kind: str = outcome.kind
    data = outcome.data
    status: int | None = None
    headers: tuple[tuple[str, str], ...] = ()
    if kind == "host":
        if not isinstance(outcome.host, Response):
            failure = RunFailure(
                "script_failed", f"a {type(outcome.host).__name__} cannot be a result", retryable=False
            )
            return RunResult(failure=failure, logs=log.to_json(), run_us=round(stats.wall_seconds * 1e6))
        kind, data = "response", outcome.host.data
        status, headers = outcome.host.status, tuple(outcome.host.headers)
    return RunResult(
        kind=kind,
        data=data,
        http_status=status,
        headers=headers,
        logs=log.to_json(),
        run_us=round(stats.wall_seconds * 1e6),
        operations=stats.operations,
        leaked_bytes=stats.leaked_bytes,
    )


def _failed(error: rhai.RhaiError, log: RunLog) -> RunResult:
    stats = error.stats
    return RunResult(
        failure=_failure_of(error),
        logs=log.to_json(),
        run_us=round(stats.wall_seconds * 1e6) if stats else 0,
        operations=stats.operations if stats else 0,
        leaked_bytes=stats.leaked_bytes if stats else 0,
    )


def _failure_of(error: rhai.RhaiError) -> RunFailure:
    """Which of our failures an error of the engine is; subclasses before their bases."""
    place: dict[str, Any] = {"line": error.line or None, "column": error.column or None, "function": error.function}
    if error.frames and error.source != error.frames[-1].source:
        place["script"] = error.source
    match error:
        case rhai.RhaiSyntaxError():
            return RunFailure("script_does_not_compile", error.message, retryable=False, **place)
        case rhai.RhaiTimeoutError():
            return RunFailure("script_timeout", error.message, **place)
        case rhai.RhaiLimitError():
            return RunFailure("sandbox_limit_exceeded", error.message, limit=error.limit, **place)
        case rhai.RhaiCancelled():
            return RunFailure("cancelled", error.message, retryable=False, **place)
        case rhai.RhaiThrow():
            return _thrown(error, place)
        case rhai.RhaiInputError():
            return RunFailure("request_not_usable", error.message, retryable=False)
        case rhai.RhaiInternalError():
            return RunFailure("internal_error", error.message, **place)
        case rhai.RhaiHostError():
            return _refused(error, place)
        case _:
            return RunFailure("script_failed", error.message, **place)


def _refused(error: rhai.RhaiHostError, place: dict[str, Any]) -> RunFailure:
    """A service said no, or broke."""
    told = told_of(error.__cause__)
    if told.code == PiCloudError.code:
        return RunFailure("internal_error", told.message, **place)
    return RunFailure("script_failed", told.message, reason=told.code, hint=told.hint, **place)


def _thrown(error: rhai.RhaiThrow, place: dict[str, Any]) -> RunFailure:
    """``throw``: text, or a map that also says whether and when to try again."""
    if not isinstance(error.value, dict):
        message = error.value if isinstance(error.value, str) else error.message
        return RunFailure("script_failed", message, **place)
    value = cast("dict[str, Any]", error.value)
    return RunFailure(
        "script_failed",
        str(value.get("message", error.message)),
        value=value,
        retryable=value.get("retry") is not False,
        retry_after_ms=_delay_ms(value.get("retry_after_seconds")),
        **place,
    )


def _delay_ms(seconds: object) -> int | None:
    """The delay a script asked for; None when it is none that can be kept."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= _LONGEST_DELAY_SECONDS:
        return None
    return round(seconds * 1_000)
