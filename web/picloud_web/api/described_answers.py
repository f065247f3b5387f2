"""What an endpoint answers, as OpenAPI describes it: what it returns, and the problems it may have."""

from __future__ import annotations

import http
from collections.abc import Mapping
from typing import Any

from picloud_web import problems
from picloud_web.api.conditions import FIGURES
from picloud_web.api.described_values import reference, schema
from picloud_web.api.endpoints import Endpoint, Html

_STRING: Mapping[str, Any] = {"type": "string"}
_REQUEST_ID: Mapping[str, Any] = {
    "X-Request-Id": {"description": "The caller's, or a new one; also in the log.", "schema": _STRING}
}
_ETAG: Mapping[str, Any] = {"ETag": {"description": "Names this answer; strong.", "schema": _STRING}}


def describe_answers(endpoint: Endpoint) -> dict[str, Any]:
    """The ``responses`` of an operation."""
    answers: dict[str, Any] = {}
    for status in endpoint.statuses if endpoint.returns is not None else (204,):
        answers[str(status)] = _answer(endpoint, status)
    if endpoint.method == "GET" and not endpoint.is_stream:
        answers["304"] = {"description": "The caller has it: `If-None-Match`.", "headers": {**_REQUEST_ID, **_ETAG}}
    by_status: dict[int, list[str]] = {}
    for code in _codes(endpoint):
        by_status.setdefault(problems.status_of_code(code), []).append(code)
    for status, codes in sorted(by_status.items()):
        answers[str(status)] = _problem(status, codes)
    answers["default"] = _problem(None, [])
    return answers


def _answer(endpoint: Endpoint, status: int) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": http.HTTPStatus(status).phrase, "headers": dict(_REQUEST_ID)}
    if endpoint.returns is None or status == 204:
        return answer
    if endpoint.is_stream:
        answer["description"] = "Server-sent events; the data of each is a JSON object of the type in `x-events`."
        answer["content"] = {"text/event-stream": {"schema": _event(list(endpoint.events))}}
        answer["x-events"] = {name: schema(each) for name, each in endpoint.events.items()}
    elif endpoint.returns is Html:
        answer["content"] = {"text/html": {"schema": dict(_STRING)}}
    else:
        answer["content"] = {"application/json": {"schema": schema(endpoint.returns)}}
    if (endpoint.method == "GET" and not endpoint.is_stream) or endpoint.returns in FIGURES:
        answer["headers"] |= _ETAG
    return answer


def _event(names: list[str]) -> dict[str, Any]:
    """One event of a stream, its fields by name."""
    data = {"type": "string", "contentMediaType": "application/json"}
    return {
        "type": "object",
        "properties": {"event": {"enum": names}, "id": dict(_STRING), "data": data},
        "required": ["event", "data"],
    }


def _problem(status: int | None, codes: list[str]) -> dict[str, Any]:
    if status is None:
        content: dict[str, Any] = {"schema": reference("Problem")}
        return {
            "description": "Another problem.",
            "headers": dict(_REQUEST_ID),
            "content": {problems.MEDIA_TYPE: content},
        }
    example: dict[str, Any] = {
        "type": f"urn:picloud:problem:{codes[0]}",
        "title": problems.title_of(codes[0], status),
        "status": status,
        "detail": "What, where, and how to put it right.",
        "code": codes[0],
        "execution_id": None,
    }
    return {
        "description": "; ".join(f"`{code}`: {problems.title_of(code, status)}" for code in codes) + ".",
        "headers": dict(_REQUEST_ID),
        "content": {problems.MEDIA_TYPE: {"schema": reference("Problem"), "example": example}},
        "x-codes": codes,
    }


def _codes(endpoint: Endpoint) -> list[str]:
    """The codes of its problems, as far as they follow from what it is, and those it names itself."""
    codes = ["invalid_input"]
    if endpoint.method != "GET" or endpoint.headers is not None:
        codes.append("condition_not_supported")
    if endpoint.needs is not None:
        codes += ["authentication_required", "invalid_key", "invalid_session", "permission_denied"]
    if endpoint.method != "GET":
        codes.append("foreign_page")
    if endpoint.placeholders:
        codes.append("not_found")
    if endpoint.method != "GET" and endpoint.needs is not None:
        codes.append("conflict")
    if endpoint.honours("If-Match"):
        codes.append("precondition_failed")
    if endpoint.body is not None:
        codes += ["body_too_large", "unsupported_media_type"]
    return list(dict.fromkeys([*codes, *endpoint.errors, "storage_unavailable"]))
