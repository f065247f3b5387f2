"""The pages to sign in and to set up: what they are allowed to do, and that an app's host serves neither."""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Any

import pytest

from tests.integration.web.conftest import Stage, Web
from tests.integration.web.emulated_worker import EmulatedWorker

pytestmark = pytest.mark.integration


def _directives(result: Any) -> dict[str, str]:
    policy = result.headers["content-security-policy"]
    return {name: value for name, _, value in (each.strip().partition(" ") for each in policy.split(";"))}


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def test_the_pages_run_their_own_script_and_load_nothing(stage: Stage) -> None:
    async def story(web: Web, _worker: EmulatedWorker) -> None:
        for path in ("/login", "/setup"):
            page = await web.call("GET", path)
            assert page.status_code == 200
            rules = _directives(page)
            assert (rules["default-src"], rules["connect-src"], rules["frame-ancestors"]) == (
                "'none'",
                "'self'",
                "'none'",
            )
            (script,) = re.findall(r"<script>(.*?)</script>", page.text, re.DOTALL)
            (style,) = re.findall(r"<style>(.*?)</style>", page.text, re.DOTALL)
            assert (rules["script-src"], rules["style-src"]) == (_hash(script), _hash(style))
            assert page.headers["referrer-policy"] == "no-referrer"
            assert page.headers["cache-control"] == "no-store"
            assert not re.search(r"(?:src|href)\s*=|https?://|\son\w+=|\sstyle=", page.text)

    stage.play(story)


def test_the_landing_page_leads_to_the_login_and_an_app_s_host_does_not_have_it(stage: Stage) -> None:
    async def story(web: Web, worker: EmulatedWorker) -> None:
        assert 'href="/login"' in (await web.call("GET", "/")).text
        for path in ("/login", "/setup", "/api/v1/auth/login"):
            answer = await web.call("GET", path, host="shop.localhost:8000")
            assert answer.status_code == 404, path
            assert "PiCloud" not in answer.text.replace("urn:picloud", "")

    stage.play(story)
