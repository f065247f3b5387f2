"""``picloud users``, ``members``, ``login``, ``logout``, ``whoami``: what is asked, and where passwords go."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from picloud.profiles import load_profiles
from tests.unit.cli.conftest import TOKEN, URL, CommandLine, FakeServer

Page = Callable[..., dict[str, Any]]

PASSWORD = "correct horse battery"
USER = {
    "id": 3,
    "kind": "user",
    "name": "anna",
    "role": "member",
    "created_at": "2026-01-31T12:00:00Z",
    "disabled_at": None,
    "has_password": True,
    "apps": {"shop": "editor"},
}
MEMBER = {"name": "anna", "kind": "user", "role": "editor", "added_at": "2026-01-31T12:00:00Z", "disabled_at": None}
ME = {
    "id": 3,
    "kind": "user",
    "name": "anna",
    "role": "member",
    "credential": "key …wxyz",
    "key_id": 7,
    "scopes": ["log:read"],
    "app": None,
    "apps": {"shop": "editor"},
}


@pytest.fixture
def forgetful(picloud: CommandLine) -> CommandLine:
    """A command line that no environment variable tells of a server."""
    picloud.environ = {"PICLOUD_CONFIG": picloud.environ["PICLOUD_CONFIG"]}
    return picloud


# Users and members


def test_users_are_listed_and_shown(picloud: CommandLine, server: FakeServer, page: Page) -> None:
    server.on("GET", "/users", page(USER, {**USER, "name": "ci", "kind": "service", "has_password": False, "apps": {}}))
    server.on("GET", "/users/anna", {**USER, "disabled_at": "2026-02-01T12:00:00Z"})
    assert json.loads(picloud("users", "ls", "--json").stdout)[0] == USER
    assert picloud("users", "ls").stdout.splitlines()[1].split()[:4] == ["anna", "user", "member", "enabled"]
    shown = picloud("users", "show", "anna").stdout
    assert "state     disabled" in shown
    assert "shop: editor" in shown


def test_a_user_s_password_is_read_from_the_input_and_shown_nowhere(picloud: CommandLine, server: FakeServer) -> None:
    server.on("POST", "/users", USER)
    made = picloud("users", "create", "anna", "--role", "admin", stdin=f"{PASSWORD}\n")
    assert made.exit_code == 0
    assert PASSWORD not in made.output
    assert server.bodies == [{"name": "anna", "role": "admin", "kind": "user", "password": PASSWORD}]
    assert picloud("users", "create", "anna", stdin="").exit_code == 2
    assert picloud("users", "create", "anna", PASSWORD).exit_code == 2, "never as an argument"


def test_a_service_and_a_user_who_cannot_sign_in_need_no_password(picloud: CommandLine, server: FakeServer) -> None:
    server.on("POST", "/users", USER)
    for option in ("--service", "--no-password"):
        assert picloud("users", "create", "it", option).exit_code == 0
    assert server.bodies == [
        {"name": "it", "role": "member", "kind": "service"},
        {"name": "it", "role": "member", "kind": "user"},
    ]


def test_roles_and_switches_are_sent_with_the_reason(picloud: CommandLine, server: FakeServer) -> None:
    server.on("PATCH", "/users/anna", USER)
    server.on("DELETE", "/users/anna", httpx2.Response(204))
    assert picloud("users", "role", "anna", "admin", "--reason", "new job").exit_code == 0
    assert server.requests[-1].headers["x-audit-reason"] == "new%20job"
    assert picloud("users", "disable", "anna").exit_code == 2, "nobody could be asked"
    assert picloud("users", "disable", "anna", "--yes").exit_code == 0
    assert picloud("users", "enable", "anna").exit_code == 0
    assert picloud("users", "rm", "anna", "-y").exit_code == 0
    assert server.bodies == [{"role": "admin"}, {"disabled": True}, {"disabled": False}]


def test_one_s_own_password_needs_the_old_one_and_another_s_does_not(picloud: CommandLine, server: FakeServer) -> None:
    server.on("POST", "/me/password", httpx2.Response(204))
    server.on("PUT", "/users/anna/password", httpx2.Response(204))
    assert picloud("users", "password", stdin="the old one\nthe new one\n").exit_code == 0
    assert picloud("users", "password", "anna", stdin="the new one\n").exit_code == 0
    assert server.bodies == [{"old": "the old one", "new": "the new one"}, {"password": "the new one"}]
    assert picloud("users", "password", "--from-database", stdin="the new one\n").exit_code == 2


@pytest.mark.parametrize(
    "words", [("users", "setup-link"), ("users", "create", "anna", "--from-database")], ids=" ".join
)
def test_what_needs_a_database_says_so(picloud: CommandLine, words: tuple[str, ...], tmp_path: Any) -> None:
    picloud.environ["PICLOUD_DATA_DIR"] = str(tmp_path / "none")
    result = picloud(*words, stdin=f"{PASSWORD}\n")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: PICLOUD_DATABASE_URL is not set")


def test_members_are_listed_added_changed_and_taken_out(picloud: CommandLine, server: FakeServer, page: Page) -> None:
    server.on("GET", "/apps/shop/members", page(MEMBER))
    server.on("GET", "/apps/shop/members/anna", MEMBER)
    server.on("PUT", "/apps/shop/members/anna", MEMBER)
    server.on("DELETE", "/apps/shop/members/anna", httpx2.Response(204))
    assert json.loads(picloud("members", "ls", "shop", "--json").stdout) == [{"id": "anna", **MEMBER}]
    assert picloud("members", "add", "shop", "anna").exit_code == 0
    assert picloud("members", "role", "shop", "anna", "admin").stderr == "anna is admin of shop, was editor\n"
    assert picloud("members", "rm", "shop", "anna", "--yes").exit_code == 0
    assert server.bodies == [{"role": "viewer"}, {"role": "admin"}]
    assert picloud("members", "add", "shop", "anna", "--role", "owner").exit_code == 2


# Signing in and out


def test_login_by_password_makes_a_key_for_this_machine_and_ends_the_session(
    forgetful: CommandLine, server: FakeServer
) -> None:
    cookie = {"Set-Cookie": "picloud_session=token; Path=/; HttpOnly; SameSite=Strict"}
    server.on("POST", "/auth/login", httpx2.Response(200, json={"name": "anna"}, headers=cookie))
    server.on("POST", "/keys", httpx2.Response(201, json={"id": 7, "key": "pic_new"}))
    server.on("POST", "/auth/logout", httpx2.Response(204))
    server.on("GET", "/me", ME)
    result = forgetful("login", URL, "--user", "anna", "--name", "it", stdin=f"{PASSWORD}\n")
    assert result.exit_code == 0, result.output
    assert not any(secret in result.output for secret in (PASSWORD, "pic_new", "token"))
    assert "can read the password" in result.stderr
    login, key, logout, me = server.requests
    assert json.loads(login.content) == {"name": "anna", "password": PASSWORD}
    assert "authorization" not in login.headers
    assert key.headers["cookie"] == logout.headers["cookie"] == "picloud_session=token"
    wanted = json.loads(key.content)
    assert wanted["name"].startswith("cli on ")
    assert set(wanted) == {"name", "expires_at"}
    assert me.headers["authorization"] == "Bearer pic_new"
    assert load_profiles(forgetful.environ).by_name["it"].token == "pic_new"


def test_a_session_ends_also_when_no_key_could_be_made(forgetful: CommandLine, server: FakeServer) -> None:
    server.on("POST", "/auth/login", {"name": "anna"})
    server.problem("POST", "/keys", 503, "storage_unavailable")
    server.on("POST", "/auth/logout", httpx2.Response(204))
    assert forgetful("login", URL, "--user", "anna", stdin=f"{PASSWORD}\n").exit_code == 1
    assert server.requests[-1].url.path == "/api/v1/auth/logout"
    assert load_profiles(forgetful.environ).by_name == {}


def test_a_wrong_password_and_too_many_of_them_are_said_plainly(forgetful: CommandLine, server: FakeServer) -> None:
    server.problem("POST", "/auth/login", 401, "invalid_credentials", "name or password is wrong")
    wrong = forgetful("login", "localhost:8000", "--user", "anna", stdin="not this one\n")
    assert (wrong.exit_code, wrong.stderr) == (4, "error: name or password is wrong\n")
    server.problem("POST", "/auth/login", 429, "too_many_attempts", "too many attempts")
    assert forgetful("login", "localhost:8000", "--user", "anna", stdin="not this one\n").exit_code == 1


def test_on_a_terminal_login_asks_who_you_are_and_an_empty_name_takes_a_key(
    forgetful: CommandLine, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.on("GET", "/me", ME)
    answers = iter(["", TOKEN])
    asked: list[tuple[str, bool]] = []

    def prompt(what: str, hide_input: bool = False, **_: Any) -> str:
        asked.append((what, hide_input))
        return next(answers)

    monkeypatch.setattr("click.prompt", prompt)
    monkeypatch.setattr("picloud.cli.commands.login.sys", _Terminal())
    assert forgetful("login", URL).exit_code == 0
    assert asked == [("User (empty: paste a key)", False), ("API key", True)]


class _Terminal:
    """``sys`` of somebody who sits at a terminal."""

    class stdin:  # noqa: N801 - named as what it stands for
        @staticmethod
        def isatty() -> bool:
            return True

    def __getattr__(self, name: str) -> Any:
        return getattr(sys, name)


def test_logout_revokes_the_key_and_forgets_the_server(forgetful: CommandLine, server: FakeServer) -> None:
    server.on("GET", "/me", ME)
    forgetful("login", URL, "--name", "one", stdin=f"{TOKEN}\n")
    forgetful("login", URL, "--name", "two", stdin=f"{TOKEN}\n")
    server.on("DELETE", "/keys/7", {"name": "cli on here", "last_four": "wxyz"})
    assert forgetful("logout").exit_code == 0
    assert (server.requests[-1].method, server.requests[-1].url.path) == ("DELETE", "/api/v1/keys/7")
    assert list(load_profiles(forgetful.environ).by_name) == ["one"]
    assert load_profiles(forgetful.environ).current == ""
    asked = len(server.requests)
    assert forgetful("logout", "one", "--keep-key").exit_code == 0
    assert len(server.requests) == asked, "the server was not asked"
    assert forgetful("logout").exit_code == 5


def test_a_key_that_is_no_longer_valid_is_forgotten_and_a_silent_server_is_not(
    forgetful: CommandLine, server: FakeServer
) -> None:
    server.on("GET", "/me", ME, httpx2.ConnectError("refused"), httpx2.Response(401, json={"code": "invalid_key"}))
    forgetful("login", URL, "--name", "one", stdin=f"{TOKEN}\n")
    assert forgetful("logout").exit_code == 1
    assert list(load_profiles(forgetful.environ).by_name) == ["one"]
    assert forgetful("logout").exit_code == 0
    assert load_profiles(forgetful.environ).by_name == {}


def test_whoami_tells_what_the_key_may(picloud: CommandLine, server: FakeServer) -> None:
    server.on("GET", "/me", ME)
    assert json.loads(picloud("whoami", "--json").stdout) == ME
    told = picloud("whoami").stdout
    assert "name    anna" in told
    assert "scopes  log:read" in told
    assert f"server  {URL}" in told
