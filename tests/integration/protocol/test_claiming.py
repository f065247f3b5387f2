"""What a relay claims: what is due, what may run now, everybody's share, in order."""

from __future__ import annotations

import datetime as dt

import psycopg
import pytest

from tests.integration.protocol.stage import Stage

pytestmark = pytest.mark.integration


def test_rows_are_claimed_in_the_order_they_fall_due_and_were_written(stage: Stage) -> None:
    ids = stage.accepted(5)
    assert [row.id for row in stage.claim(limit=3)] == ids[:3]
    assert [row.id for row in stage.claim()] == ids[3:]


def test_a_row_is_not_claimed_before_its_time(stage: Stage) -> None:
    stage.accepted(delay_ms=60_000)
    assert stage.claim() == []
    stage.db.execute("update outbox set available_at = now()")
    assert len(stage.claim()) == 1


def test_nothing_of_a_paused_app_is_claimed(stage: Stage) -> None:
    stage.accepted(3)
    stage.db.execute("update apps set paused_at = now()")
    assert stage.claim() == []
    stage.db.execute("update apps set paused_at = null")
    assert len(stage.claim()) == 3


def test_rows_below_the_floor_are_left_alone(stage: Stage) -> None:
    stage.accepted()
    assert stage.claim(floor=dt.datetime.now(dt.UTC) + dt.timedelta(seconds=5)) == []
    assert len(stage.claim()) == 1


def test_a_noisy_app_leaves_room_for_a_quiet_one(stage: Stage) -> None:
    quiet = Stage.set_up(stage.db)
    stage.accepted(50)
    quiet.accepted(2)
    claimed = stage.claim(apps=[stage.app.id, quiet.app.id], limit=10, share=5)
    assert sorted(row.app_id for row in claimed) == sorted([stage.app.id] * 5 + [quiet.app.id] * 2)


def test_payload_bytes_bound_a_claim_but_one_row_always_fits(stage: Stage) -> None:
    stage.accepted(3, event=b"x" * 1_000)
    assert len(stage.claim(most_bytes=1_500)) == 2
    assert len(stage.claim(most_bytes=10)) == 1


def test_two_relays_never_claim_the_same_row(stage: Stage, database_url: str) -> None:
    stage.accepted(20)
    with psycopg.connect(database_url) as other_db:
        # Given a relay in the middle of its claim
        other = Stage(other_db, stage.app, stage.script_id, stage.worker)
        first = {row.id for row in other.claim(limit=8, share=8)}
        # When another one claims, it neither waits nor takes the same
        second = {row.id for row in stage.claim()}
    assert len(first) == 8
    assert len(second) == 12
    assert not first & second


def test_a_message_waits_for_every_earlier_one_of_its_key(stage: Stage) -> None:
    # Given three messages of one key and one of another
    first, second, third = (stage.accepted(order_key="a")[0] for _ in range(3))
    (other,) = stage.accepted(order_key="b")
    # Then only the first of each is claimed
    claimed = stage.claim()
    assert [row.id for row in claimed] == [first, other]
    assert stage.claim() == []
    # When the first fails and waits for its next try
    (row,) = [row for row in stage.begin([(each.id, each.token) for each in claimed]) if row.id == first]
    stage.settle(row, "failed", delay_ms=60_000)
    # Then the second waits with it
    assert stage.claim() == []
    # When the first is dead
    stage.db.execute("update outbox set available_at = now()")
    (row,) = stage.begin(stage.claimed())
    stage.settle(row, "rejected", reason="not_retryable")
    # Then it is the second's turn, and not yet the third's
    assert [each.id for each in stage.claim()] == [second]
    assert stage.one("select state from outbox where id = %s", third) == 0


def test_a_claim_that_leaves_out_ordered_rows_takes_the_others(stage: Stage) -> None:
    stage.accepted(order_key="a")
    (free,) = stage.accepted()
    assert [row.id for row in stage.claim(with_restricted=False)] == [free]


def test_two_messages_of_one_key_are_never_in_flight_whatever_anybody_does(stage: Stage) -> None:
    stage.accepted(2, order_key="a")
    with pytest.raises(psycopg.errors.UniqueViolation):
        stage.db.execute("update outbox set state = 1, lease_until = now()")


def test_a_sync_row_is_not_claimed_after_its_deadline(stage: Stage) -> None:
    stage.accepted()
    late = "now() - interval '1 s'"
    for deadline, claimed in ((late, 0), ("now() + interval '1 s'", 1)):
        stage.db.execute(
            f"update outbox set is_sync = true, reply_to = 'x', max_attempts = 1, reply_deadline = {deadline}"
        )
        assert len(stage.claim(is_sync=True)) == claimed
