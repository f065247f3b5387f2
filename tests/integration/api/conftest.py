"""The control API in this process, over a real PostgreSQL and Redis; only what runs scripts is played."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import re
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import falcon.asgi
import falcon.testing
import msgspec
import psycopg
import psycopg_pool
import pytest

from picloud import broker
from picloud.broker import Reply
from picloud.identity.keys import create_operator_key
from picloud.outbox.accept import Arrival
from picloud.services.vault import Vault
from picloud.settings import Settings
from picloud_web import problems
from picloud_web.api import add_routes, all_endpoints
from picloud_web.api.endpoints import Endpoint, Html
from picloud_web.services import Services
from tests.seeding import Seeds


class PlayedDispatcher:
    """Accepts and answers as a test tells it to."""

    def __init__(self) -> None:
        self.accepted: list[Arrival] = []
        self.answer: Callable[[Arrival], Reply] = lambda arrival: Reply(
            arrival.id, "completed", result_kind="json", data=b'{"total":3}'
        )

    async def accept_async(self, arrival: Arrival) -> dt.datetime:
        self.accepted.append(arrival)
        return dt.datetime.now(dt.UTC)

    async def run_sync(self, arrival: Arrival, *, timeout_ms: int) -> Reply:
        self.accepted.append(arrival)
        return self.answer(arrival)

    async def give_up(self, execution_id: UUID) -> None:
        raise AssertionError(f"nobody left, but {execution_id} was given up")


@dataclasses.dataclass
class Api:
    """A client with an administrator's key; every call returns the JSON of an answer with the expected status."""

    run: Callable[[Any], Any]
    conductor: falcon.testing.ASGIConductor
    key: str
    dispatcher: PlayedDispatcher
    services: Services

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        key: str | None = "",
        headers: dict[str, str] | None = None,
    ) -> falcon.testing.Result:
        sent = dict(headers or {})
        if key is not None:
            sent["Authorization"] = f"Bearer {key or self.key}"
        path, _, query = path.partition("?")
        result: falcon.testing.Result = self.run(
            self.conductor.simulate_request(method, f"/api/v1{path}", query_string=query, json=body, headers=sent)
        )
        if 200 <= result.status_code < 300:
            _check_against_the_description(method, path, result)
        return result

    def call(self, method: str, path: str, body: object = None, *, expect: int = 200) -> Any:
        result = self.request(method, path, body)
        assert result.status_code == expect, f"{result.status}: {result.text}"
        return result.json if result.content else None

    def get(self, path: str, *, expect: int = 200) -> Any:
        return self.call("GET", path, expect=expect)

    def post(self, path: str, body: object = None, *, expect: int = 200) -> Any:
        return self.call("POST", path, body, expect=expect)


def _check_against_the_description(method: str, path: str, result: falcon.testing.Result) -> None:
    """Every answer of every test is what its endpoint declares: the description cannot drift from what is served."""
    matching = [each for each in all_endpoints() if each.method == method and _pattern(each).fullmatch(path)]
    endpoint = max(matching, key=lambda each: len(each.path))
    assert result.status_code in (endpoint.statuses if endpoint.returns is not None else (204,))
    if endpoint.returns is not None and endpoint.returns is not Html and not endpoint.is_stream:
        declared = msgspec.json.decode(result.content, type=endpoint.returns)
        assert msgspec.json.decode(msgspec.json.encode(declared)) == msgspec.json.decode(result.content)


def _pattern(endpoint: Endpoint) -> re.Pattern[str]:
    path = re.sub(r"\{\w+:uuid\}", "[0-9a-f-]{36}", endpoint.path)
    return re.compile(re.sub(r"\{\w+:path\}", ".+", re.sub(r"\{\w+(:int|:segment)?\}", "[^/]+", path)))


@pytest.fixture
def api(database_url: str, redis_url: str) -> Iterator[Api]:
    with psycopg.connect(database_url) as connection:
        key = create_operator_key(connection, "test")
    dispatcher = PlayedDispatcher()
    with asyncio.Runner() as runner:
        pool: Any = psycopg_pool.AsyncConnectionPool(
            database_url, kwargs={"autocommit": True}, min_size=0, max_size=8, open=False
        )
        client = broker.connect_async(redis_url, name="test")
        app: Any = falcon.asgi.App()
        problems.install(app)
        services = Services(Settings(bind="127.0.0.1:8000"), pool, client, dispatcher, Vault(lambda: (b"k" * 32,)))
        add_routes(app, services)
        conductor = falcon.testing.ASGIConductor(app)

        async def start() -> None:
            await pool.open()
            await conductor.__aenter__()

        async def stop() -> None:
            await conductor.__aexit__(None, None, None)
            await client.aclose()
            await pool.close()

        runner.run(start())
        try:
            yield Api(runner.run, conductor, key, dispatcher, services)
        finally:
            runner.run(stop())


@pytest.fixture
def seeds(database_url: str) -> Iterator[Seeds]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield Seeds(connection)
