"""Rows into messages: who shares one, who travels alone."""

from __future__ import annotations

import uuid

from picloud.broker import decode_message
from picloud.relay.grouping import MOST_BYTES_PER_MESSAGE, MOST_ROWS_PER_MESSAGE, ClaimedRow, group

QUICK = {1: 0.1}


def rows(
    count: int, *, script_id: int = 1, is_sync: bool = False, alone: bool = False, size: int = 100
) -> list[ClaimedRow]:
    return [ClaimedRow(uuid.uuid4(), number + 1, script_id, is_sync, alone or is_sync, size) for number in range(count)]


def sizes(messages: list[bytes]) -> list[int]:
    return [len(decode_message(message).pairs) for message in messages]


def test_quick_rows_share_messages_when_the_backlog_is_deep() -> None:
    grouped = group(rows(40), QUICK, backlog_is_deep=True)
    assert sizes(grouped.asynchronous) == [MOST_ROWS_PER_MESSAGE, MOST_ROWS_PER_MESSAGE, 8]


def test_a_shallow_backlog_is_spread_over_all_threads() -> None:
    assert sizes(group(rows(4), QUICK, backlog_is_deep=False).asynchronous) == [1, 1, 1, 1]


def test_a_script_nobody_has_measured_travels_alone() -> None:
    assert sizes(group(rows(3, script_id=9), QUICK, backlog_is_deep=True).asynchronous) == [1, 1, 1]


def test_slow_scripts_travel_alone() -> None:
    assert sizes(group(rows(3), {1: 500.0}, backlog_is_deep=True).asynchronous) == [1, 1, 1]


def test_a_message_holds_no_more_than_its_milliseconds() -> None:
    assert sizes(group(rows(6), {1: 9.0}, backlog_is_deep=True).asynchronous) == [2, 2, 2]


def test_a_message_holds_no_more_than_its_bytes() -> None:
    grouped = group(rows(4, size=MOST_BYTES_PER_MESSAGE // 2), QUICK, backlog_is_deep=True)
    assert sizes(grouped.asynchronous) == [2, 2]


def test_sync_ordered_and_suspect_rows_travel_alone() -> None:
    sync = group(rows(3, is_sync=True), QUICK, backlog_is_deep=True)
    assert sizes(sync.sync) == [1, 1, 1]
    assert sync.asynchronous == []
    assert sizes(group(rows(3, alone=True), QUICK, backlog_is_deep=True).asynchronous) == [1, 1, 1]


def test_the_order_of_rows_is_kept() -> None:
    claimed = rows(20)
    grouped = group(claimed, QUICK, backlog_is_deep=True)
    published = [pair[0] for message in grouped.asynchronous for pair in decode_message(message).pairs]
    assert published == [row.id for row in claimed]


def test_a_message_carries_the_estimate_of_its_work() -> None:
    content = decode_message(group(rows(2, size=300), {1: 4.0}, backlog_is_deep=True).asynchronous[0])
    assert content.estimated_ms == 8
    assert content.payload_bytes == 600
