"""The clock of a world: it stands still unless a test moves it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

#: When every test begins.
START = datetime(2026, 1, 1, tzinfo=UTC)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class FakeClock:
    """An instant, aware UTC, in whole milliseconds."""

    def __init__(self) -> None:
        self.now = START

    @property
    def now_ns(self) -> int:
        return (self.now - _EPOCH) // timedelta(microseconds=1) * 1_000

    def set(self, unix_ms: int) -> None:
        """Raises: OverflowError: beyond the years 1 to 9999."""
        self.now = _EPOCH + timedelta(milliseconds=unix_ms)

    def advance(self, ms: int) -> None:
        """Raises: OverflowError: beyond the years 1 to 9999."""
        self.now += timedelta(milliseconds=ms)

    def after(self, ms: int) -> datetime:
        """The instant so many milliseconds from now."""
        return self.now + timedelta(milliseconds=ms)

    def move_to(self, instant: datetime) -> None:
        """Go on to an instant; never back."""
        self.now = max(self.now, instant)

    def text(self) -> str:
        """Now, as events tell it (RFC 3339)."""
        return self.now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
