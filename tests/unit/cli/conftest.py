"""The command line with a server that is only a table of answers: no sockets, no files of this user."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
from click.testing import CliRunner, Result

from picloud.cli.main import cli
from picloud.cli.options import Surroundings

URL = "http://server.test"
TOKEN = "pic_test"


@dataclass
class FakeServer:
    """Answers what a test told it to, and remembers what it was asked."""

    answers: dict[tuple[str, str], list[Any]] = field(default_factory=dict)
    requests: list[httpx2.Request] = field(default_factory=list)

    def on(self, method: str, path: str, *answers: Any) -> None:
        """Answer ``METHOD /api/v1{path}`` with these in turn, the last one for ever.

        A dict or list is sent as JSON, an exception is raised in place of an answer.
        """
        self.answers[method, f"/api/v1{path}"] = list(answers)

    def problem(self, method: str, path: str, status: int, code: str, detail: str = "told so") -> None:
        document = {"type": f"urn:picloud:problem:{code}", "title": code, "status": status, "detail": detail}
        self.on(method, path, httpx2.Response(status, json={**document, "code": code, "execution_id": None}))

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        path = request.url.raw_path.decode().partition("?")[0]
        answers = self.answers.get((request.method, path))
        assert answers, f"nobody told the server what to answer to {request.method} {path}"
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, BaseException):
            raise answer
        return answer if isinstance(answer, httpx2.Response) else httpx2.Response(200, json=answer)

    @property
    def bodies(self) -> list[Any]:
        """The JSON of every request that had some."""
        return [json.loads(request.content) for request in self.requests if request.content]


@dataclass
class CommandLine:
    """``picloud …`` in a process of its own, as far as it can tell."""

    environ: dict[str, str]
    server: FakeServer
    pauses: list[float] = field(default_factory=list)

    def __call__(self, *arguments: str, stdin: str | None = None) -> Result:
        # Time passes only while a command waits.
        around = Surroundings(
            self.environ, httpx2.MockTransport(self.server), self.pauses.append, clock=lambda: sum(self.pauses)
        )
        return CliRunner().invoke(cli, arguments, input=stdin, obj=around, prog_name="picloud")


@pytest.fixture
def server() -> FakeServer:
    return FakeServer()


@pytest.fixture
def picloud(tmp_path: Path, server: FakeServer) -> CommandLine:
    """The command line, logged in to ``server``."""
    environ = {"PICLOUD_CONFIG": str(tmp_path / "config.toml"), "PICLOUD_URL": URL, "PICLOUD_TOKEN": TOKEN}
    return CommandLine(environ, server)


@pytest.fixture
def page() -> Callable[..., dict[str, Any]]:
    def make(*items: Any, next: str | None = None) -> dict[str, Any]:  # noqa: A002 - the API's word
        return {"items": list(items), "next": next}

    return make
