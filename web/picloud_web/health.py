"""What machines ask PiCloud about itself.

``/healthz`` says that this process answers: who restarts it on a failure must not restart it because something
else is away. ``/readyz`` says that it can serve: PostgreSQL answers and has a schema it can work on, Redis
answers. Workers and relays are not asked about: without them requests are accepted all the same, and a balancer that
took the web processes out because no worker runs would turn a delay into an outage. ``/metrics`` tells of those.
"""

from __future__ import annotations

from typing import Any, cast

import falcon.asgi
import psycopg

from picloud.migrations import schema_fits
from picloud_web import problems
from picloud_web.services import Services
from picloud_web.window import REDIS_FAILURES


class Health:
    """``/healthz``: the process lives."""

    async def on_get(self, _request: falcon.asgi.Request, response: falcon.asgi.Response) -> None:
        response.media = {"status": "ok"}


class Readiness:
    """``/readyz``: what requests need is there."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def on_get(self, _request: falcon.asgi.Request, response: falcon.asgi.Response) -> None:
        database, schema = await self._database_fits()
        checks = {"database": database, "schema": schema, "redis": await self._redis_answers()}
        if all(checks.values()):
            response.media = {"status": "ok", "checks": checks}
        else:
            missing = ", ".join(name for name, answers in checks.items() if not answers)
            problems.write(response, "storage_unavailable", f"not ready: {missing}", extra={"checks": checks})

    async def _database_fits(self) -> tuple[bool, bool]:
        """Whether PostgreSQL answers, and whether its schema is one for this release."""
        try:
            async with self._services.database.connection() as connection:
                return True, await schema_fits(connection)
        except psycopg.Error:
            return False, False

    async def _redis_answers(self) -> bool:
        try:
            await cast(Any, self._services.redis).ping()
        except REDIS_FAILURES:
            return False
        return True
