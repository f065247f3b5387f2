"""People for tests of who signs in: made through the API, with passwords that cost little to hash."""

from __future__ import annotations

from dataclasses import dataclass
from http.cookies import SimpleCookie
from typing import Any

import falcon.testing

from tests.integration.api.conftest import Api

PASSWORD = "correct horse battery"
COOKIE = "picloud_session"


@dataclass
class People:
    """Signs people in and lets them call with their cookies."""

    api: Api

    def user(self, name: str = "anna", role: str = "member", password: str | None = PASSWORD) -> Any:
        return self.api.post("/users", {"name": name, "role": role, "password": password}, expect=201)

    def try_login(
        self, name: str = "anna", password: str = PASSWORD, *, address: str = "192.0.2.7", **request: Any
    ) -> falcon.testing.Result:
        body = {"name": name, "password": password}
        call = self.api.conductor.simulate_post("/api/v1/auth/login", json=body, remote_addr=address, **request)
        result: falcon.testing.Result = self.api.run(call)
        return result

    def login(self, name: str = "anna", password: str = PASSWORD, **request: Any) -> str:
        """The token of a new session."""
        result = self.try_login(name, password, **request)
        assert result.status_code == 200, result.text
        return token_of(result)

    def call(
        self, token: str, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> falcon.testing.Result:
        sent = {"Cookie": f"{COOKIE}={token}", **(headers or {})}
        return self.api.request(method, path, body, key=None, headers=sent)

    def audit(self) -> list[tuple[str, str, str]]:
        """Who did what to what, oldest first."""
        entries = self.api.get("/audit?limit=1000")["items"]
        return [(each["principal"], each["action"], each["object"]) for each in reversed(entries)]


def cookie_of(result: falcon.testing.Result) -> str:
    """The ``Set-Cookie`` of an answer."""
    (value,) = [value for name, value in result.headers.items() if name.lower() == "set-cookie"]
    return value


def token_of(result: falcon.testing.Result) -> str:
    cookie: SimpleCookie = SimpleCookie(cookie_of(result))
    (morsel,) = cookie.values()
    return morsel.value
