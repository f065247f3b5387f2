"""``[secrets]``: what an app requires."""

from __future__ import annotations

import re

import pytest

from picloud.errors import ManifestError
from picloud.manifest import parse_manifest


def test_secrets_that_an_app_requires_are_named_once() -> None:
    manifest = parse_manifest({"app": {"name": "shop"}, "secrets": {"required": ["B", "A", "B"]}})
    assert manifest.secrets == ("B", "A")
    assert parse_manifest(manifest.to_data()) == manifest
    assert "secrets" not in parse_manifest({"app": {"name": "shop"}}).to_data()


@pytest.mark.parametrize(
    ("secrets", "message"),
    [
        ({}, "secrets.required: missing: expected an array of strings"),
        ({"required": "KEY"}, "secrets.required: expected an array of strings, not the string 'KEY'"),
        ({"required": ["KEY", 1]}, "secrets.required[2]: expected a string, not the number 1"),
        ({"required": ["a b"]}, "secrets.required[1]: a secret's name has 1 to 100 letters"),
        ({"required": [], "more": 1}, "secrets.more: no such key"),
    ],
)
def test_what_cannot_be_required_is_told(secrets: dict[str, object], message: str) -> None:
    with pytest.raises(ManifestError, match=re.escape(message)):
        parse_manifest({"app": {"name": "shop"}, "secrets": secrets})
