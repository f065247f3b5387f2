"""What a script did wrong when it called us, and what it sees of an error that it catches.

::

    InvalidInputError (PiCloudError)
    └── ArgumentError       an argument has the right type and a value that cannot be used
"""

from __future__ import annotations

import logging
from typing import Any

import rhai

from picloud.errors import InvalidInputError, PiCloudError

_LOG = logging.getLogger("picloud.engine")


class ArgumentError(InvalidInputError):
    """Raised when a script hands over a value that cannot be used; wrong types are refused before we are called."""


def told_of(error: BaseException | None) -> PiCloudError:
    """An error of a host function as authors of scripts may know it.

    What nobody raised on purpose is ours and nobody else's business: they learn that it happened, our log what.
    """
    match error:
        case PiCloudError():
            return error
        case rhai.RhaiInputError():
            return ArgumentError(error.message)
        case _:
            return PiCloudError("a function of PiCloud failed; see the worker's log")


def caught_by_scripts(error: Exception) -> dict[str, Any]:
    """The value of ``e`` in ``catch (e)``, when a host function raised ``error``."""
    told = told_of(error)
    if told.code == PiCloudError.code:
        # Logged here and not where a run ends: a script may go on as if nothing had happened.
        _LOG.error("a host function failed", exc_info=error)
    return {"code": told.code, "message": told.message, "hint": told.hint, "retryable": told.retryable}
