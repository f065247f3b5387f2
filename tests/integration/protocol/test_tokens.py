"""The token is the fence: whoever holds the current one owns the row, and nobody else changes it."""

from __future__ import annotations

import pytest

from picloud.outbox.accept import accept
from picloud.outbox.run_rows import Settlement, beat, settle, unpublish
from tests.integration.protocol.stage import Stage, worker_process

pytestmark = pytest.mark.integration


def test_a_row_that_is_sent_again_after_a_lost_answer_is_accepted_once(stage: Stage) -> None:
    # Given a batch that was accepted
    arrivals = [stage.arrival(), stage.arrival()]
    accept(stage.db, arrivals)
    # When its answer was lost and it is sent again, together with a new row
    late = stage.arrival()
    accept(stage.db, [*arrivals, late])
    # Then each is there once
    assert stage.one("select count(*) from outbox") == 3
    assert stage.books()["accepted"] == 3


def test_a_row_that_has_run_meanwhile_is_not_accepted_a_second_time(stage: Stage) -> None:
    # Given a row that was accepted, ran and is gone
    arrival = stage.arrival()
    accept(stage.db, [arrival])
    (row,) = stage.begin(stage.claimed())
    stage.settle(row, "completed")
    # When its writer, who never heard, sends it again
    accept(stage.db, [arrival])
    # Then it does not run again
    assert stage.rows("select from outbox") == []
    stage.assert_books_balance()


def test_rows_of_an_app_that_changed_or_is_paused_are_refused_and_written_nowhere(stage: Stage) -> None:
    # Given a writer whose idea of the app is old
    old = stage.arrival()
    stage.db.execute("update apps set revision = revision + 1")
    # When it writes, it is told so
    assert accept(stage.db, [old]).refused == {old.id}
    # And the same for a paused app
    current = stage.arrival()
    stage.db.execute("update apps set paused_at = now()")
    assert accept(stage.db, [current]).refused == {current.id}
    assert stage.books()["accepted"] == 0


def test_a_message_that_comes_twice_begins_its_row_once(stage: Stage) -> None:
    # Given a message
    stage.accepted()
    pairs = stage.claimed()
    # When it is delivered three times, twice of them to one process
    assert len(stage.begin([*pairs, *pairs])) == 1
    assert stage.begin(pairs) == []
    assert stage.begin(pairs, worker_process()) == []
    # Then the row was begun once
    assert stage.rows("select state, attempt from outbox") == [(2, 1)]


def test_a_message_from_before_the_row_was_published_again_begins_nothing(stage: Stage) -> None:
    stage.accepted()
    stale = stage.claimed()
    assert unpublish(stage.db, stale)
    fresh = stage.claimed()
    assert stage.begin(stale) == []
    assert len(stage.begin(fresh)) == 1


def test_a_completion_under_a_stale_token_is_discarded(stage: Stage) -> None:
    # Given a run whose machine was taken for lost, and whose row another one runs now
    (zombie,) = stage.begun()
    stage.settle(zombie, "lost")
    (current,) = stage.begin(stage.claimed())
    # When the first one comes back
    assert stage.settle(zombie, "completed", result=b"wrong", result_kind="json") == "lost"
    # Then only what the second says counts
    assert stage.settle(current, "completed", result=b"right", result_kind="json") == "done"
    assert stage.rows("select result from executions") == [(b"right",)]


def test_a_completion_that_is_sent_twice_is_told_that_it_was_its_own(stage: Stage) -> None:
    (row,) = stage.begun()
    assert stage.settle(row, "completed") == "done"
    assert stage.settle(row, "completed") == "already"
    assert stage.settle((row.id, row.token + 1), "completed") == "lost"
    assert stage.one("select count(*) from executions") == 1
    stage.assert_books_balance()


def test_a_heartbeat_hears_which_runs_are_no_longer_its_own(stage: Stage) -> None:
    kept, taken = stage.begun(2)
    stage.settle(taken, "lost")
    answer = beat(stage.db, stage.worker.id, [(kept.id, kept.token), (taken.id, taken.token)], 1.0)
    assert answer.is_known
    assert answer.lost == {taken.id}


def test_a_begin_is_a_heartbeat_too(stage: Stage) -> None:
    # Scenario 9: a process that was idle for an hour begins, and a sweep comes before its next beat.
    stage.begun()
    stage.db.execute("update workers set beat_at = now() - interval '1 hour'")
    stage.begun()
    assert (
        stage.rows("select from outbox o join workers w on w.id = o.worker_id where w.beat_at < now() - interval '5 s'")
        == []
    )


def test_one_call_settles_many_runs_each_in_its_own_way(stage: Stage) -> None:
    done, retried, back, dead = stage.begun(4)
    settled = settle(
        stage.db,
        [
            Settlement(done.id, done.token, "completed", result_kind="unit"),
            Settlement(retried.id, retried.token, "failed", error=b"{}"),
            Settlement(back.id, back.token, "handed_back"),
            Settlement(dead.id, dead.token, "rejected", reason="not_retryable", error=b"{}"),
        ],
    )
    assert {each.id: each.verdict for each in settled} == {
        done.id: "done",
        retried.id: "retried",
        back.id: "handed_back",
        dead.id: "dead",
    }
    stage.assert_books_balance()


@pytest.mark.parametrize(
    ("outcome", "spent"),
    [
        ("handed_back", (0, 0, 0, False)),
        ("lost", (0, 0, 1, False)),
        ("suspected", (0, 0, 0, True)),
        ("crashed", (0, 1, 0, True)),
        ("failed", (1, 0, 0, False)),
    ],
)
def test_only_a_script_that_ended_spends_an_attempt(
    stage: Stage, outcome: str, spent: tuple[int, int, int, bool]
) -> None:
    (row,) = stage.begun()
    stage.settle(row, outcome)
    assert stage.rows("select attempt, crashes, lost, is_suspect from outbox where state = 0") == [spent]


def test_three_crashes_or_ten_lost_machines_end_a_row(stage: Stage) -> None:
    stage.begun(2)
    stage.db.execute("update outbox set crashes = 2, lost = 9")
    ids = [row[0] for row in stage.rows("select id from outbox order by id")]
    pairs = [(each, stage.one("select token from outbox where id = %s", each)) for each in ids]
    assert [stage.settle(pairs[0], "crashed"), stage.settle(pairs[1], "lost")] == ["dead", "dead"]
    reasons = dict(stage.rows("select id, reason from dead_letters"))
    assert reasons == {ids[0]: "worker_crash", ids[1]: "worker_lost"}


def test_user_data_with_zero_bytes_and_broken_text_is_stored_as_it_came(stage: Stage) -> None:
    # Scenario 13: a value that text or jsonb refuses would leave a row that can never be settled.
    nasty = b'{"code": "script_failed", "message": "a\\u0000b\x00\xff"}'
    (row,) = stage.begun(event=nasty)
    assert row.event == nasty
    assert stage.settle(row, "rejected", reason="not_retryable", error=nasty, logs=nasty) == "dead"
    assert stage.rows("select event, last_error from dead_letters") == [(nasty, nasty)]
