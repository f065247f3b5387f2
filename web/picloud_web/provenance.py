"""Whether a request comes from a run of this installation: then what it starts is one hop deeper, under the same root.

That is how a chain that leaves PiCloud and comes back meets the depth limit. A header that
is not ours, or was altered, counts as none.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cached_property

from picloud.errors import ConfigurationError
from picloud.services.hops import HOPS_HEADER, Hops, read_hops

_log = logging.getLogger("picloud.web")

HEADER = HOPS_HEADER.lower()


class Provenance:
    """Reads the header; the master key is needed when the first one comes."""

    def __init__(self, master_key: Callable[[], bytes]) -> None:
        self._read_key = master_key

    @cached_property
    def _key(self) -> bytes | None:
        try:
            return self._read_key()
        except ConfigurationError:
            _log.error("loops through HTTP are not noticed: this process has no master key")  # said there
            return None

    def of(self, header: str | None) -> Hops | None:
        """Where in a chain the sender was; None: it says nothing that we signed."""
        return read_hops(self._key, header) if header and self._key else None
