"""The ASGI application: origins first, then PiCloud's own resources."""

from __future__ import annotations

from typing import Any

import falcon.asgi

from picloud_web import problems
from picloud_web.api import add_routes
from picloud_web.bodies import WebRequest
from picloud_web.composition import Dependencies
from picloud_web.health import Health, Readiness
from picloud_web.metrics import Metrics
from picloud_web.origins import OriginMiddleware
from picloud_web.pages import landing_page, login_page, setup_page
from picloud_web.seen import RequestMiddleware


class Lifespan:
    """Opens the dependencies when the server starts and closes them when it stops."""

    def __init__(self, dependencies: Dependencies) -> None:
        self._dependencies = dependencies

    async def process_startup(self, _scope: dict[str, object], _event: dict[str, object]) -> None:
        await self._dependencies.start()

    async def process_shutdown(self, _scope: dict[str, object], _event: dict[str, object]) -> None:
        await self._dependencies.stop()


def create_app(dependencies: Dependencies) -> problems.App:
    """The application over these dependencies; opens nothing before its lifespan starts."""
    services = dependencies.services
    origins = OriginMiddleware(services.settings, dependencies.directory, dependencies.data_plane)
    middleware: Any = [Lifespan(dependencies), RequestMiddleware(), origins]
    request_type: Any = WebRequest  # handlers see the plain type; what is added to it is for reading bodies
    app: problems.App = falcon.asgi.App(middleware=middleware, request_type=request_type)
    app.req_options.strip_url_path_trailing_slash = False
    problems.install(app)
    metrics = Metrics(services, dependencies.reporter, dependencies.dispatcher)
    app.add_route("/", landing_page())
    app.add_route("/login", login_page())
    app.add_route("/setup", setup_page())
    app.add_route("/healthz", Health())
    app.add_route("/readyz", Readiness(services))
    app.add_route("/metrics", metrics)
    add_routes(app, services)
    return app
