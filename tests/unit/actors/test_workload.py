"""Who may run next, and how much more may come."""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass

from picloud.outbox.run_rows import BegunRow
from picloud_actors.workload import MOST_HELD_BYTES, MOST_HELD_ROWS, Assignment, Workload


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


def row(*, is_sync: bool = False, is_suspect: bool = False, size: int = 10) -> BegunRow:
    identifier = uuid.uuid4()
    return BegunRow(
        id=identifier,
        token=1,
        app_id=1,
        app_name="a",
        script_id=1,
        script_name="s",
        version=1,
        timeout_ms=1_000,
        source="http",
        trigger_id=None,
        attempt=1,
        max_attempts=1,
        backoff="constant",
        backoff_base_ms=0,
        backoff_max_ms=0,
        backoff_jitter_pct=0,
        is_sync=is_sync,
        reply_to="w" if is_sync else None,
        is_suspect=is_suspect,
        root_execution_id=identifier,
        trigger_depth=0,
        payload_day=dt.date(2026, 11, 21),
        payload_bytes=size,
        principal_id=1,
        principal_name="p",
        is_principal_disabled=False,
        is_handler=False,
        app_revision=1,
        event=b"{}",
        body=None,
    )


def work(workload: Workload, *rows: BegunRow) -> list[Assignment]:
    assignments = [Assignment([each], b"", workload.clock()) for each in rows]
    workload.add(assignments)
    return assignments


def taken(workload: Workload) -> Assignment | None:
    return workload.next_assignment(0)


def test_sync_work_is_handed_out_before_async_work() -> None:
    workload = Workload(threads=4)
    _, sync = work(workload, row(), row(is_sync=True))
    assert taken(workload) is sync


def test_one_slot_in_four_never_takes_async_work() -> None:
    workload = Workload(threads=4)
    work(workload, *(row() for _ in range(8)))
    assert [taken(workload) is not None for _ in range(4)] == [True, True, True, False]
    (sync,) = work(workload, row(is_sync=True))
    assert taken(workload) is sync


def test_a_worker_for_async_work_only_keeps_no_slot_back() -> None:
    workload = Workload(threads=4, takes_sync=False)
    work(workload, *(row() for _ in range(4)))
    assert all(taken(workload) for _ in range(4))
    assert workload.budget().sync_rows == 0


def test_a_suspect_runs_with_nothing_beside_it() -> None:
    # Given a run under way and a suspect that waits with an innocent behind it
    workload = Workload(threads=4)
    (first,) = work(workload, row())
    assert taken(workload) is first
    suspect, innocent = work(workload, row(is_suspect=True), row())
    # I expect the suspect to wait until the run is settled, and the innocent for the suspect
    assert taken(workload) is None
    workload.done(first.key)
    assert taken(workload) is None
    workload.settled([first.key])
    assert taken(workload) is suspect
    assert taken(workload) is None
    assert workload.done(suspect.key) is innocent


def test_a_thread_that_is_done_goes_on_with_the_next_itself() -> None:
    workload = Workload(threads=1)
    first, second = work(workload, row(), row())
    assert taken(workload) is first
    assert workload.done(first.key) is second
    assert workload.done(second.key) is None


def test_a_thread_that_goes_away_leaves_the_next_to_others() -> None:
    workload = Workload(threads=1)
    first, second = work(workload, row(), row())
    taken(workload)
    assert workload.done(first.key, goes_on=False) is None
    assert taken(workload) is second


def test_nothing_is_fetched_beside_a_suspect() -> None:
    workload = Workload(threads=4)
    work(workload, row(is_suspect=True))
    assert workload.budget().is_empty()
    taken(workload)
    assert workload.budget().is_empty()


def test_a_suspect_that_waits_is_not_overtaken_for_ever() -> None:
    # Given a run under way, and a suspect that waits for its end
    clock = Clock()
    workload = Workload(threads=4, clock=clock)
    (first,) = work(workload, row(is_sync=True))
    taken(workload)
    workload.next_row(first.key)
    work(workload, row(is_suspect=True))
    # When sync work comes later, it goes first
    (second,) = work(workload, row(is_sync=True))
    assert taken(workload) is second
    workload.next_row(second.key)
    # But not for ever
    clock.now += 2.0
    work(workload, row(is_sync=True))
    assert taken(workload) is None
    # And the suspect is not handed back: elsewhere it would have to wait as well
    assert workload.take_back_ready(older_than_seconds=1.0) == []


