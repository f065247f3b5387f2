"""Executions and logs as server-sent events: once each, in order, for as long as the caller may see them."""

from __future__ import annotations

import asyncio
import gc
import json
import re
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import psycopg
import pytest

from picloud_web.streams import Streams
from tests.integration.api.conftest import Api
from tests.seeding import Seeds

pytestmark = pytest.mark.integration

_WAIT_SECONDS = 20.0


class Event:
    """One event, or a comment, as it came."""

    def __init__(self, block: str) -> None:
        fields = dict(re.findall(r"^(\w*): (.*)$", block, re.MULTILINE))
        self.name: str = fields.get("event", "")
        self.id: str | None = fields.get("id")
        self.retry = fields.get("retry")
        self.data: Any = json.loads(fields["data"]) if "data" in fields else None

    def __repr__(self) -> str:
        return f"<{self.name} {self.id} {self.data}>"


class Listener:
    """Reads a stream event by event."""

    def __init__(self, result: Any) -> None:
        self.status = result.status_code
        self.headers = result.headers
        self._result = result
        self._text = ""

    async def next(self) -> Event | None:
        """The next event that says something; None: the stream has ended."""
        async with asyncio.timeout(_WAIT_SECONDS):
            while True:
                while "\n\n" in self._text:
                    block, self._text = self._text.split("\n\n", 1)
                    event = Event(block)
                    if event.name:
                        return event
                chunk = await self._result.stream.read()
                if not chunk and self._result._task.done():
                    return None
                self._text += chunk.decode()
                if not chunk:
                    await asyncio.sleep(0.01)

    async def rest(self) -> list[Event]:
        found: list[Event] = []
        while (event := await self.next()) is not None:
            found.append(event)
        return found


@asynccontextmanager
async def listening(api: Api, path: str, *, key: str = "", seen: str | None = None) -> AsyncGenerator[Listener]:
    headers = {"Authorization": f"Bearer {key or api.key}"}
    if seen is not None:
        headers["Last-Event-ID"] = seen
    result: Any = await api.conductor.simulate_request("GET", f"/api/v1{path}", headers=headers, _stream_result=True)
    try:
        yield Listener(result)
    finally:
        # As the server does when a client leaves.
        result._task.cancel()
        await asyncio.gather(result._task, return_exceptions=True)


async def _until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(_WAIT_SECONDS):
        while not condition():
            await asyncio.sleep(0.02)


def _log(seeds: Seeds, execution_id: UUID, app: int, attempt: int, *messages: str) -> None:
    lines = [{"at_us": number, "level": "info", "message": each} for number, each in enumerate(messages)]
    seeds.connection.execute(
        "insert into execution_logs (execution_id, app_id, attempt, lines) values (%s, %s, %s, %s)",
        (execution_id, app, attempt, json.dumps(lines).encode()),
    )


def _set(seeds: Seeds, execution_id: UUID, state: int, attempt: int) -> None:
    seeds.connection.execute(
        "update outbox set state = %s, attempt = %s, worker_id = case when %s = 2 then gen_random_uuid() end,"
        " lease_until = case when %s > 0 then now() + interval '1 min' end where id = %s",
        (state, attempt, state, state, execution_id),
    )


def _end(seeds: Seeds, execution_id: UUID, attempts: int) -> None:
    with seeds.connection.transaction():
        seeds.connection.execute(
            "insert into executions (id, app_id, script_id, script_version, source, principal_id, status, token,"
            " attempts, is_sync, root_execution_id, trigger_depth, accepted_at, started_at, run_us, operations,"
            " result_kind, result)"
            " select id, app_id, script_id, 1, source, principal_id, 'completed', token, %s, false, root_execution_id,"
            " trigger_depth, accepted_at, now(), 1500, 7, 'json', '{\"total\":3}' from outbox where id = %s",
            (attempts, execution_id),
        )
        seeds.connection.execute("delete from outbox where id = %s", (execution_id,))


