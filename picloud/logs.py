"""Where log lines of a process go: to stderr, each with its time, level and logger."""

from __future__ import annotations

import logging
import os

_FORMAT = "%(levelname)s %(name)s: %(message)s"


def configure_logging() -> None:
    """Set up the process' log unless somebody has; called by each entry point.

    systemd's journal stamps every line itself, so there the time is left out.
    """
    stamped = _FORMAT if os.environ.get("JOURNAL_STREAM") else "%(asctime)s " + _FORMAT
    logging.basicConfig(level=logging.INFO, format=stamped)
    # Dramatiq tells of its threads' every start and stop; nobody needs that but its authors.
    logging.getLogger("dramatiq").setLevel(logging.WARNING)
