"""Secrets of the app, set by `picloud secrets set` and kept encrypted. What a run read is struck out of its log."""

from __future__ import annotations

from picloud.engine.sdk.context import RunContext
from picloud.engine.sdk.description import SdkModule

SECRETS = SdkModule("secrets", __doc__)


@SECRETS.function
def get(run: RunContext, name: str) -> str:
    """The value of a secret.

    Throws:
        secret_not_found: the app has none of this name.

    Example:
        let key = secrets::get("STRIPE_KEY");
    """
    return run.services.secret(name)
