"""Errors as HTTP responses: the one place where a status is decided.

Every error is a problem document (RFC 9457) with ``type``, ``title``,
``status``, ``detail``, ``code`` and ``execution_id``, of PiCloud's own resources
also ``request_id``. Handlers raise errors of ``picloud.errors`` or name a code;
nothing else here knows what a code means to HTTP. A 5xx that is PiCloud's own fault never says what went wrong inside.
"""

from __future__ import annotations

import http
import logging
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import falcon
import falcon.asgi
import msgspec
import psycopg

from picloud.database import is_outage
from picloud.errors import CapacityError, PiCloudError
from picloud.logs import about

_log = logging.getLogger("picloud.web")

App = falcon.asgi.App[falcon.asgi.Request, falcon.asgi.Response]

MEDIA_TYPE = "application/problem+json"

#: What each stable code means to HTTP. Codes not named here take the status of their error's class.
STATUS_BY_CODE: Mapping[str, int] = {
    # The request, at the door.
    "invalid_input": 400,
    "condition_not_supported": 400,
    "invalid_manifest": 422,
    "authentication_required": 401,
    "invalid_credentials": 401,
    "invalid_setup_link": 401,
    "too_many_attempts": 429,
    "invalid_signature": 401,
    "secret_missing": 503,
    "invalid_key": 401,
    "invalid_session": 401,
    "permission_denied": 403,
    "foreign_page": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "conflict": 409,
    "already_resolved": 409,
    "version_not_found": 409,
    "app_changed": 409,
    "idempotency_key_in_use": 409,
    "precondition_failed": 412,
    "body_too_large": 413,
    "value_too_large": 413,
    "unsupported_media_type": 415,
    "misdirected_request": 404,
    "idempotency_key_reused": 422,
    "request_not_usable": 422,
    "script_does_not_compile": 422,
    # The script.
    "script_failed": 502,
    "effects_rejected": 502,
    "worker_crash": 502,
    "worker_lost": 502,
    "invalid_response": 502,
    "cancelled": 502,
    "depth_exceeded": 508,
    "principal_disabled": 502,
    "script_timeout": 504,
    "no_answer": 504,
    "sandbox_limit_exceeded": 507,
    # PiCloud.
    "quota_exceeded": 507,
    "no_capacity": 503,
    "app_paused": 503,
    "storage_unavailable": 503,
    "master_key_missing": 503,
    "wrong_master_key": 503,
    "internal_error": 500,
}

_TITLES: Mapping[str, str] = {
    "invalid_input": "The request cannot be used",
    "condition_not_supported": "The condition is not honoured here",
    "invalid_manifest": "The manifest is wrong",
    "authentication_required": "A key is needed",
    "invalid_credentials": "Name or password is wrong",
    "invalid_setup_link": "The link is not valid any more",
    "too_many_attempts": "Too many attempts",
    "invalid_signature": "The request is not signed as this route asks for",
    "secret_missing": "The route's secret is not set",
    "invalid_key": "The key is not valid",
    "invalid_session": "The session is over",
    "permission_denied": "Not allowed",
    "foreign_page": "Another site's page may not do this",
    "not_found": "Not found",
    "method_not_allowed": "Wrong method",
    "conflict": "Changed in the meantime",
    "already_resolved": "Somebody has done something about it before",
    "version_not_found": "The version is not there",
    "app_changed": "The app changed in the meantime",
    "idempotency_key_in_use": "A request with this Idempotency-Key is still running",
    "precondition_failed": "Changed in the meantime",
    "body_too_large": "The body is too large",
    "value_too_large": "The value is too large",
    "unsupported_media_type": "Unsupported media type",
    "misdirected_request": "No such host here",
    "idempotency_key_reused": "This Idempotency-Key belongs to another request",
    "request_not_usable": "The request cannot be handed to the script",
    "script_does_not_compile": "The script does not compile",
    "script_failed": "The script failed",
    "effects_rejected": "What the script wrote was refused",
    "worker_crash": "The worker died while running the script",
    "worker_lost": "The worker was lost while running the script",
    "invalid_response": "The script's response cannot be sent",
    "cancelled": "The execution was cancelled",
    "depth_exceeded": "Too many hops from cause to effect",
    "principal_disabled": "The principal the script runs as is disabled",
    "script_timeout": "The script ran past its timeout",
    "no_answer": "No answer in time",
    "sandbox_limit_exceeded": "The script exceeded a sandbox limit",
    "quota_exceeded": "The app keeps as much as it may",
    "no_capacity": "No capacity",
    "app_paused": "The app is paused",
    "storage_unavailable": "Storage is unavailable",
    "master_key_missing": "The master key is missing",
    "wrong_master_key": "The master key is the wrong one",
    "internal_error": "Internal error",
}

#: What is said in place of the detail of PiCloud's own faults.
_INTERNAL_DETAIL = "Something went wrong inside PiCloud. It was logged."


