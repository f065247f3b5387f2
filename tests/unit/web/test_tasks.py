from __future__ import annotations

import asyncio

from picloud_web.tasks import end_tasks


def test_a_task_that_swallows_its_first_cancellation_is_ended_nevertheless() -> None:
    async def story() -> None:
        async def stubborn() -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                await asyncio.Event().wait()

        task = asyncio.create_task(stubborn())
        await asyncio.sleep(0)
        async with asyncio.timeout(5):
            await end_tasks(task, None)
        assert task.cancelled()

    asyncio.run(story())


def test_a_task_that_has_ended_is_left_alone() -> None:
    async def story() -> None:
        task = asyncio.create_task(asyncio.sleep(0, "result"))
        await task
        await end_tasks(task)
        assert task.result() == "result"

    asyncio.run(story())