def test_an_execution_is_told_from_pending_to_its_result_with_every_line_once_and_in_order(
    api: Api, seeds: Seeds
) -> None:
    app = seeds.app()
    row = seeds.waiting(app, seeds.script(app))

    async def scenario() -> None:
        async with listening(api, f"/executions/{row}/events") as stream:
            assert (stream.status, stream.headers["content-type"]) == (200, "text/event-stream")
            assert (await stream.next()).data["status"] == "pending"  # type: ignore[union-attr]
            _set(seeds, row, 2, 1)
            assert (await stream.next()).data["status"] == "running"  # type: ignore[union-attr]
            with seeds.connection.transaction():
                _log(seeds, row, app, 1, "one", "two")
                _set(seeds, row, 0, 1)
            events = [await stream.next() for _ in range(3)]
            assert [event.data.get("message", event.data.get("status")) for event in events if event] == [
                "one", "two", "pending",
            ]  # fmt: skip
            _log(seeds, row, app, 2, "three")
            _end(seeds, row, 2)
            last = await stream.rest()
            assert [event.name for event in last] == ["log", "status"]
            assert last[0].data["message"] == "three"
            final = last[1].data
            assert (final["status"], final["is_final"], final["result"]) == ("completed", True, {"total": 3})
        await _until(lambda: api.services.streams.open == 0 and not api.services.streams.is_looking)

    api.run(scenario())


def test_whoever_comes_back_gets_what_follows_the_event_that_was_seen(api: Api, seeds: Seeds) -> None:
    app = seeds.app()
    row = seeds.waiting(app, seeds.script(app), state="running", attempt=3)
    _log(seeds, row, app, 1, "one", "two")
    _log(seeds, row, app, 2, "three", "four")
    _end(seeds, row, 3)

    async def scenario() -> None:
        async with listening(api, f"/apps/shop/executions/{row}/events") as stream:
            events = await stream.rest()
        assert [event.name for event in events] == ["log"] * 4 + ["status"]
        for number, event in enumerate(events[:-1]):
            async with listening(api, f"/executions/{row}/events", seen=event.id) as again:
                rest = await again.rest()
                assert [each.id for each in rest] == [each.id for each in events[number + 1 :]]
        async with listening(api, f"/executions/{row}/events", seen=events[-1].id) as over:
            assert over.status == 204

    api.run(scenario())


def test_more_attempts_than_are_read_at_once_are_all_told(api: Api, seeds: Seeds) -> None:
    app = seeds.app()
    row = seeds.waiting(app, seeds.script(app), state="running", attempt=130)
    for attempt in range(1, 131):
        _log(seeds, row, app, attempt, f"attempt {attempt}")
    _end(seeds, row, 130)

    async def scenario() -> None:
        async with listening(api, f"/executions/{row}/events") as stream:
            events = await stream.rest()
        assert [event.data["message"] for event in events[:-1]] == [f"attempt {number}" for number in range(1, 131)]

    api.run(scenario())


def test_logs_of_an_app_are_followed_and_picked_up_again_in_the_middle_of_an_attempt(api: Api, seeds: Seeds) -> None:
    app, other = seeds.app(), seeds.app("other")
    script, elsewhere = seeds.script(app), seeds.script(other)
    seeds.ended(app, script, logs=b'[{"at_us":1,"level":"info","message":"before"}]')
    while not api.get("/apps/shop/logs")["items"]:  # what was written a moment ago cannot be read for certain yet
        pass

    async def scenario() -> None:
        async with listening(api, "/apps/shop/logs/events") as stream:
            await _until(lambda: api.services.streams.is_looking)
            lines = [{"at_us": number, "level": "info", "message": f"line {number}"} for number in range(3)]
            seeds.ended(other, elsewhere, logs=b'[{"at_us":1,"level":"info","message":"not ours"}]')
            seeds.ended(app, script, logs=json.dumps(lines).encode())
            got = [await stream.next() for _ in range(3)]
            assert [event.data["message"] for event in got if event] == ["line 0", "line 1", "line 2"]
        assert got[0] is not None
        async with listening(api, "/apps/shop/logs/events", seen=got[0].id) as again:
            rest = [await again.next() for _ in range(2)]
            assert [event.data["message"] for event in rest if event] == ["line 1", "line 2"]

    api.run(scenario())


