"""Messages for whoever listens: triggers whose globs match the topic run their scripts once this run is committed."""

from __future__ import annotations

import rhai

from picloud.engine.sdk.context import RunContext
from picloud.engine.sdk.description import SdkModule

PUBSUB = SdkModule("pubsub", __doc__)


@PUBSUB.function
def publish(run: RunContext, topic: str, message: rhai.Json) -> None:
    """Publish a message to a topic. Nobody need listen.

    Example:
        pubsub::publish("orders:created", #{ id: 7 });
    """
    run.services.publish(topic, message.data)
