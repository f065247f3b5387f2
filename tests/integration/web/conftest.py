"""A web process inside the test: the real application over real servers, called without a socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import falcon.testing
import psycopg
import pytest

from picloud.settings import Settings
from picloud_web.app import create_app
from picloud_web.composition import Dependencies, build
from tests.integration.web.emulated_worker import EmulatedWorker
from tests.seeds import SeededApp
from tests.seeds import create_app as seed_app

pytestmark = pytest.mark.integration


@dataclass(slots=True)
class Stage:
    """One test's servers, and an app to play with.

    Attributes:
        db: to set the stage and to look what is stored.
    """

    settings: Settings
    db: psycopg.Connection[Any]
    app: SeededApp

    def play(self, story: Callable[[Web, EmulatedWorker], Coroutine[Any, Any, None]], **settings: Any) -> None:
        """Run ``story`` against a started web process and an emulated worker; ``settings`` replace the stage's."""
        asyncio.run(self._play(story, replace(self.settings, **settings)))

    async def _play(
        self, story: Callable[[Web, EmulatedWorker], Coroutine[Any, Any, None]], settings: Settings
    ) -> None:
        async with asyncio.timeout(60), self.worker() as worker, started(settings) as web:
            await story(web, worker)

    def worker(self) -> EmulatedWorker:
        return EmulatedWorker(self.settings.database_url, self.settings.redis_url)

    def value(self, query: Any, *parameters: object) -> Any:
        row = self.db.execute(query, parameters).fetchone()
        assert row is not None
        return row[0]

    def stored(self) -> int:
        """Everything that was ever accepted."""
        return int(self.value("select count(*) from payloads"))


@dataclass(slots=True)
class Web:
    """A started application."""

    dependencies: Dependencies
    conductor: Any

    async def call(self, method: str, path: str, *, host: str = "127.0.0.1:8000", **request: Any) -> Any:
        """One request; the result is Falcon's. ``/x`` is asked of the app under test by its own host or ``/@``."""
        return await self.conductor.simulate_request(method, path, host=host, **request)


@asynccontextmanager
async def started(settings: Settings) -> AsyncIterator[Web]:
    """A web process' application between its start and its stop."""
    dependencies = build(settings)
    async with falcon.testing.ASGIConductor(create_app(dependencies)) as conductor:
        yield Web(dependencies, conductor)


async def until(is_so: Callable[[], Any], within_seconds: float = 5) -> None:
    """Wait for what another process brings about and nobody signals."""
    async with asyncio.timeout(within_seconds):
        while not is_so():  # nothing in this process could set an event
            await asyncio.sleep(0.01)


@pytest.fixture
def stage(database_url: str, redis_url: str) -> Iterator[Stage]:
    with psycopg.connect(database_url, autocommit=True) as db:
        yield Stage(Settings(database_url=database_url, redis_url=redis_url), db, seed_app(db, "shop"))
