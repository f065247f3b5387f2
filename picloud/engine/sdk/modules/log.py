"""Writes to the log of this execution, which `picloud logs` shows.

A map of fields may follow the message. The log of one run is cut at 64 KiB, and kept whether or not the run succeeds.
"""

from __future__ import annotations

from typing import Any

from picloud.engine.sdk.context import RunContext
from picloud.engine.sdk.description import SdkModule

LOG = SdkModule("log", __doc__)


@LOG.function
def trace(run: RunContext, message: str, fields: dict[str, Any] | None = None) -> None:
    """A line for those who follow every step."""
    run.log.write("trace", message, fields)


@LOG.function
def info(run: RunContext, message: str, fields: dict[str, Any] | None = None) -> None:
    """A line that tells what happened.

    Example:
        log::info("order accepted", #{ order: 7, total: 154.8 });
    """
    run.log.write("info", message, fields)


@LOG.function
def warn(run: RunContext, message: str, fields: dict[str, Any] | None = None) -> None:
    """A line about what may need attention."""
    run.log.write("warn", message, fields)


@LOG.function
def error(run: RunContext, message: str, fields: dict[str, Any] | None = None) -> None:
    """A line about what went wrong. It fails nothing: that is what `throw` is for."""
    run.log.write("error", message, fields)


@LOG.function(name="print", is_built_in=True, is_global=True)
def print_value(value: Any) -> None:
    """Any value as a line of level info."""


@LOG.function(name="debug", is_built_in=True, is_global=True)
def debug_value(value: Any) -> None:
    """Any value as a line of level debug, with its place in the script."""
