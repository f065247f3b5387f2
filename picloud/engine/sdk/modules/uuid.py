"""Identifiers nobody else makes (RFC 9562), as lower-case text."""

from __future__ import annotations

import uuid

from picloud.engine.sdk.context import RunContext
from picloud.engine.sdk.description import SdkModule
from picloud.ids import id_of

UUID = SdkModule("uuid", __doc__)


@UUID.function
def v4(run: RunContext) -> str:
    """A random one.

    Example:
        uuid::v4()  // "1b4e28ba-2fa1-41d2-883f-0016d3cca427" …
    """
    return str(uuid.UUID(int=run.chance.getrandbits(128), version=4))


@UUID.function
def v7(run: RunContext) -> str:
    """One that begins with this moment in milliseconds, so that keys made later sort later.

    Example:
        uuid::v7()  // "01997c6c-5d29-7476-8577-3a44002f20e9" …
    """
    return str(id_of(run.now_ns // 1_000_000, run.chance.getrandbits(80)))
