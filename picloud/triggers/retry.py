"""A trigger's own retry policy: any of its five values, over the platform's defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from picloud.retries import Backoff, RetryPolicy

#: Lowest and highest value of each whole number, within those of the PICLOUD_TRIGGER_RETRY_* settings. Delays end at
#: 24 days: they are kept in a 32-bit column, which has no room for 25.
RETRY_BOUNDS: Mapping[str, tuple[int, int]] = {
    "max_attempts": (1, 1_000),
    "base_ms": (0, 86_400_000),
    "max_ms": (0, 24 * 86_400_000),
    "jitter_pct": (0, 100),
}

BACKOFFS: tuple[Backoff, ...] = ("exponential", "linear", "constant")


class RetryValues(Protocol):
    """What a complete policy says: the settings' defaults, or a ``RetryPolicy``."""

    @property
    def max_attempts(self) -> int: ...
    @property
    def backoff(self) -> Backoff: ...
    @property
    def base_ms(self) -> int: ...
    @property
    def max_ms(self) -> int: ...
    @property
    def jitter_pct(self) -> int: ...


@dataclass(frozen=True, slots=True)
class RetryOverrides:
    """What a trigger says of its retries; None: the default holds. The fields are those of ``RetryPolicy``."""

    max_attempts: int | None = None
    backoff: Backoff | None = None
    base_ms: int | None = None
    max_ms: int | None = None
    jitter_pct: int | None = None

    def over(self, defaults: RetryValues) -> RetryPolicy:
        """The policy of a row this trigger writes."""
        values = {
            name: getattr(defaults, name) for name in ("max_attempts", "backoff", "base_ms", "max_ms", "jitter_pct")
        }
        return RetryPolicy(**values | self.to_data())

    def to_data(self) -> dict[str, Any]:
        """Only what is said, by the field's name."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def problems(self) -> list[tuple[str, str]]:
        """Each value that is out of its bounds, as field and message."""
        return [
            (name, f"expected a whole number from {low} to {high}, not {value}")
            for name, (low, high) in RETRY_BOUNDS.items()
            if (value := getattr(self, name)) is not None and not low <= value <= high
        ]


NO_OVERRIDES = RetryOverrides()
