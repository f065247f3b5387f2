"""The time one call may take, from the look-up of the name to the last byte, redirects included."""

from __future__ import annotations

import time
from collections.abc import Callable

from picloud.services.outbound.errors import OutboundTimeoutError

Clock = Callable[[], float]


class Deadline:
    """Counts down once; every wait of a call is cut to what is left."""

    def __init__(self, seconds: float, *, what: str, clock: Clock = time.monotonic) -> None:
        self._seconds = seconds
        self._what = what
        self._clock = clock
        self._at = clock() + seconds

    def remaining_seconds(self) -> float:
        """What is left, always more than nothing.

        Raises:
            OutboundTimeoutError: the time is up.
        """
        remaining = self._at - self._clock()
        if remaining <= 0:
            raise self.passed()
        return remaining

    def passed(self) -> OutboundTimeoutError:
        """The error of a call whose time is up."""
        return OutboundTimeoutError(
            f"{self._what} was not done within {self._seconds:g} seconds",
            hint="raise timeout_seconds, or ask for less at a time",
        )
