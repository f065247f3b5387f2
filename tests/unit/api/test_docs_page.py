"""The page that explains the API: complete, and whole in itself."""

from __future__ import annotations

import base64
import hashlib
import re

from picloud_web.api import all_endpoints
from picloud_web.api.docs_page import page
from picloud_web.api.openapi import document


def test_the_page_explains_every_operation_and_every_type() -> None:
    text = page().text
    for endpoint in all_endpoints():
        assert f'<details id="{endpoint.operation_id}">' in text
        assert endpoint.needs is None or f"<code>{endpoint.needs}</code>" in text
    for name in document()["components"]["schemas"]:
        assert text.count(f'<details id="type-{re.sub(r"[^A-Za-z0-9_]+", "-", name)}">') == 1, name


def test_every_link_on_the_page_leads_somewhere_on_it_and_nothing_is_loaded() -> None:
    text = page().text
    ids = set(re.findall(r'id="([^"]+)"', text))
    links = set(re.findall(r'href="([^"]+)"', text))
    assert {link.removeprefix("#") for link in links if link.startswith("#")} <= ids
    assert {link for link in links if not link.startswith("#")} == {"openapi.json"}
    assert not re.search(r"<(img|link|iframe|object)\b|<script src|@import|url\(", text)


def test_the_policy_allows_the_style_and_the_script_of_the_page_and_nothing_else() -> None:
    shown = page()
    assert shown.policy.startswith("default-src 'none';")
    for element in ("style", "script"):
        (text,) = re.findall(rf"<{element}>(.*?)</{element}>", shown.text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{element}-src 'sha256-{digest}'" in shown.policy
    assert "unsafe" not in shown.policy
    assert not re.search(r'\s(style|on\w+)="', shown.text)


def test_examples_of_bodies_are_what_the_endpoints_accept() -> None:
    import msgspec

    for endpoint in all_endpoints():
        if endpoint.body is None or endpoint.body is msgspec.Raw:
            continue
        path = "/api/v1" + re.sub(r":(uuid|int|path|segment)", "", endpoint.path)
        operation = document()["paths"][path][endpoint.method.lower()]
        example = operation["requestBody"]["content"]["application/json"]["example"]
        msgspec.convert(example, endpoint.body, strict=False)
