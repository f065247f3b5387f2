from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from picloud.identity.keys import create_operator_key
from picloud.settings import Settings
from picloud_web.server import gunicorn_options
from tests.integration.web.conftest import Stage, until
from tests.seeds import create_route

pytestmark = pytest.mark.integration

_PROGRAM = (
    "import sys; from picloud.settings import load_settings; from picloud_web.server import run;"
    " sys.exit(run(load_settings()))"
)


@dataclass(slots=True)
class Server:
    """A web process as an operator starts it, on a port of its own."""

    process: subprocess.Popen[bytes]
    port: int

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def is_open(self) -> bool:
        assert self.process.poll() is None, "the server ended"
        try:
            self.connect().close()
        except ConnectionRefusedError:
            return False
        return True

    def open_request(self, head: str, body: bytes = b"") -> socket.socket:
        """Send a request and leave its answer unread."""
        connection = self.connect()
        connection.sendall(head.replace("\n", "\r\n").encode() + body)
        return connection

    def ask(self, head: str, body: bytes = b"") -> tuple[int, dict[str, str], bytes]:
        with closing(self.open_request(head, body)) as connection:
            return read_answer(connection)


def read_answer(connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """Status, headers by lowercase name, body; by its Content-Length."""
    with connection.makefile("rb") as stream:
        status = int(stream.readline().split()[1])
        headers: dict[str, str] = {}
        while line := stream.readline().strip():
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        return status, headers, stream.read(int(headers.get("content-length", "0")))


def environment(stage: Stage, **extra: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PICLOUD_")}
    return inherited | {
        "PICLOUD_DATABASE_URL": stage.settings.database_url,
        "PICLOUD_REDIS_URL": stage.settings.redis_url,
        "PICLOUD_MAX_BODY_BYTES": "100000",
        **extra,
    }


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def serving(stage: Stage) -> Iterator[Server]:
    port = free_port()
    variables = environment(stage, PICLOUD_BIND=f"127.0.0.1:{port}")
    with ended(subprocess.Popen([sys.executable, "-c", _PROGRAM], env=variables)) as process:
        server = Server(process, port)
        asyncio.run(until(server.is_open, within_seconds=20))
        yield server


@contextmanager
def ended(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(timeout=30)


def test_a_declared_body_that_is_too_large_is_refused_at_its_first_byte(stage: Stage) -> None:
    create_route(stage.db, stage.app, "POST", "/later", "async")
    with serving(stage) as server:
        status, _, body = server.ask("POST /@shop/later HTTP/1.1\nHost: localhost\nContent-Length: 100001\n\n", b"x")
        assert (status, json.loads(body)["code"]) == (413, "body_too_large")
        assert stage.stored() == 0


def test_a_chunked_body_is_counted_while_it_arrives(stage: Stage) -> None:
    create_route(stage.db, stage.app, "POST", "/later", "async")
    head = "POST /@shop/later HTTP/1.1\nHost: localhost\nTransfer-Encoding: chunked\n\n"
    chunk = b"4000\r\n" + b"x" * 0x4000 + b"\r\n"
    with serving(stage) as server:
        status, _, body = server.ask(head, chunk * 7)  # never ended: the answer must not wait for the end
        assert (status, json.loads(body)["code"]) == (413, "body_too_large")
        assert stage.stored() == 0
        status, _, _ = server.ask(head, chunk * 6 + b"0\r\n\r\n")
        assert status == 202
        assert stage.value("select octet_length(body) from payloads") == 6 * 0x4000


def test_an_encoded_slash_stays_inside_its_parameter(stage: Stage) -> None:
    create_route(stage.db, stage.app, "POST", "/files/:name", "async")
    with serving(stage) as server:
        status, _, _ = server.ask("POST /@shop/files/a%2Fb%20%C3%A4 HTTP/1.1\nHost: localhost\nContent-Length: 0\n\n")
        assert status == 202
        assert json.loads(stage.value("select event from payloads"))["params"] == {"name": "a/b ä"}


def test_sigterm_cuts_no_request_and_waits_for_no_idle_connection(stage: Stage) -> None:
    create_route(stage.db, stage.app, timeout_ms=30_000)

    async def story(server: Server) -> None:
        async with stage.worker() as worker:
            idle = server.connect()
            answered = server.open_request("GET /healthz HTTP/1.1\nHost: localhost\n\n")
            read_answer(answered)
            waiting = server.open_request("GET /@shop/ HTTP/1.1\nHost: localhost\n\n")
            taken = await worker.take()
            server.process.send_signal(signal.SIGTERM)
            # Both idle connections are closed while the request still waits.
            assert await asyncio.to_thread(idle.recv, 1) == b""
            assert await asyncio.to_thread(answered.recv, 1) == b""
            await worker.answer(taken, await worker.end(taken, result_kind="text", data=b"in time"))
            status, _, body = await asyncio.to_thread(read_answer, waiting)
            assert (status, body) == (200, b"in time")
            stopped = await asyncio.to_thread(server.process.wait, 10)
            assert stopped == 0
            assert await worker.keys("picloud:inbox:*") == []
            for each in (idle, answered, waiting):
                each.close()

    with serving(stage) as server:
        asyncio.run(story(server))


def test_a_client_that_hangs_up_gives_its_run_up(stage: Stage) -> None:
    create_route(stage.db, stage.app, timeout_ms=30_000)

    async def story(server: Server) -> None:
        async with stage.worker() as worker:
            waiting = server.open_request("GET /@shop/ HTTP/1.1\nHost: localhost\n\n")
            await worker.take()
            waiting.close()
            await until(lambda: stage.value("select reply_deadline <= now() from outbox"))

    with serving(stage) as server:
        asyncio.run(story(server))


def test_under_systemd_it_takes_the_socket_given_to_it_and_says_when_it_is_ready(stage: Stage, tmp_path: Path) -> None:
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as manager, closing(socket.socket()) as listener:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        variables = environment(stage, NOTIFY_SOCKET=str(tmp_path / "notify"), LISTEN_FDS="1")
        # What a service manager does between fork and exec: the socket is descriptor 3, LISTEN_PID the process' own.
        given = f"import os; os.dup2({listener.fileno()}, 3); os.environ['LISTEN_PID'] = str(os.getpid()); "
        arguments = [sys.executable, "-c", given + _PROGRAM]
        with ended(subprocess.Popen(arguments, env=variables, pass_fds=[listener.fileno()])) as process:
            assert b"READY=1" in manager.recv(1_000)
            server = Server(process, listener.getsockname()[1])
            status, _, _ = server.ask("GET /healthz HTTP/1.1\nHost: localhost\n\n")
            assert status == 200


def test_the_longest_script_can_end_before_a_stop_cuts_it() -> None:
    settings = Settings()
    assert gunicorn_options(settings)["graceful_timeout"] > settings.sandbox.max_timeout_seconds + 2


def test_two_instances_of_one_user_share_nothing() -> None:
    options: dict[str, Any] = gunicorn_options(Settings())
    assert options["control_socket_disable"] is True
    assert "pidfile" not in options


def test_names_in_a_path_reach_the_control_api_as_they_were_encoded(stage: Stage) -> None:
    keys = ["a%2Fb", "c/d", "%2F", "%2E%2E", "100%25", "%C3%BC%E2%98%83", "a%2525", "%20"]
    with stage.db.transaction():
        authorization = f"Host: localhost\nAuthorization: Bearer {create_operator_key(stage.db, 'test')}"
    with serving(stage) as server:
        for key in keys:
            path = f"/api/v1/apps/{stage.app.name}/kv/c%2Fd/{key}"
            status, _, _ = server.ask(f"PUT {path} HTTP/1.1\n{authorization}\nContent-Length: 1\n\n", b"5")
            assert status == 201, key
            status, headers, body = server.ask(f"GET {path} HTTP/1.1\n{authorization}\n\n")
            assert (status, body, headers["etag"][0]) == (200, b"5", '"')
    stored = stage.db.execute("select collection, key from kv_entries").fetchall()
    assert sorted(stored) == sorted(("c/d", unquote(key)) for key in keys)


def test_a_stream_arrives_as_it_goes_and_ends_at_once_when_the_process_stops(stage: Stage) -> None:
    with stage.db.transaction():
        key = create_operator_key(stage.db, "test")
    head = f"GET /api/v1/logs/events HTTP/1.1\nHost: localhost\nAuthorization: Bearer {key}\n\n"
    with (
        serving(stage) as server,
        closing(server.open_request(head)) as connection,
        connection.makefile("rb") as stream,
    ):
        assert b" 200 " in stream.readline()
        while b"retry:" not in stream.readline():
            pass
        server.process.terminate()
        stream.read()  # to its end: the connection is closed
        assert server.process.wait(timeout=10) == 0
