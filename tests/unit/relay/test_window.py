"""How much may be on its way, and how long the relay waits."""

from __future__ import annotations

import pytest

from picloud.relay.window import MOST_ROWS, SHORTEST_WAIT_SECONDS, Capacity, wait_seconds


def capacity(*, published: int = 0, running: int = 0, slots: int = 4, run_ms: float = 5.0) -> Capacity:
    return Capacity(published, running, slots, run_ms)


def test_the_window_holds_two_hundred_milliseconds_of_work() -> None:
    assert capacity(slots=4, run_ms=5.0).window() == 160


def test_slow_scripts_still_leave_two_rows_for_each_slot() -> None:
    assert capacity(slots=4, run_ms=30_000).window() == 8


def test_quick_scripts_never_fill_redis() -> None:
    assert capacity(slots=64, run_ms=0.05).window() == MOST_ROWS


def test_without_a_worker_nothing_is_published() -> None:
    assert capacity(slots=0).room() == 0


def test_what_is_on_its_way_takes_room() -> None:
    assert capacity(published=150).room() == 10
    assert capacity(published=500).room() == 0


@pytest.mark.parametrize("overdue", [0.0, -0.001, -3_600.0])
def test_due_rows_that_wait_for_room_never_make_it_spin_nor_sleep_for_ever(overdue: float) -> None:
    # For Redis a timeout of 0 is for ever.
    assert SHORTEST_WAIT_SECONDS <= wait_seconds(capacity(published=160), overdue) <= 1.0


def test_it_wakes_when_the_next_row_falls_due() -> None:
    assert wait_seconds(capacity(), 0.3) == pytest.approx(0.3)


def test_a_row_due_in_a_microsecond_is_waited_for_a_moment() -> None:
    assert wait_seconds(capacity(), 1e-6) == SHORTEST_WAIT_SECONDS


def test_while_something_is_published_the_epoch_is_looked_at_every_second() -> None:
    assert wait_seconds(capacity(published=1), None) == 1.0


def test_while_something_runs_its_worker_is_looked_after() -> None:
    assert wait_seconds(capacity(running=1), None) == 2.0


def test_an_idle_relay_looks_within_five_seconds_because_a_wake_may_be_lost() -> None:
    assert 4.0 <= wait_seconds(capacity(), None) < 5.0
    assert 4.0 <= wait_seconds(capacity(), 86_400.0) < 5.0
