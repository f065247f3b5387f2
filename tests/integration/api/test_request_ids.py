"""Every answer has the id of its request, and so has what is logged and stored about it."""

from __future__ import annotations

import json
import logging

import pytest

from picloud.logs import _add_context, formatter
from tests.integration.api.conftest import Api

pytestmark = pytest.mark.integration


def test_the_callers_id_comes_back_with_every_answer_and_in_every_problem(api: Api) -> None:
    for method, path, expected in (
        ("GET", "/me", 200),
        ("GET", "/apps/none", 404),
        ("GET", "/nothing", 404),
        ("DELETE", "/me", 405),
        ("POST", "/apps", 400),
    ):
        answer = api.request(method, path, {} if method == "POST" else None, headers={"X-Request-Id": "r 1"})
        assert (answer.status_code, answer.headers["x-request-id"]) == (expected, "r 1"), path
        assert expected == 200 or answer.json["request_id"] == "r 1", path


@pytest.mark.parametrize("given", ["", "x" * 101, "tab\there", "caf\xe9"])
def test_an_id_that_cannot_be_stored_and_shown_is_replaced(api: Api, given: str) -> None:
    named = api.request("GET", "/me", headers={"X-Request-Id": given}).headers["x-request-id"]
    assert len(named) == 36
    assert named != api.request("GET", "/me", headers={"X-Request-Id": given}).headers["x-request-id"]


def test_what_is_logged_while_a_request_is_answered_carries_its_id(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[str] = []

    class Seen(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            logged.append(formatter("json").format(record))

    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr("picloud.control.apps.list_apps", broken)
    handler = Seen()
    handler.addFilter(_add_context)
    logging.getLogger("picloud.web").addHandler(handler)
    try:
        answer = api.request("GET", "/apps", headers={"X-Request-Id": "r-2"})
    finally:
        logging.getLogger("picloud.web").removeHandler(handler)
    assert (answer.status_code, answer.json["request_id"]) == (500, "r-2")
    assert [json.loads(line)["request_id"] for line in logged] == ["r-2"]


def test_the_docs_page_is_served_to_everybody_and_held_by_its_etag(api: Api) -> None:
    page = api.request("GET", "/docs", key=None)
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
