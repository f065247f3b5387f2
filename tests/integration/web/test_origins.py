from __future__ import annotations

import asyncio
from typing import Any

import pytest

from picloud_web.responses import SANDBOX
from tests.integration.web.conftest import Stage, Web
from tests.integration.web.emulated_worker import EmulatedWorker
from tests.seeds import create_app, create_route, map_domain

pytestmark = pytest.mark.integration

HOSTILE = (
    ("Set-Cookie", "a=1"),
    ("Service-Worker-Allowed", "/"),
    ("Clear-Site-Data", '"*"'),
    ("Strict-Transport-Security", "max-age=1"),
    ("Content-Type", "text/html"),
)


async def page(web: Web, worker: EmulatedWorker, path: str, host: str) -> Any:
    asked = asyncio.create_task(web.call("GET", path, host=host))
    await worker.serve(result_kind="response", http_status=200, http_headers=HOSTILE, data=b"<script>")
    return await asked


def test_on_our_own_host_an_apps_page_is_sandboxed_and_sets_no_cookie(stage: Stage) -> None:
    create_route(stage.db, stage.app, "GET", "/page")

    async def story(web: Web, worker: EmulatedWorker) -> None:
        answer = await page(web, worker, "/@shop/page", "127.0.0.1:8000")
        assert answer.headers["content-security-policy"] == SANDBOX
        for name in ("set-cookie", "service-worker-allowed", "clear-site-data", "strict-transport-security"):
            assert name not in answer.headers

    stage.play(story)


@pytest.mark.parametrize("path", ["/@shop/nowhere", "/@nobody/", "/@shop"])
def test_on_our_own_host_errors_of_apps_are_sandboxed_too(stage: Stage, path: str) -> None:
    async def story(web: Web, worker: EmulatedWorker) -> None:
        answer = await web.call("GET", path)
        assert answer.status_code == 404
        assert answer.headers["content-security-policy"] == SANDBOX

    stage.play(story)


@pytest.mark.parametrize("host", ["shop.localhost:8000", "shop.example", "SHOP.example:443"])
def test_on_its_own_host_an_app_is_not_sandboxed_and_may_set_cookies(stage: Stage, host: str) -> None:
    create_route(stage.db, stage.app, "GET", "/page")
    map_domain(stage.db, stage.app, "shop.example")

    async def story(web: Web, worker: EmulatedWorker) -> None:
        answer = await page(web, worker, "/page", host)
        assert "content-security-policy" not in answer.headers
        assert answer.headers["set-cookie"] == "a=1"
        for name in ("service-worker-allowed", "clear-site-data", "strict-transport-security"):
            assert name not in answer.headers

    stage.play(story)


@pytest.mark.parametrize("path", ["/@shop/page", "/@evil/page", "/api/v1/apps", "/healthz", "/readyz", "/metrics", "/"])
@pytest.mark.parametrize("host", ["shop.localhost:8000", "shop.example"])
def test_an_apps_host_serves_that_app_and_nothing_else(stage: Stage, host: str, path: str) -> None:
    create_route(stage.db, stage.app, "GET", "/page")
    create_route(stage.db, create_app(stage.db, "evil"), "GET", "/page")
    map_domain(stage.db, stage.app, "shop.example")

    async def story(web: Web, worker: EmulatedWorker) -> None:
        answer = await web.call("GET", path, host=host)
        assert (answer.status_code, answer.json["code"]) == (404, "not_found")
        assert answer.json["detail"] == "no route of this app answers this path"

    stage.play(story)


@pytest.mark.parametrize("path", ["/", "/healthz", "/@shop/page", "/api/v1/apps"])
def test_a_host_nobody_mapped_is_refused(stage: Stage, path: str) -> None:
    create_route(stage.db, stage.app, "GET", "/page")

    async def story(web: Web, worker: EmulatedWorker) -> None:
        answer = await web.call("GET", path, host="rebound.example:8000")
        assert (answer.status_code, answer.json["code"]) == (404, "misdirected_request")
        assert stage.stored() == 0

    stage.play(story)


def test_credentials_of_the_platform_never_reach_the_payload(stage: Stage) -> None:
    create_route(stage.db, stage.app, "POST", "/later", "async")
    key = "pic_pat_4fG7kQ2mX9bT1zR8vN5cJ0yL3wH6dS"

    async def story(web: Web, worker: EmulatedWorker) -> None:
        headers = {"Authorization": f"Bearer {key}", "Cookie": "picloud_session=s3cret; theme=dark", "X-Key": key}
        answer = await web.call("POST", "/@shop/later", headers=headers, query_string=f"key={key}&a=1")
        assert answer.status_code == 202
        event = bytes(stage.value("select event from payloads")).decode()
        assert key not in event
        assert "s3cret" not in event
        assert "theme=dark" in event

    stage.play(story)


def test_our_own_host_serves_our_own_pages(stage: Stage) -> None:
    async def story(web: Web, worker: EmulatedWorker) -> None:
        assert (await web.call("GET", "/healthz")).json == {"status": "ok"}
        assert (await web.call("GET", "/readyz")).status_code == 200
        metrics = (await web.call("GET", "/metrics", remote_addr="127.0.0.1")).text
        assert "picloud_redis_up 1.0\n" in metrics
        landing = await web.call("GET", "/")
        assert landing.status_code == 200
        assert "PiCloud" in landing.text
        missing = await web.call("GET", "/nowhere")
        assert (missing.status_code, missing.json["code"]) == (404, "not_found")
        assert missing.headers["content-type"] == "application/problem+json"

    stage.play(story)