def test_rows_behind_a_slow_one_in_one_message_are_handed_back() -> None:
    # Given a message of three rows whose first turned out slow
    clock = Clock()
    workload = Workload(threads=1, clock=clock)
    rows = [row(), row(), row()]
    workload.add([Assignment(list(rows), b"", clock.now)])
    assignment = taken(workload)
    assert assignment is not None
    assert workload.next_row(assignment.key) is rows[0]
    # When it has run for two seconds
    clock.now += 2.0
    # Then the others go back, and the thread finds none of them
    assert workload.take_back_ready(older_than_seconds=1.0) == rows[1:]
    assert workload.next_row(assignment.key) is None


def test_an_idle_process_may_fetch_at_least_a_row_for_each_thread() -> None:
    budget = Workload(threads=4).budget()
    assert budget.sync_rows >= 4
    assert budget.async_rows >= 3


def test_quick_scripts_let_a_process_hold_more() -> None:
    workload = Workload(threads=4)
    workload.speed.run_ms = 1.0
    assert workload.budget().async_rows == 400
    workload.speed.run_ms = 0.01
    assert workload.budget().async_rows == MOST_HELD_ROWS


def test_what_is_finished_and_not_committed_counts_as_held() -> None:
    workload = Workload(threads=2, takes_sync=False)
    first, second = work(workload, row(), row())
    taken(workload), taken(workload)
    workload.done(first.key)
    workload.done(second.key)
    workload.speed.run_ms = 100.0
    assert len(workload.held()) == 2
    assert not workload.is_idle()
    workload.settled([first.key, second.key])
    assert workload.is_idle()


def test_payload_bytes_bound_what_is_held() -> None:
    workload = Workload(threads=4)
    (large,) = work(workload, row(size=MOST_HELD_BYTES))
    assert workload.budget().is_empty()
    workload.settled([large.key])
    assert not workload.budget().is_empty()


def test_slow_scripts_stop_the_fetching_of_async_rows_but_not_of_sync_ones() -> None:
    # Given a process that was quick until three slow scripts took its async slots
    clock = Clock()
    workload = Workload(threads=4, clock=clock)
    workload.speed.run_ms = 0.1
    work(workload, row(), row(), row())
    for _ in range(3):
        taken(workload)
    assert workload.budget().async_rows > 0
    clock.now += 1.0
    assert workload.budget().async_rows == 0
    assert workload.budget().sync_rows > 0


def test_rows_that_wait_too_long_are_handed_back() -> None:
    clock = Clock()
    workload = Workload(threads=1, clock=clock)
    early, late = row(), row()
    work(workload, early)
    clock.now += 2.0
    work(workload, late)
    assert workload.take_back_ready(older_than_seconds=1.0) == [early]
    assert workload.take_back_ready() == [late]


def test_a_fenced_process_takes_nothing() -> None:
    workload = Workload(threads=4)
    workload.fence(True)
    assert workload.budget().is_empty()
    workload.fence(False)
    assert not workload.budget().is_empty()


def test_a_stopping_process_hands_nothing_out() -> None:
    workload = Workload(threads=4)
    work(workload, row())
    workload.stop()
    workload.release()
    assert taken(workload) is None
    assert workload.budget().is_empty()


def test_a_fetcher_blocked_on_sync_rows_is_woken_when_async_room_appears() -> None:
    kicks: list[str] = []
    workload = Workload(threads=2, on_room=lambda: kicks.append("kick"))
    (slow,) = work(workload, row())
    taken(workload)
    workload.fetcher_blocks(on_sync_only=True)
    workload.done(slow.key)
    workload.settled([slow.key])
    assert kicks == ["kick"]


def test_a_process_that_stands_aside_fetches_nothing_again() -> None:
    workload = Workload(threads=4)
    workload.stand_aside("it was told to drain")
    workload.fence(False)
    assert workload.budget().is_empty()
