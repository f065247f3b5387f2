"""Hot statements reach their rows by index, whatever the statistics say.

The worst an outbox meets: statistics from when it was empty, a hundred thousand rows that
have left since and cannot be vacuumed because somebody holds a snapshot, a few live ones.
What a statement did is read from PostgreSQL's own counters, which see inside functions.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from picloud.outbox.accept import accept
from picloud.outbox.run_rows import Settlement, beat, settle
from picloud.queries import Queries
from tests.integration.protocol.stage import Stage

pytestmark = pytest.mark.integration

_RELAY = Queries("relay")

_DEAD_ROWS = 100_000
_LIVE_ROWS = 64
_HISTORY_ROWS = 20_000
#: A statement over 64 rows may look at a few entries for each of them and each probe, never at the whole table.
_MOST_ENTRIES_A_ROW = 30


@dataclass(frozen=True, slots=True)
class Reads:
    """What one statement read of the tables that grow."""

    sequential_scans: int
    index_entries: int


@contextmanager
def counted(stage: Stage) -> Iterator[list[Reads]]:
    """Count what is read inside the block, which is one transaction."""
    found: list[Reads] = []
    with stage.db.transaction():
        before = _counters(stage)
        yield found
        after = _counters(stage)
    found.append(Reads(after[0] - before[0], after[1] - before[1]))


def _counters(stage: Stage) -> tuple[int, int]:
    scans, entries = stage.rows(
        "select coalesce(sum(seq_scan), 0)::int,"
        " (select coalesce(sum(idx_tup_read), 0)::int from ("
        "   select pg_stat_get_xact_tuples_returned(i.indexrelid) as idx_tup_read from pg_index i"
        "   join pg_class t on t.oid = i.indrelid where t.relname = 'outbox') x)"
        " from pg_stat_xact_user_tables"
        " where relname = 'outbox' or relname ~ '^(executions|payloads|attempts|execution_logs)_'"
    )[0]
    return scans, entries


@pytest.fixture
def worn(stage: Stage, database_url: str) -> Iterator[Stage]:
    """An outbox as described above; the planner believes it to be empty."""
    stage.db.execute("alter table outbox set (autovacuum_enabled = off)")
    stage.db.execute("analyze outbox")
    with psycopg.connect(database_url) as holder:
        holder.execute("set transaction isolation level repeatable read")
        holder.execute("select count(*) from outbox")
        _fill(stage)
        yield stage


def _fill(stage: Stage) -> None:
    stage.accepted()
    columns = "payload_day, app_id, script_id, source, principal_id, root_execution_id"
    stage.db.execute(
        f"insert into outbox (id, available_at, {columns})"
        f" select gen_random_uuid(), now() - interval '1 hour', {columns} from outbox, generate_series(1, {_DEAD_ROWS})"
    )
    stage.db.execute("delete from outbox")
    stage.accepted(_LIVE_ROWS)
    stage.db.execute(
        "insert into executions (id, app_id, script_id, source, principal_id, status, token, attempts, is_sync,"
        " root_execution_id, trigger_depth, accepted_at)"
        " select gen_random_uuid(), 1, 1, 'invoke', 1, 'completed', 1, 1, false, gen_random_uuid(), 0, now()"
        f" from generate_series(1, {_HISTORY_ROWS})"
    )


def _lane_floor(stage: Stage) -> Any:
    return stage.one("select min(available_at) from outbox where state = 0")


def test_the_counters_see_a_scan(worn: Stage) -> None:
    with counted(worn) as reads:
        worn.db.execute("do $$ begin perform from outbox where attempt > 100; end $$")
    assert reads[0].sequential_scans == 1
    with counted(worn) as reads:
        worn.db.execute("select from outbox where state = 0 order by app_id, is_sync, available_at")
    assert reads[0].index_entries >= _LIVE_ROWS


def test_accepting_reads_nothing_of_what_is_there(worn: Stage) -> None:
    arrivals = [worn.arrival() for _ in range(_LIVE_ROWS)]
    with counted(worn) as reads:
        accept(worn.db, arrivals)
    assert reads[0].sequential_scans == 0


def test_a_claim_that_starts_at_its_floor_does_not_walk_over_rows_that_have_left(worn: Stage) -> None:
    floor = _lane_floor(worn)
    with counted(worn) as reads:
        claimed = worn.claim(floor=floor)
    assert len(claimed) == _LIVE_ROWS
    assert reads[0].sequential_scans == 0
    assert reads[0].index_entries <= _LIVE_ROWS * _MOST_ENTRIES_A_ROW


def test_a_begin_probes_once_for_each_row(worn: Stage) -> None:
    pairs = [(row.id, row.token) for row in worn.claim(floor=_lane_floor(worn))]
    with counted(worn) as reads:
        begun = worn.begin(pairs)
    assert len(begun) == _LIVE_ROWS
    assert reads[0].sequential_scans == 0
    assert reads[0].index_entries <= _LIVE_ROWS * _MOST_ENTRIES_A_ROW


@pytest.mark.parametrize("outcome", ["completed", "failed", "rejected", "handed_back"])
def test_a_completion_never_scans_the_outbox_or_history(worn: Stage, outcome: Any) -> None:
    begun = worn.begin([(row.id, row.token) for row in worn.claim(floor=_lane_floor(worn))])
    batch = [Settlement(row.id, row.token, outcome, error=b"{}", logs=b"[]") for row in begun]
    # Six times: after five PostgreSQL may settle on a plan for good.
    for part in range(5):
        settle(worn.db, batch[part : part + 1])
    with counted(worn) as reads:
        settled = settle(worn.db, batch)
    assert len(settled) == _LIVE_ROWS
    assert reads[0].sequential_scans == 0
    assert reads[0].index_entries <= _LIVE_ROWS * _MOST_ENTRIES_A_ROW


def test_a_heartbeat_probes_once_for_each_run(worn: Stage) -> None:
    begun = worn.begin([(row.id, row.token) for row in worn.claim(floor=_lane_floor(worn))])
    with counted(worn) as reads:
        answer = beat(worn.db, worn.worker.id, [(row.id, row.token) for row in begun], 1.0)
    assert not answer.lost
    assert reads[0].sequential_scans == 0
    assert reads[0].index_entries <= _LIVE_ROWS * _MOST_ENTRIES_A_ROW


def test_a_relays_look_at_what_waits_takes_no_scan(worn: Stage) -> None:
    with counted(worn) as reads:
        worn.db.execute(_RELAY.capacity)
        worn.db.execute(_RELAY.lapsed, {"limit": 500})
        worn.db.execute(_RELAY.orphaned, {"limit": 500, "dead": "15 s"})
        worn.db.execute(_RELAY.overdue, {"limit": 500})
        worn.db.execute(_RELAY.unanswerable, {"limit": 500, "error": b"{}"})
    assert reads[0].sequential_scans == 0
