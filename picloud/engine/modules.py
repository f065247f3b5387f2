"""What scripts may call beside the language itself: ``response`` and ``log``.

Host functions see the run they serve as their first parameter, so that one set
of modules, built once, serves every run of the process.
"""

from __future__ import annotations

import json
import time
from typing import Any

import rhai

from picloud.engine.limits import MAX_LOG_BYTES

#: A log line longer than this is cut: one line must not eat the whole budget.
_MAX_LINE_CHARACTERS = 8 * 1024


class RunLog:
    """What one run wrote to its log, up to ``MAX_LOG_BYTES``; then one line says that it was cut."""

    __slots__ = ("_budget", "_lines", "_started_ns")

    def __init__(self) -> None:
        self._lines: list[dict[str, Any]] = []
        self._budget = MAX_LOG_BYTES
        self._started_ns = time.monotonic_ns()

    def write(self, level: str, message: str, fields: Any = None) -> None:
        if self._budget <= 0:
            return
        line: dict[str, Any] = {
            "at_us": (time.monotonic_ns() - self._started_ns) // 1_000,
            "level": level,
            "message": message[:_MAX_LINE_CHARACTERS],
        }
        if fields is not None:
            line["fields"] = fields
        self._budget -= len(line["message"]) + 64 + (len(str(fields)) if fields is not None else 0)
        if self._budget <= 0:
            line = {"at_us": line["at_us"], "level": "warn", "message": f"log cut at {MAX_LOG_BYTES} bytes"}
        self._lines.append(line)

    def to_json(self) -> bytes | None:
        """The lines as a JSON array, None when nothing was written."""
        if not self._lines:
            return None
        return json.dumps(self._lines, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


class Response:
    """A script's answer in full control of status and headers."""

    __slots__ = ("data", "headers", "status")

    def __init__(self, status: int, data: bytes, content_type: str | None) -> None:
        if not 200 <= status <= 599:
            raise ValueError(f"a status from 200 to 599 is expected, not {status}")
        self.status = status
        self.data = data
        self.headers: list[tuple[str, str]] = [("content-type", content_type)] if content_type else []

    def with_header(self, name: str, value: str) -> Response:
        """The same answer with one more header; ``content-type`` replaces the one there is."""
        changed = Response(self.status, self.data, None)
        replaced = name.lower() == "content-type"
        changed.headers = [kept for kept in self.headers if not (replaced and kept[0] == "content-type")]
        changed.headers.append((name.lower(), value))
        return changed


def _response_module() -> rhai.Module:
    module = rhai.Module("response", doc="Answers with a status and headers of the script's choice.")

    @module.fn(name="json")
    def json_response(status: int, value: rhai.Json) -> Response:
        return Response(status, bytes(value.data), "application/json")

    @module.fn(name="text")
    def text_response(status: int, text: str) -> Response:
        return Response(status, text.encode(), "text/plain; charset=utf-8")

    @module.fn(name="html")
    def html_response(status: int, text: str) -> Response:
        return Response(status, text.encode(), "text/html; charset=utf-8")

    @module.fn(name="bytes")
    def bytes_response(status: int, data: bytes, content_type: str) -> Response:
        return Response(status, data, content_type)

    @module.fn(name="redirect")
    def redirect_response(url: str) -> Response:
        return Response(302, b"", None).with_header("location", url)

    @module.fn(name="empty")
    def empty_response(status: int) -> Response:
        return Response(status, b"", None)

    return module


def _response_type() -> rhai.HostType[Response]:
    host_type = rhai.HostType(Response, name="Response")

    @host_type.method
    def with_header(response: Response, name: str, value: str) -> Response:
        return response.with_header(name, value)

    return host_type


def _log_module() -> rhai.Module:
    module = rhai.Module("log", doc="Writes to the log of this execution.")

    def register(level: str) -> None:
        @module.fn(name=level, context=True)
        def write(run_log: RunLog, message: str, fields: dict[str, Any] | None = None) -> None:
            run_log.write(level, message, fields)

    for level in ("trace", "info", "warn", "error"):
        register(level)
    return module


def script_modules() -> tuple[list[rhai.Module], list[rhai.HostType[Any]]]:
    """The modules and types every script sees."""
    return [_response_module(), _log_module()], [_response_type()]
