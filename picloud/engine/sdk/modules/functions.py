"""Other scripts of the app, run on their own: with retries, and dead letters when they keep failing."""

from __future__ import annotations

import rhai

from picloud.engine.sdk.context import RunContext
from picloud.engine.sdk.description import SdkModule

FUNCTIONS = SdkModule("functions", __doc__)


@FUNCTIONS.function
def invoke(run: RunContext, name: str, args: rhai.Json) -> str:
    """Run a script once this run is committed; the id of its execution. It finds `args` in `ctx.event.args`.

    Throws:
        script_not_found: the app has no such script.

    Example:
        let id = functions::invoke("send_invoice", #{ order: 7 });
    """
    return str(run.services.invoke(name, b'{"args":%s}' % args.data))
