"""Runs that overlap in any way behave as if they had run one after another, in the order in which they committed.

A state machine drives several runs at once against PostgreSQL: each reads and writes
through its own buffer, and ends well, badly, or not at all. When one commits, everything
it saw must be what it would have seen had it run alone at that moment, over a plain
dictionary. When it conflicts, something it read must have changed since.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule, run_state_machine_as_test
from psycopg_pool import ConnectionPool

from picloud.outbox.run_rows import BegunRow, Settlement, settle
from picloud.services.effects import Effects
from picloud.services.kv import KvBuffer, KvLimits
from picloud.services.store import PostgresKvStore
from tests.integration.protocol.stage import Stage

KEYS = st.sampled_from(["a", "b", "c", "d"])
LIMITS = KvLimits(max_keys=1_000, max_bytes=10**6, max_value_bytes=1_000)

#: What a run did to a store: a dictionary gives the same answer, or the run was not alone.
Act = Callable[[dict[str, int]], Any]


@dataclass
class OpenRun:
    """A run that has not ended, and everything it did with what it was answered."""

    row: BegunRow
    kv: KvBuffer
    acts: list[tuple[Act, Any]] = field(default_factory=list[tuple[Act, Any]])

    def do(self, act: Act, answer: Any) -> None:
        self.acts.append((act, answer))


def _increment(store: dict[str, int], key: str, by: int) -> int:
    store[key] = store.get(key, 0) + by
    return store[key]


class Overlapping(RuleBasedStateMachine):
    """``stage`` and ``store`` are set by whoever runs it."""

    stage: ClassVar[Stage]
    store: ClassVar[PostgresKvStore]

    runs = Bundle("runs")

    def __init__(self) -> None:
        super().__init__()
        self.stage.db.execute("delete from kv_entries")
        self.stage.db.execute("delete from kv_usage")
        self.model: dict[str, int] = {}

    @rule(target=runs)
    def begin(self) -> OpenRun:
        (row,) = self.stage.begun()
        return OpenRun(row, KvBuffer(self.stage.app.id, self.store, LIMITS))

    @rule(run=runs, key=KEYS)
    def get(self, run: OpenRun, key: str) -> None:
        value = run.kv.get("k", key)
        run.do(lambda kept: kept.get(key), None if value is None else int(value))

    @rule(run=runs, key=KEYS, value=st.integers(0, 9))
    def set(self, run: OpenRun, key: str, value: int) -> None:
        run.kv.set("k", key, b"%d" % value)
        run.do(lambda kept: kept.__setitem__(key, value), None)

    @rule(run=runs, key=KEYS, by=st.integers(-3, 3))
    def increment(self, run: OpenRun, key: str, by: int) -> None:
        run.do(lambda kept: _increment(kept, key, by), run.kv.increment("k", key, by))

    @rule(run=runs, key=KEYS)
    def delete(self, run: OpenRun, key: str) -> None:
        run.do(lambda kept: kept.pop(key, None) is not None, run.kv.delete("k", key))

    @rule(run=consumes(runs))
    def complete(self, run: OpenRun) -> None:
        alone = dict(self.model)
        was_alone = all(act(alone) == answer for act, answer in run.acts)
        verdict = self.settle(run, "completed")
        if verdict == "done":
            assert was_alone, "it committed, and had seen what was no longer so"
            self.model = alone
        else:
            assert verdict == "conflict"
            self.discard(run)

    @rule(run=consumes(runs))
    def fail(self, run: OpenRun) -> None:
        if self.settle(run, "rejected") == "conflict":
            self.discard(run)

    @rule(runs=st.lists(consumes(runs), min_size=2, max_size=4))
    def complete_together(self, runs: list[OpenRun]) -> None:
        """One batch: those that read what one before them writes are left out, as a flusher does it."""
        written: set[Any] = set()
        together = []
        for run in runs:
            if written.isdisjoint(run.kv.reads):
                together.append(run)
                written |= run.kv.writes.keys()
            else:
                self.discard(run)
        batch = [self.ended(run, "completed") for run in together]
        verdicts = {each.id: each.verdict for each in settle(self.stage.db, batch)}
        for run in together:
            if verdicts[run.row.id] == "done":
                alone = dict(self.model)
                assert all(act(alone) == answer for act, answer in run.acts)
                self.model = alone
            else:
                self.discard(run)

    def ended(self, run: OpenRun, outcome: Any) -> Settlement:
        effects = Effects(run.kv.reads, run.kv.writes, ())
        error = None if outcome == "completed" else b"{}"
        return Settlement(run.row.id, run.row.token, outcome, error=error, effects=effects)

    def discard(self, run: OpenRun) -> None:
        self.stage.db.execute("delete from outbox where id = %s", [run.row.id])

    def settle(self, run: OpenRun, outcome: Any) -> str:
        return settle(self.stage.db, [self.ended(run, outcome)])[0].verdict

    @invariant()
    def the_database_is_what_the_model_is(self) -> None:
        rows = self.stage.rows("select key, value from kv_entries where collection = 'k'")
        assert {row[0]: int(bytes(row[1])) for row in rows} == self.model

    @invariant()
    def what_is_counted_is_what_is_kept(self) -> None:
        counted = self.stage.rows("select coalesce(sum(keys), 0), coalesce(sum(bytes), 0) from kv_usage")
        kept = self.stage.rows(
            "select count(*), coalesce(sum(octet_length(key) + octet_length(value)), 0) from kv_entries"
        )
        assert counted == kept

    def teardown(self) -> None:
        self.stage.db.execute("delete from outbox")


def test_overlapping_runs_behave_as_if_they_had_run_one_after_another(stage: Stage, database_url: str) -> None:
    with ConnectionPool[Any](database_url, min_size=1, max_size=1, kwargs={"autocommit": True}, open=True) as pool:
        machine = type("Machine", (Overlapping,), {"stage": stage, "store": PostgresKvStore(pool, LIMITS)})
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
            ),
        )
