"""A worker for tests of the web process, one step at a time, so that a test can stand in between."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self
from uuid import UUID

import msgspec
from psycopg import AsyncConnection

from picloud import broker
from picloud.broker import Reply

_TAKE = """
select o.id, o.token, o.reply_to, o.reply_deadline > now() as is_wanted, p.event, p.body
from outbox o join payloads p on p.id = o.id and p.day = o.payload_day
where o.id = %s and o.token = %s and o.state = 1
"""

_END = """
with gone as (delete from outbox where id = %(id)s and token = %(token)s returning *)
insert into executions (id, app_id, script_id, script_version, source, trigger_id, principal_id, status, token,
                        attempts, is_sync, root_execution_id, trigger_depth, accepted_at, result_kind, result,
                        http_status, http_headers, error)
select id, app_id, script_id, 1, source, trigger_id, principal_id, %(status)s, token, 1, is_sync, root_execution_id,
       trigger_depth, accepted_at, %(kind)s, %(result)s, %(http_status)s, %(http_headers)s, %(error)s
from gone
returning id
"""


@dataclass(frozen=True, slots=True)
class Taken:
    """A row a worker has popped and may run."""

    id: UUID
    token: int
    inbox: str
    is_wanted: bool
    event: dict[str, Any]
    body: bytes | None


class EmulatedWorker:
    """Pops, ends and answers as a worker does."""

    def __init__(self, database_url: str, redis_url: str) -> None:
        self._database_url = database_url
        self._redis: Any = broker.connect_async(redis_url, name="emulated", socket_timeout_seconds=30)
        self._reply_script = self._redis.register_script(broker.script("reply"))
        self._connection: AsyncConnection[Any] | None = None

    async def __aenter__(self) -> Self:
        self._connection = await AsyncConnection.connect(self._database_url, autocommit=True)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._redis.aclose()
        await self.connection.close()

    @property
    def connection(self) -> AsyncConnection[Any]:
        assert self._connection is not None
        return self._connection

    async def take(self) -> Taken:
        """The next sync row that web has published."""
        popped = await self._redis.blpop([broker.SYNC_LIST], 10)
        assert popped is not None, "nothing was published within 10 s"
        ((identifier, token),) = broker.decode_message(popped[1]).pairs
        cursor = await self.connection.execute(_TAKE, (identifier, token))
        row = await cursor.fetchone()
        assert row is not None, "the published row is not there, or not leased under its token"
        return Taken(row[0], row[1], row[2], row[3], msgspec.json.decode(row[4]), row[5])

    async def end(self, taken: Taken, **reply_members: Any) -> Reply:
        """Commit the run's end: the row gone, the record written. ``reply_members``: of ``Reply``."""
        reply = replace(Reply(taken.id, "completed", "json", data=b"null"), **reply_members)
        cursor = await self.connection.execute(
            _END,
            {
                "id": taken.id,
                "token": taken.token,
                "status": reply.status,
                "kind": reply.result_kind,
                "result": reply.data,
                "http_status": reply.http_status,
                "http_headers": msgspec.json.encode(reply.http_headers) if reply.http_headers else None,
                "error": msgspec.json.encode(reply.error) if reply.error else None,
            },
        )
        assert await cursor.fetchone() is not None, "the lease was lost"
        return reply

    async def answer(self, taken: Taken, reply: Reply) -> bool:
        """Push the answer; False when nobody is there to read it."""
        keys = [broker.inbox_key(taken.inbox), broker.inbox_alive_key(taken.inbox)]
        return bool(await self._reply_script(keys=keys, args=[120, reply.encode()]))

    async def serve(self, **reply_members: Any) -> Taken:
        """Take one row, end it and answer."""
        taken = await self.take()
        assert await self.answer(taken, await self.end(taken, **reply_members)), "nobody listens at the inbox"
        return taken

    async def flush_redis(self) -> None:
        """What an operator's FLUSHALL or an empty restart does, to this test's database only."""
        await self._redis.flushdb()

    async def keys(self, pattern: str) -> list[str]:
        return [key.decode() for key in await self._redis.keys(pattern)]

    async def is_relay_woken(self) -> bool:
        return bool(await self._redis.exists(broker.WAKE_LIST))

    async def wait_for_presence(self, taken: Taken) -> None:
        """Until the web process says that its inbox is read."""
        async with asyncio.timeout(5):
            # Redis does not signal that a key appears.
            while not await self._redis.exists(broker.inbox_alive_key(taken.inbox)):
                await asyncio.sleep(0.01)

    async def wait_for_wake(self) -> None:
        """Until somebody wakes the relay."""
        assert await self._redis.blpop([broker.WAKE_LIST], 10) is not None, "nobody woke the relay within 10 s"
