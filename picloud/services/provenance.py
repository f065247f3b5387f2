"""Whether a request or a mail comes from a run of this installation: what it starts is one hop deeper, under one root.

That is how a chain that leaves PiCloud and comes back meets the depth limit. A header that
is not ours, or was altered, counts as none.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from picloud.errors import ConfigurationError
from picloud.services.hops import HOPS_HEADER, Hops, read_hops_of_any
from picloud.services.vault import MasterKeys

_LOG = logging.getLogger("picloud.services")

#: As servers spell the names of headers.
HEADER = HOPS_HEADER.lower()


class Provenance:
    """Reads the header; the master keys are needed when the first one comes.

    Args:
        way: by which it comes, HTTP or mail; for the log.
    """

    def __init__(self, master_keys: MasterKeys, way: str) -> None:
        self._load = master_keys
        self._way = way
        self._was_missing = False

    def of(self, header: str | None) -> Hops | None:
        """Where in a chain the sender was; None: it says nothing that we signed."""
        return read_hops_of_any(self._keys(), header) if header else None

    def _keys(self) -> Sequence[bytes]:
        try:
            return self._load()
        except ConfigurationError:
            if not self._was_missing:  # said once: strangers choose how often the header comes
                self._was_missing = True
                _LOG.error("loops through %s are not noticed: this process has no master key", self._way)
            return ()
