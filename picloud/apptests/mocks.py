"""The web as a test describes it: calls of scripts are answered here, and none leaves the machine."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, TypedDict

import msgspec

from picloud.apptests.errors import NotMockedError
from picloud.engine.sdk.errors import ArgumentError
from picloud.engine.sdk.modules.http import body_bytes
from picloud.engine.sdk.options import read_options
from picloud.services.desk import RunOf
from picloud.services.outbound import OutboundLimits, OutboundRequest, OutboundResponse
from picloud.services.outbound.errors import ConnectionFailedError
from picloud.services.outbound.messages import first_call


class Mock(TypedDict, total=False):
    """What is answered, and to which calls.

    Attributes:
        url: the whole URL; `*` stands for any text. Needed.
        method: any when not given.
        status: 200 when not given.
        headers: of the answer.
        body: a string or a blob as it is; anything else as JSON.
        error: there is no answer: the call throws `connection_failed` with this text.
        times: how many calls it answers; all when not given.
    """

    url: str
    method: str
    status: int
    headers: dict[str, Any]
    body: Any
    error: str
    times: int


@dataclass(slots=True)
class _Answer:
    mock: Mock
    pattern: re.Pattern[str]
    left: int | None


@dataclass(slots=True)
class MockedWeb:
    """Answers calls from the mocks of a test, the latest first.

    Attributes:
        calls: each call, as ``test::http_calls`` returns it.
        unanswered: those that no mock was for.
    """

    calls: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    unanswered: list[str] = field(default_factory=list[str])
    _answers: list[_Answer] = field(default_factory=list[_Answer])

    def add(self, given: dict[str, Any]) -> None:
        """Raises: ArgumentError: the mock cannot be used."""
        mock = read_options(given, Mock)
        if "url" not in mock:
            raise ArgumentError("the option `url` is missing")
        if not 100 <= mock.get("status", 200) <= 599:
            raise ArgumentError(f"a status from 100 to 599 is expected, not {mock.get('status')}")
        pattern = ".*".join(re.escape(part) for part in mock["url"].split("*"))
        self._answers.insert(0, _Answer(mock, re.compile(pattern, re.DOTALL), mock.get("times")))

    def call(self, run: RunOf, ordinal: int, request: OutboundRequest) -> OutboundResponse:
        """Answer a call, checked as the real client checks it.

        Raises:
            OutboundError: the request cannot be sent, or the mock says there is no answer.
            NotMockedError: no mock is for it.
        """
        call = first_call(request, OutboundLimits())
        record: dict[str, Any] = {
            "method": call.method,
            "url": request.url,
            "headers": {"idempotency-key": f"{run.execution_id}:{ordinal}"}
            | {name.lower(): value for name, value in request.headers},
            "body": _shown(request.body),
            "status": None,
        }
        self.calls.append(record)
        answer = self._find(call.method, request.url)
        if answer is None:
            self.unanswered.append(f"{call.method} {request.url}")
            raise NotMockedError(
                f"{call.method} {request.url} is called, and no mock answers it: add"
                f' test::mock_http(#{{ method: "{call.method}", url: "{request.url}", status: 200, body: () }})'
            )
        if answer.left is not None:
            answer.left -= 1
        if "error" in answer.mock:
            raise ConnectionFailedError(answer.mock["error"])
        response = _response(answer.mock, request.url)
        record["status"] = response.status
        return response

    def _find(self, method: str, url: str) -> _Answer | None:
        for answer in self._answers:
            is_of_method = answer.mock.get("method", method).upper() == method
            if answer.left != 0 and is_of_method and answer.pattern.fullmatch(url):
                return answer
        return None


def _response(mock: Mock, url: str) -> OutboundResponse:
    body, content_type = body_bytes(mock.get("body"))
    headers = {name.lower(): str(value) for name, value in mock.get("headers", {}).items()}
    if content_type is not None:
        headers.setdefault("content-type", content_type)
    return OutboundResponse(mock.get("status", 200), tuple(headers.items()), body or b"", url)


def _shown(body: bytes | None) -> Any:
    """A body as a test reads it: what is JSON as its value, text, else the bytes."""
    if not body:
        return None
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass
    try:
        return body.decode()
    except UnicodeDecodeError:
        return body
