"""Messages for the app's queues: each runs the script that consumes its queue, as soon as this run is committed."""

from __future__ import annotations

from typing import TypedDict

import rhai

from picloud.engine.sdk.context import RunContext
from picloud.engine.sdk.description import SdkModule
from picloud.engine.sdk.options import read_options

QUEUE = SdkModule("queue", __doc__)


class SendOptions(TypedDict, total=False):
    """When a message runs.

    Attributes:
        delay_seconds: not before so long after the end of this run.
        key: messages of one key run one after another, in the order in which they were sent.
    """

    delay_seconds: float
    key: str


@QUEUE.function
def send(run: RunContext, name: str, message: rhai.Json, options: SendOptions | None = None) -> str:
    """Put a message into a queue; its id, which is that of its execution.

    Throws:
        queue_not_found: the app has no such queue.
        invalid_input: the delay or the key cannot be used.

    Example:
        queue::send("mails", #{ to: "ada@example.com" }, #{ delay_seconds: 60, key: "ada" });
    """
    wanted = read_options(options or {}, SendOptions)
    delay_ms = round(wanted.get("delay_seconds", 0.0) * 1_000)
    return str(run.services.send(name, message.data, delay_ms=delay_ms, order_key=wanted.get("key")))
