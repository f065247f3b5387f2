"""picloud releases, and what a deploy tells of releases."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.cli.conftest import CommandLine, FakeServer

RELEASE = {
    "id": 2,
    "app": "demo",
    "number": 2,
    "labels": ["abc", "def"],
    "restores": None,
    "scripts": 1,
    "sha256": "ab" * 32,
    "is_current": True,
    "is_drifted": True,
    "created_at": "2026-01-02T03:04:05Z",
    "created_by": "anna",
}
PLAN: dict[str, Any] = {
    "app": "demo",
    "dry_run": False,
    "unchanged": False,
    "revision": 3,
    "changes": [
        {"action": "update", "kind": "script", "name": "a", "note": "version 2 → 1", "diff": "@@ -1 +1 @@\n-2\n+1"}
    ],
    "kept": [],
    "release": 3,
    "current_release": 3,
    "note": None,
    "drift": [{"kind": "script", "name": "a", "what": "changed"}],
    "missing_secrets": ["KEY"],
}


def test_releases_are_listed_with_what_they_are(picloud: CommandLine, server: FakeServer) -> None:
    back = {**RELEASE, "number": 1, "restores": 1, "labels": [], "is_current": False, "is_drifted": False}
    server.on("GET", "/apps/demo/releases", {"items": [RELEASE, back], "next": None})
    lines = picloud("releases", "ls", "demo").stdout.splitlines()
    assert lines[1].split()[:8] == ["*", "demo", "2", "deploy,", "changed", "since", "abc,", "def"]
    assert "back to 1" in lines[2]


def test_a_release_is_shown_with_what_it_changed_and_what_was_changed_since(
    picloud: CommandLine, server: FakeServer
) -> None:
    versions = [{"name": "a", "version": 2, "sha256": "cd" * 32}]
    shown: dict[str, Any] = {
        "manifest": {},
        "versions": versions,
        "previous": 1,
        "changes": PLAN["changes"],
        "drift": PLAN["drift"],
    }
    server.on("GET", "/apps/demo/releases/2", {**RELEASE, **shown})
    result = picloud("releases", "show", "demo", "2", "--diff")
    assert server.requests[0].url.params["diff"] == "true"
    assert result.stdout.splitlines()[-4:] == ["~ script a  version 2 → 1", "    @@ -1 +1 @@", "    -2", "    +1"]
    assert "script a: changed" in result.stderr


def test_a_rollback_asks_first_and_tells_what_it_did(picloud: CommandLine, server: FakeServer) -> None:
    server.on("POST", "/apps/demo/rollback", PLAN)
    assert picloud("releases", "rollback", "demo").exit_code == 2  # nobody is there to answer
    assert server.requests == []
    result = picloud("releases", "rollback", "demo", "1", "--yes")
    assert server.bodies == [{"release": 1, "cancel_waiting": False, "diff": False, "dry_run": False}]
    assert result.stdout.splitlines()[0] == "~ script a  version 2 → 1"
    assert result.stderr.splitlines() == [
        "demo was changed since its last release, by something other than a deploy:",
        "  script a: changed",
        "demo requires the secret KEY: `picloud secrets set demo KEY`",
        "demo: 1 change made; this is release 3",
    ]


def test_a_dry_run_of_a_rollback_asks_nobody_and_shows_differences(picloud: CommandLine, server: FakeServer) -> None:
    server.on("POST", "/apps/demo/rollback", {**PLAN, "dry_run": True, "release": None})
    result = picloud("releases", "rollback", "demo", "--dry-run")
    assert server.bodies == [{"release": None, "cancel_waiting": False, "diff": True, "dry_run": True}]
    assert result.stderr.endswith("demo: 1 change planned, none made\n")


def test_a_deploy_sends_its_label_and_the_revision_it_expects(
    picloud: CommandLine, server: FakeServer, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert picloud("init", "demo").exit_code == 0
    server.on("POST", "/apps/demo/deploy", {**PLAN, "unchanged": True, "changes": [], "note": "deployed before"})
    result = picloud("deploy", "demo", "--release", "abc", "--expect-revision", "7", "--allow-missing-secrets")
    (body,) = server.bodies
    assert (body["release"], body["allow_missing_secrets"], body["diff"]) == ("abc", True, False)
    assert server.requests[0].headers["If-Match"] == '"7"'
    assert "deployed before" in result.stderr