@pytest.mark.parametrize("change", ["revoked", "not a member"])
def test_a_stream_ends_when_its_caller_may_no_longer(api: Api, seeds: Seeds, change: str) -> None:
    from picloud.access import AppRole

    app = seeds.app()
    row = seeds.waiting(app, seeds.script(app))
    key = seeds.member("ada", {app: AppRole.VIEWER})

    async def scenario() -> None:
        async with listening(api, f"/apps/shop/executions/{row}/events", key=key) as stream:
            assert (await stream.next()).data["status"] == "pending"  # type: ignore[union-attr]
            if change == "revoked":
                seeds.connection.execute("update api_keys set revoked_at = now() where name = 'ada'")
            else:
                seeds.connection.execute("delete from app_members")
            (problem,) = await stream.rest()
            assert (problem.name, problem.data["code"]) == (
                "problem",
                "invalid_key" if change == "revoked" else "not_found",
            )

    api.run(scenario())


def test_a_client_that_leaves_frees_its_place_and_the_last_one_ends_the_looking(api: Api, seeds: Seeds) -> None:
    app = seeds.app()
    row = seeds.waiting(app, seeds.script(app))
    streams = api.services.streams

    async def scenario() -> None:
        async with listening(api, f"/executions/{row}/events") as stream:
            await stream.next()
            assert streams.open == 1
            assert streams.is_looking
        gc.collect()
        await _until(lambda: streams.open == 0 and not streams.is_looking)

    api.run(scenario())


def test_more_streams_than_may_be_open_are_refused_until_one_is_closed(api: Api, seeds: Seeds) -> None:
    app = seeds.app()
    row = seeds.waiting(app, seeds.script(app))
    object.__setattr__(api.services, "streams", Streams(most=1))

    async def scenario() -> None:
        async with listening(api, f"/executions/{row}/events") as stream:
            await stream.next()
            refused = await api.conductor.simulate_get(
                f"/api/v1/executions/{row}/events", headers={"Authorization": f"Bearer {api.key}"}
            )
            assert (refused.status_code, refused.json["code"]) == (503, "no_capacity")
            assert int(refused.headers["retry-after"]) > 1
        await _until(lambda: api.services.streams.open == 0)
        async with listening(api, f"/executions/{row}/events") as stream:
            assert stream.status == 200

    api.run(scenario())


def test_streams_end_after_their_longest_time_and_when_the_process_stops(api: Api, seeds: Seeds) -> None:
    app = seeds.app()
    row = seeds.waiting(app, seeds.script(app))
    object.__setattr__(api.services, "streams", Streams(longest_seconds=0.2))

    async def scenario() -> None:
        async with listening(api, f"/executions/{row}/events") as stream:
            assert [event.name for event in await stream.rest()] == ["status"]
        object.__setattr__(api.services, "streams", Streams())
        async with listening(api, f"/executions/{row}/events") as stream:
            await stream.next()
            api.services.streams.end()
            assert await stream.rest() == []

    api.run(scenario())


def test_a_stream_waits_out_an_outage_and_goes_on_with_what_happened_meanwhile(api: Api, seeds: Seeds) -> None:
    app = seeds.app()
    row = seeds.waiting(app, seeds.script(app))
    pool: Any = api.services.database
    connect = pool.connection

    def away(*_: object, **__: object) -> Any:
        raise psycopg.OperationalError("the server closed the connection unexpectedly")

    async def scenario() -> None:
        async with listening(api, f"/executions/{row}/events") as stream:
            await stream.next()
            failed = asyncio.Event()

            def counted(*_: object, **__: object) -> Any:
                failed.set()
                return away()

            pool.connection = counted
            await failed.wait()
            _log(seeds, row, app, 1, "while it was away")
            _end(seeds, row, 1)
            pool.connection = connect
            assert [event.name for event in await stream.rest()] == ["log", "status"]

    api.run(scenario())


@pytest.mark.parametrize("seen", ["1", "a.b.c.d", "1.2.3.pending; drop", "☃".encode().decode("latin-1")])
def test_an_id_of_another_stream_is_refused(api: Api, seeds: Seeds, seen: str) -> None:
    app = seeds.app()
    row = seeds.waiting(app, seeds.script(app))
    headers = {"Last-Event-ID": seen}
    for path in (f"/executions/{row}/events", "/logs/events"):
        refused = api.request("GET", path, headers=headers)
        assert (refused.status_code, refused.json["code"]) == (400, "invalid_input"), path