def status_of(error: PiCloudError) -> int:
    """The status of an error: by its code, else by the code of its nearest class that has one here."""
    candidates = [error.code, *(getattr(each, "code", "") for each in type(error).__mro__)]
    return next((STATUS_BY_CODE[code] for code in candidates if code in STATUS_BY_CODE), 500)


def status_of_code(code: str) -> int:
    """The status of a failed run's code; one that is not known here failed in the script."""
    return STATUS_BY_CODE.get(code, 502)


def title_of(code: str, status: int) -> str:
    """What a code means, in a few words."""
    return _TITLES.get(code) or http.HTTPStatus(status).phrase


def document(
    code: str,
    status: int,
    detail: str | None,
    execution_id: UUID | str | None,
    extra: Mapping[str, object] | None = None,
) -> bytes:
    """The problem document, as JSON bytes."""
    content: dict[str, object] = {
        "type": f"urn:picloud:problem:{code}",
        "title": title_of(code, status),
        "status": status,
        "detail": detail,
        "code": code,
        "execution_id": None if execution_id is None else str(execution_id),
    }
    return msgspec.json.encode(content | dict(extra or {}))


def write(
    response: falcon.asgi.Response,
    code: str,
    detail: str | None = None,
    *,
    status: int | None = None,
    execution_id: UUID | str | None = None,
    retry_after_seconds: int | None = None,
    extra: Mapping[str, object] | None = None,
) -> None:
    """Make ``response`` the problem ``code``; headers set before (a route's own) are kept."""
    status = STATUS_BY_CODE.get(code, 500) if status is None else status
    if status == 500:
        detail = _INTERNAL_DETAIL
    if status in {429, 503}:
        response.set_header("Retry-After", str(retry_after_seconds or 1))
    if execution_id is not None:
        response.set_header("X-Execution-Id", str(execution_id))
    response.status = status
    response.content_type = MEDIA_TYPE
    response.set_header("Cache-Control", "no-store")
    response.text = None
    request_id = response.context.get("request_id")  # requests to apps have none
    named = {} if request_id is None else {"request_id": request_id}
    response.data = document(code, status, detail, execution_id, {**named, **(extra or {})})


def write_error(response: falcon.asgi.Response, error: PiCloudError, execution_id: UUID | str | None = None) -> None:
    """Make ``response`` the problem that ``error`` is."""
    status = status_of(error)
    retry_after = error.retry_after_seconds if isinstance(error, CapacityError) else None
    detail = error.message if error.hint is None else f"{error.message} ({error.hint})"
    if status == 500:
        _log.error("internal error: %s", error.message, exc_info=error)
    write(response, error.code, detail, status=status, execution_id=execution_id, retry_after_seconds=retry_after)


def install(app: App) -> None:
    """Answer every exception a handler lets through with a problem document."""
    app.add_error_handler(Exception, _on_exception)
    app.add_error_handler(falcon.HTTPError, _on_http_error)
    app.add_error_handler(PiCloudError, _on_picloud_error)
    app.set_error_serializer(_serialize)


async def _on_picloud_error(
    _request: falcon.asgi.Request,
    response: falcon.asgi.Response | None,
    error: PiCloudError,
    _params: object,
    **_: object,
) -> None:
    assert response is not None, "PiCloud has no websockets"
    write_error(response, error)


_CODE_BY_STATUS = {
    400: "invalid_input",
    401: "authentication_required",
    403: "permission_denied",
    404: "not_found",
    405: "method_not_allowed",
    409: "conflict",
    412: "precondition_failed",
    413: "body_too_large",
    415: "unsupported_media_type",
    422: "request_not_usable",
    503: "no_capacity",
}


async def _on_http_error(
    _request: falcon.asgi.Request,
    response: falcon.asgi.Response | None,
    error: falcon.HTTPError,
    _params: object,
    **_: object,
) -> None:
    """Errors of Falcon itself: no such resource, wrong method, unreadable media."""
    assert response is not None, "PiCloud has no websockets"
    status = error.status_code
    if error.headers is not None:
        response.set_headers(error.headers)
    code = _CODE_BY_STATUS.get(status, "internal_error" if status >= 500 else "invalid_input")
    write(response, code, error.description, status=status)


async def _on_exception(
    request: falcon.asgi.Request, response: falcon.asgi.Response | None, error: Exception, _params: object, **_: object
) -> None:
    if isinstance(error, psycopg.Error) and is_outage(error) and response is not None:
        write(response, "storage_unavailable", "PostgreSQL cannot be reached")
        return
    seen: Any = getattr(request.context, "seen", None)
    ids: dict[str, object] = seen.ids if seen is not None else {}
    with about(**ids):
        _log.error("%s %s failed", request.method, request.path, exc_info=error)
    if response is not None:
        write(response, "internal_error")


def _serialize(_request: falcon.asgi.Request, response: falcon.asgi.Response, error: falcon.HTTPError) -> None:
    """Used by Falcon where it answers without raising."""
    status = error.status_code
    write(response, _CODE_BY_STATUS.get(status, "invalid_input"), error.description, status=status)
