"""When a failed run is tried again: exponential, linear or constant, with jitter and a cap.

Jitter spreads runs that failed together, so that they do not fail together
again (AWS Architecture Blog, "Exponential Backoff and Jitter"). It is applied
to both sides of the delay, ± ``jitter_pct`` percent, after the cap: a storm
that has reached the cap needs spreading most of all.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal, assert_never

Backoff = Literal["exponential", "linear", "constant"]


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how soon one row is tried again.

    Attributes:
        max_attempts: runs in all, the first one included.
        backoff: how the delay grows from attempt to attempt.
        base_ms: the delay after the first failure.
        max_ms: no delay is longer than this, jitter aside.
        jitter_pct: the delay is moved by up to this many percent, both ways.
    """

    max_attempts: int
    backoff: Backoff
    base_ms: int
    max_ms: int
    jitter_pct: int

    def delay_ms(self, attempt: int, uniform: random.Random | None = None) -> int:
        """Milliseconds to wait after the ``attempt``-th run (1-based) failed."""
        delay = min(self.max_ms, self._growth(max(1, attempt)))
        spread = (uniform or random).uniform(-1.0, 1.0) * self.jitter_pct / 100
        return max(0, round(delay * (1 + spread)))

    def _growth(self, attempt: int) -> int:
        match self.backoff:
            case "exponential":
                # Past 2^40 ms (35 years) every cap has been reached; an unbounded
                # shift would build an integer of thousands of digits.
                return self.base_ms << min(attempt - 1, 40)
            case "linear":
                return self.base_ms * attempt
            case "constant":
                return self.base_ms
            case _:
                assert_never(self.backoff)
