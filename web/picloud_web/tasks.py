"""Ends background tasks for certain."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

_AGAIN_SECONDS = 0.2


async def end_tasks(*tasks: asyncio.Task[Any] | None) -> None:
    """Cancel these tasks and wait until they have ended; None stands for one that was never started.

    Cancelling once is not enough: redis-py, cancelled while it connects or
    disconnects, may swallow that and go on with a command that blocks for
    seconds (seen with 8.1). Whoever waited for the task would wait as long.
    """
    running: Iterable[asyncio.Task[Any]] = {task for task in tasks if task is not None}
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=_AGAIN_SECONDS)
