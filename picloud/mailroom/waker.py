"""Tells a relay that rows were written, beside the answer to who sent them: Redis may be slow, or away."""

from __future__ import annotations

import asyncio
import logging

import redis.asyncio

from picloud.broker import OUTAGES, WAKE_LIST, script

_LOG = logging.getLogger("picloud.mail")


class Waker:
    """Wakes in the background; whatever is said while a wake is under way becomes one more."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client
        self._script = client.register_script(script("wake"))
        self._task: asyncio.Task[None] | None = None
        self._again = False

    def wake(self) -> None:
        """Wake a relay soon."""
        if self._task is not None and not self._task.done():
            self._again = True
        else:
            self._task = asyncio.get_running_loop().create_task(self._send(), name="wake")

    async def close(self) -> None:
        """Finish what is under way, and hang up."""
        if self._task is not None:
            await self._task
        await self._client.aclose()

    async def _send(self) -> None:
        again = True
        while again:
            self._again = False
            try:
                await self._script(keys=[WAKE_LIST])
            except OUTAGES as error:
                # The relay looks by itself every few seconds; nothing is lost, only later.
                _LOG.warning("no relay could be woken: %s", error)
                return
            again = self._again
