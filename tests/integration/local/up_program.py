"""``picloud up`` with stand-ins for relay, worker, web and mail; started by path by the tests of ``up``.

The stand-ins say on stderr when they end, so that a test can see in which order. ``web``
answers ``/healthz`` as long as both URLs it was given work.
"""

from __future__ import annotations

import http.server
import os
import signal
import sys

import click
import psycopg
import redis

from picloud.errors import PiCloudError
from picloud.local.up import run_up
from picloud.settings import Settings, load_settings


def _wait_for_the_end(name: str) -> int:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    os.write(2, f"{name} begins\n".encode())
    signal.sigwait({signal.SIGTERM})
    os.write(2, f"{name} ends\n".encode())
    return 0


def relay(_settings: Settings) -> int:
    return _wait_for_the_end("relay")


def worker(_settings: Settings) -> int:
    if os.environ.get("STUBBORN"):
        signal.signal(signal.SIGTERM, lambda *_: os.write(2, b"worker is stubborn\n"))
        os.write(2, b"worker begins\n")
        while True:
            signal.pause()
    return _wait_for_the_end("worker")


def mail(_settings: Settings) -> int:
    return _wait_for_the_end("mail")


def failing(_settings: Settings) -> int:
    raise PiCloudError("this process does not want to")


class _Handler(http.server.BaseHTTPRequestHandler):
    settings: Settings

    def do_GET(self) -> None:
        with (
            psycopg.connect(self.settings.database_url) as connection,
            redis.Redis.from_url(self.settings.redis_url) as client,
        ):
            connection.execute("select count(*) from outbox")
            client.ping()
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        pass


def web(settings: Settings) -> int:
    _Handler.settings = settings
    with http.server.HTTPServer((settings.bind_host, settings.bind_port), _Handler) as server:

        def end(*_: object) -> None:
            os.write(2, b"web ends\n")
            os._exit(0)

        signal.signal(signal.SIGTERM, end)
        server.serve_forever()
    return 0


def main() -> int:
    processes = {"relay": relay, "worker": failing if os.environ.get("FAILING") else worker, "web": web, "mail": mail}
    try:
        return run_up(
            load_settings(),
            echo=click.echo,
            is_terminal=bool(os.environ.get("ON_A_TERMINAL")),
            load=lambda names: {name: processes[name] for name in names},
        )
    except PiCloudError as error:
        click.echo(f"picloud: {error.message}", err=True)
        return 1


if __name__ == "__main__":
    sys.exit(main())
