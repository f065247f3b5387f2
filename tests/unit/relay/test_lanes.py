"""Lanes: fairness between apps, and floors that only skip what has left."""

from __future__ import annotations

import datetime as dt

from picloud.relay.lanes import LONGEST_INSERT, Lane, LaneBook

NOW = dt.datetime(2026, 11, 21, 12, 0, tzinfo=dt.UTC)


def book(*lanes: Lane) -> LaneBook:
    found = LaneBook()
    found.discovered([(lane, NOW) for lane in lanes], NOW)
    return found


def test_sync_lanes_are_served_before_async_ones() -> None:
    lanes = book(Lane(1, False), Lane(2, True), Lane(3, False)).in_turn()
    assert lanes[0] == Lane(2, True)


def test_another_app_begins_every_time() -> None:
    lanes = book(Lane(1, False), Lane(2, False), Lane(3, False))
    firsts = {lanes.in_turn()[0].app_id for _ in range(3)}
    assert firsts == {1, 2, 3}


def test_a_noisy_app_leaves_room_for_the_quiet() -> None:
    assert book(Lane(1, False), Lane(2, False), Lane(3, False)).share(100) == 34
    assert book(Lane(1, False)).share(100) == 100


def test_a_lane_begins_one_longest_insert_before_its_oldest_row() -> None:
    lanes = LaneBook()
    lanes.discovered([(Lane(1, False), NOW - dt.timedelta(hours=1))], NOW)
    assert lanes.floors[Lane(1, False)] == NOW - dt.timedelta(hours=1) - LONGEST_INSERT


def test_a_lane_that_holds_only_future_rows_gets_no_future_floor() -> None:
    # A row written now would lie below it and wait for the next discovery.
    lanes = LaneBook()
    lanes.discovered([(Lane(1, False), NOW + dt.timedelta(days=30))], NOW)
    assert lanes.floors[Lane(1, False)] == NOW - LONGEST_INSERT


def test_floors_rise_with_what_was_claimed_and_never_fall() -> None:
    lanes = book(Lane(1, False))
    lanes.claimed({Lane(1, False): NOW + dt.timedelta(seconds=30)})
    risen = lanes.floors[Lane(1, False)]
    assert risen == NOW + dt.timedelta(seconds=30) - LONGEST_INSERT
    lanes.claimed({Lane(1, False): NOW})
    assert lanes.floors[Lane(1, False)] == risen
