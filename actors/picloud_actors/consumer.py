"""Dramatiq's side of the transport: a broker whose consumer blocks instead of polling.

The stock Redis consumer polls (an idle pick-up takes 367 ms at the median), keeps
ack sets that only repeat what PostgreSQL knows, and prefetches by count. This
one hands out what the fetcher has begun, one assignment for each idle thread.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import cast

from dramatiq.broker import Consumer, MessageProxy
from dramatiq.brokers.redis import RedisBroker
from dramatiq.message import Message

from picloud.broker import ACTOR_NAME, QUEUE_NAME
from picloud_actors.workload import Workload

#: How long a thread without work sleeps; being told to stop wakes it at once.
_IDLE_SECONDS = 60.0
#: Between the last thread's end and this consumer's, Dramatiq asks again and again.
_RELEASED_PAUSE_SECONDS = 0.01


class ExecutionBroker(RedisBroker):
    """A RedisBroker without middleware whose only queue is served by an ``ExecutionConsumer``."""

    def __init__(self, redis_url: str, workload: Workload) -> None:
        super().__init__(url=redis_url, middleware=[])  # type: ignore[no-untyped-call]  # Dramatiq leaves it unannotated
        self._workload = workload

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 5_000) -> Consumer:  # noqa: ARG002  # Dramatiq's
        """The consumer of the only queue; how much it holds is the workload's to decide."""
        return ExecutionConsumer(self._workload)

    def declare_queue(self, queue_name: str) -> None:
        """Declare a queue without its delay queue: delays live in PostgreSQL."""
        if queue_name not in self.queues:
            self.emit_before("declare_queue", queue_name)
            self.queues.add(queue_name)
            self.emit_after("declare_queue", queue_name)


class ExecutionConsumer(Consumer):
    """Gives each assignment to Dramatiq as the very message it came in."""

    def __init__(self, workload: Workload) -> None:
        self._workload = workload
        self._threads_to_wake = workload.threads

    def __next__(self) -> MessageProxy | None:
        assignment = self._workload.next_assignment(_IDLE_SECONDS)
        if assignment is None:
            return self._wake_message() if self._workload.is_released else None
        message = cast("Message[None]", Message.decode(assignment.message))
        # The actor finds its rows under the first one's id: a message may have come with rows
        # that were not ours to begin.
        return MessageProxy(message.copy(args=(assignment.key.hex,), kwargs={}))

    def _wake_message(self) -> MessageProxy | None:
        """One message without rows for each idle thread: it wakes up and sees that it is to stop."""
        if self._threads_to_wake == 0:
            time.sleep(_RELEASED_PAUSE_SECONDS)
            return None
        self._threads_to_wake -= 1
        return MessageProxy(Message(queue_name=QUEUE_NAME, actor_name=ACTOR_NAME, args=("",), kwargs={}, options={}))

    def ack(self, message: MessageProxy) -> None:
        """Nothing to acknowledge: the row is settled by the flusher."""

    def nack(self, message: MessageProxy) -> None:
        """An actor never raises; a message nobody can process is settled by its lease."""

    def requeue(self, messages: Iterable[MessageProxy]) -> None:
        """What was begun and not started is handed back in PostgreSQL, not to Redis."""

    def close(self) -> None:
        """The workload outlives its consumer."""
