"""``auth`` of a route: words, tables, and every way to get it wrong."""

from __future__ import annotations

from typing import Any

import pytest

from picloud.access.route_auth import OPEN, RouteAuth
from picloud.errors import ManifestError
from picloud.manifest import parse_manifest


def _manifest(auth: Any) -> dict[str, Any]:
    route = {"method": "POST", "path": "/hook", "script": "scripts/hook.rhai"}
    return {"app": {"name": "shop"}, "route": [route | ({} if auth is None else {"auth": auth})]}


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (None, OPEN),
        ("none", OPEN),
        ("api_key", RouteAuth(kind="api_key")),
        ({"kind": "api_key"}, RouteAuth(kind="api_key")),
        ({"kind": "github", "secret": "HOOK"}, RouteAuth(kind="github", secret="HOOK")),
        (
            {
                "kind": "hmac",
                "secret": "S",
                "header": "X-Line",
                "encoding": "base64",
                "algorithm": "sha512",
                "prefix": "v=",
            },
            RouteAuth(kind="hmac", secret="S", header="X-Line", encoding="base64", algorithm="sha512", prefix="v="),
        ),
    ],
)
def test_what_is_written_is_meant_and_written_again_alike(written: Any, meant: RouteAuth) -> None:
    manifest = parse_manifest(_manifest(written))
    assert manifest.routes[0].auth == meant
    assert parse_manifest(manifest.to_data()) == manifest


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("github", 'github needs a secret: auth = { kind = "github", secret = "NAME" }'),
        ("apikey", "'apikey' is not one of none, api_key, github, stripe, slack, hmac (did you mean api_key?)"),
        (True, "expected a table, not true"),
        ({"kind": "github"}, "auth.secret: missing: expected a string"),
        ({"kind": "github", "secret": "9 x"}, "auth.secret: a secret's name has"),
        ({"kind": "slack", "secret": "S", "header": "X"}, "auth.header: no such key"),
        ({"kind": "api_key", "secret": "S"}, "auth.secret: no such key"),
        ({"kind": "hmac", "secret": "S", "header": "X Y"}, "auth.header: 'X Y' is not the name of a header"),
        ({"kind": "hmac", "secret": "S", "algorithm": "md5"}, "auth.algorithm: 'md5' is not one of"),
        ({}, "auth.kind: missing: expected a string"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(written: Any, told: str) -> None:
    with pytest.raises(ManifestError) as refused:
        parse_manifest(_manifest(written))
    assert told in refused.value.message
