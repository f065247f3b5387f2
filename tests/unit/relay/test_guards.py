"""When heartbeats may be judged, and when history may be removed: never on a clock that jumped."""

from __future__ import annotations

import datetime as dt

from picloud.relay.retention import RetentionClock
from picloud.relay.sweeps import SweepGuard

_START = dt.datetime(2026, 11, 21, tzinfo=dt.UTC)


def at(seconds: float) -> dt.datetime:
    return _START + dt.timedelta(seconds=seconds)


def test_a_sweeper_that_has_just_connected_waits_one_dead_interval() -> None:
    guard = SweepGuard()
    guard.distrust(100.0)
    assert not guard.may_judge(at(0), 100.0)
    assert not guard.may_judge(at(14.9), 114.9)
    assert guard.may_judge(at(15), 115.0)


def test_a_clock_that_jumps_makes_a_sweeper_wait_in_either_direction() -> None:
    for jump in (3_600.0, -600.0):
        guard = SweepGuard()
        assert guard.may_judge(at(0), 0.0)
        assert not guard.may_judge(at(1 + jump), 1.0)
        assert not guard.may_judge(at(15 + jump), 15.0)
        assert guard.may_judge(at(16.5 + jump), 16.5)


def test_clocks_that_drift_a_little_are_trusted() -> None:
    guard = SweepGuard()
    assert all(guard.may_judge(at(second * 1.001), float(second)) for second in range(100))


def test_nothing_is_removed_before_the_clocks_have_agreed_for_an_hour() -> None:
    clock = RetentionClock()
    assert not clock.may_remove(at(0), 0.0)
    assert not clock.may_remove(at(3_599), 3_599.0)
    assert clock.may_remove(at(3_600), 3_600.0)


def test_at_most_one_day_is_removed_an_hour() -> None:
    clock = RetentionClock()
    clock.may_remove(at(0), 0.0)
    assert clock.may_remove(at(3_600), 3_600.0)
    assert not clock.may_remove(at(3_601), 3_601.0)
    assert clock.may_remove(at(7_200), 7_200.0)


def test_a_clock_that_jumps_a_year_ahead_removes_nothing_for_an_hour() -> None:
    # Scenario 23: a Pi without a clock chip.
    year = 365 * 86_400.0
    clock = RetentionClock()
    clock.may_remove(at(0), 0.0)
    assert not clock.may_remove(at(year + 3_600), 3_600.0)
    assert not clock.may_remove(at(year + 7_000), 7_000.0)
    assert clock.may_remove(at(year + 7_200), 7_200.0)
