"""Runs the web processes under gunicorn: ``picloud web``, and inside ``picloud up``.

gunicorn's native ASGI worker is used as it is but for one thing: when a worker
stops, connections that are open and idle are closed at once, and streams are told
to end. It would wait for them as it waits for requests, and requests may take as
long as scripts may run.
"""

# gunicorn ships no types, and everything its subclasses inherit is unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import weakref
from typing import Any

from gunicorn.app.base import BaseApplication
from gunicorn.asgi.protocol import ASGIProtocol
from gunicorn.glogging import Logger
from gunicorn.workers import gasgi

from picloud.failpoints import arm_from_environment
from picloud.logs import configure_logging
from picloud.settings import Settings
from picloud_web.app import create_app
from picloud_web.composition import Dependencies, build
from picloud_web.problems import App

#: What a stop waits for beyond the longest script and the two seconds its caller waits after it.
_STOP_MARGIN_SECONDS = 5


_GunicornProtocol: Any = ASGIProtocol
_GunicornWorker: Any = gasgi.ASGIWorker
_GunicornApplication: Any = BaseApplication
_GunicornLog: Any = Logger


class _Protocol(_GunicornProtocol):  # type: ignore[misc]
    """A connection that its worker knows of."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.worker.connections.add(self)

    @property
    def is_idle(self) -> bool:
        """Waits for a request, and answers none."""
        return bool(self._awaiting_request)

    def close_idle(self) -> None:
        """End the connection as gunicorn does when its keep-alive time is over."""
        self._keepalive_timeout()


class Worker(_GunicornWorker):  # type: ignore[misc]
    """The ASGI worker, with idle connections closed and streams ended when it stops."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.connections: weakref.WeakSet[_Protocol] = weakref.WeakSet()

    async def _shutdown(self) -> None:
        self.app.end_streams()
        for connection in tuple(self.connections):
            if connection.is_idle:
                connection.close_idle()
        await super()._shutdown()


class Log(_GunicornLog):  # type: ignore[misc]
    """gunicorn's own lines go where ours go, in the same format."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        self.error_log.handlers.clear()
        self.error_log.propagate = True


class _Server(_GunicornApplication):  # type: ignore[misc]
    """gunicorn, configured by our settings alone: not by files, arguments or its own environment variables."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._dependencies: Dependencies | None = None
        super().__init__()

    def load_config(self) -> None:
        for name, value in gunicorn_options(self._settings).items():
            self.cfg.set(name, value)

    def load(self) -> App:
        self._dependencies = build(self._settings)
        return create_app(self._dependencies)

    def end_streams(self) -> None:
        """Called by a worker that stops; what it serves, it has loaded itself."""
        if self._dependencies is not None:
            self._dependencies.services.streams.end()


def gunicorn_options(settings: Settings) -> dict[str, Any]:
    """The settings of gunicorn; those not named here keep its defaults."""
    longest_seconds = settings.sandbox.max_timeout_seconds
    return {
        "bind": [settings.bind],
        "workers": 1,
        "worker_class": "picloud_web.server.Worker",
        "asgi_loop": "uvloop",
        "asgi_lifespan": "on",
        # A client that left is told to its handler at once: its run is given up.
        "asgi_disconnect_grace_period": 0,
        "graceful_timeout": int(longest_seconds) + 2 + _STOP_MARGIN_SECONDS,
        "keepalive": 30,
        "max_requests": 0,
        "forwarded_allow_ips": ",".join(settings.trusted_proxies),
        # Its default path is shared by all instances of one user.
        "control_socket_disable": True,
        "accesslog": None,
        "errorlog": "-",
        "logger_class": "picloud_web.server.Log",
        "loglevel": "warning",
        "proc_name": "picloud-web",
    }


def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit status."""
    arm_from_environment()
    configure_logging(settings.log_format, "web")
    # The protocol class is named inside the worker's module, not asked from the worker.
    worker_module: Any = gasgi
    worker_module.ASGIProtocol = _Protocol
    try:
        _Server(settings).run()
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 0
    return 0
