"""What a run did commits with its end, once, or never happened: ``commit_executions_v1`` against PostgreSQL."""

from __future__ import annotations

import json
import threading
import uuid
from typing import Any

import psycopg
import pytest

from picloud.database import connect
from picloud.ids import new_id
from picloud.outbox.run_rows import BegunRow, Settled, Settlement, settle
from picloud.services.effects import Effects, KeyId, KvWrite, Sent, SentKind
from tests.integration.protocol.stage import RETRY, Stage


def key(stage: Stage, name: str, collection: str = "things") -> KeyId:
    return KeyId(stage.app.id, collection, name)


def effects(
    reads: dict[KeyId, int] | None = None, writes: dict[KeyId, bytes | None] | None = None, sent: tuple[Sent, ...] = ()
) -> Effects:
    return Effects(reads or {}, {name: KvWrite(value) for name, value in (writes or {}).items()}, sent)


def ended(row: BegunRow, effects: Effects, outcome: Any = "completed", **values: Any) -> Settlement:
    if outcome != "completed":
        values.setdefault("error", b"{}")
    return Settlement(row.id, row.token, outcome, effects=effects, **values)


def commit(stage: Stage, *batch: Settlement, is_chain: bool = False) -> list[str]:
    settled = {each.id: each.verdict for each in settle(stage.db, batch, is_chain=is_chain)}
    return [settled[each.id] for each in batch]


def stored(stage: Stage, name: str) -> tuple[bytes, int] | None:
    row = stage.db.execute(
        "select value, version from kv_entries where app_id = %s and collection = 'things' and key = %s",
        [stage.app.id, name],
    ).fetchone()
    return None if row is None else (bytes(row[0]), row[1])


def sent(stage: Stage, kind: SentKind, name: str, message: object, **values: Any) -> Sent:
    return Sent(
        new_id(), stage.app.id, kind, name, json.dumps(message).encode(), stage.app.principal_id, RETRY, **values
    )


def events(stage: Stage) -> list[dict[str, Any]]:
    rows = stage.db.execute(
        "select p.event from outbox o join payloads p on p.id = o.id and p.day = o.payload_day order by o.seq"
    ).fetchall()
    return [json.loads(bytes(row[0])) for row in rows]


def kv_trigger(
    stage: Stage, collection: str = "things", *, ops: str = "insert,update,delete", enabled: bool = True
) -> int:
    trigger = stage.one(
        "insert into triggers (app_id, name, kind, script_id, registered_by_principal, is_enabled,"
        " max_attempts, backoff, backoff_base_ms, backoff_max_ms, backoff_jitter_pct)"
        " values (%s, %s, 'kv', %s, %s, %s, 5, 'constant', 0, 0, 0) returning id",
        stage.app.id,
        f"t-{uuid.uuid4()}",
        stage.script_id,
        stage.app.principal_id,
        enabled,
    )
    stage.db.execute(
        "insert into kv_triggers (trigger_id, app_id, is_prefix, collection, ops) values (%s, %s, %s, %s, %s)",
        [trigger, stage.app.id, collection.endswith("*"), collection.removesuffix("*"), ops.split(",")],
    )
    return int(trigger)


def test_what_a_run_wrote_is_there_once_it_has_ended(stage: Stage) -> None:
    (row,) = stage.begun()
    assert commit(stage, ended(row, effects({key(stage, "a"): 0}, {key(stage, "a"): b"1"}))) == ["done"]
    value, version = stored(stage, "a") or (b"", 0)
    assert value == b"1"
    assert version > 0
    assert stage.one("select count(*) from outbox") == 0


def test_a_run_that_failed_leaves_nothing(stage: Stage) -> None:
    (row,) = stage.begun()
    assert commit(stage, ended(row, effects({}, {key(stage, "a"): b"1"}), "failed")) == ["retried"]
    assert stored(stage, "a") is None


def test_a_run_whose_row_somebody_else_owns_leaves_nothing(stage: Stage) -> None:
    (row,) = stage.begun()
    stage.db.execute("update outbox set token = token + 1")
    assert commit(stage, ended(row, effects({}, {key(stage, "a"): b"1"}))) == ["lost"]
    assert stored(stage, "a") is None


def test_a_commit_sent_twice_happens_once(stage: Stage) -> None:
    (row,) = stage.begun()
    both = ended(
        row, effects({}, {key(stage, "a"): b"1"}, (sent(stage, "invoke", "script", {}, script_id=stage.script_id),))
    )
    assert commit(stage, both) == ["done"]
    before = stored(stage, "a")
    assert commit(stage, both) == ["already"]
    assert stored(stage, "a") == before
    assert stage.one("select count(*) from outbox") == 1


def test_a_run_that_read_what_is_no_longer_so_conflicts_and_keeps_its_row(stage: Stage) -> None:
    first, second = stage.begun(2)
    assert commit(stage, ended(first, effects({key(stage, "a"): 0}, {key(stage, "a"): b"1"}))) == ["done"]
    assert commit(stage, ended(second, effects({key(stage, "a"): 0}, {key(stage, "a"): b"2"}))) == ["conflict"]
    assert (stored(stage, "a") or [b""])[0] == b"1"
    assert stage.one("select token from outbox where id = %s", second.id) == second.token


def test_a_run_that_failed_for_what_is_no_longer_so_conflicts_too(stage: Stage) -> None:
    first, second = stage.begun(2)
    commit(stage, ended(first, effects({}, {key(stage, "a"): b"1"})))
    assert commit(stage, ended(second, effects({key(stage, "a"): 0}), "rejected")) == ["conflict"]
    assert stage.one("select count(*) from dead_letters") == 0


def test_a_key_deleted_and_made_again_never_looks_unchanged(stage: Stage) -> None:
    rows = stage.begun(4)
    commit(stage, ended(rows[0], effects({}, {key(stage, "a"): b"1"})))
    _, version = stored(stage, "a") or (b"", 0)
    commit(stage, ended(rows[1], effects({}, {key(stage, "a"): None})))
    commit(stage, ended(rows[2], effects({}, {key(stage, "a"): b"1"})))
    assert commit(stage, ended(rows[3], effects({key(stage, "a"): version}, {key(stage, "a"): b"9"}))) == ["conflict"]


def test_of_two_runs_with_write_skew_over_absent_keys_one_conflicts(stage: Stage) -> None:
    # Each sees that the other's key is absent and writes its own.
    first, second = stage.begun(2)
    a, b = key(stage, "a"), key(stage, "b")
    assert commit(stage, ended(first, effects({a: 0, b: 0}, {a: b"1"}))) == ["done"]
    assert commit(stage, ended(second, effects({a: 0, b: 0}, {b: b"1"}))) == ["conflict"]


def test_write_skew_is_caught_when_both_commit_at_the_same_time(stage: Stage, database_url: str) -> None:
    for attempt in range(10):
        first, second = stage.begun(2)
        a, b = key(stage, f"a{attempt}"), key(stage, f"b{attempt}")
        verdicts = at_once(
            database_url,
            [ended(first, effects({a: 0, b: 0}, {a: b"1"}))],
            [ended(second, effects({a: 0, b: 0}, {b: b"1"}))],
        )
        assert sorted(verdicts) == ["conflict", "done"]


def test_two_flushers_that_insert_the_same_keys_in_opposite_order_do_not_deadlock(
    stage: Stage, database_url: str
) -> None:
    for attempt in range(10):
        first, second = stage.begun(2)
        keys = [key(stage, f"{attempt}-{number}") for number in range(20)]
        verdicts = at_once(
            database_url,
            [ended(first, effects({}, dict.fromkeys(keys, b"1")))],
            [ended(second, effects({}, dict.fromkeys(reversed(keys), b"2")))],
        )
        assert verdicts == ["done", "done"]


def at_once(database_url: str, *batches: list[Settlement]) -> list[str]:
    """Settle each batch on a connection of its own, all at the same moment."""
    barrier = threading.Barrier(len(batches))
    settled: list[list[Settled]] = [[] for _ in batches]

    def work(number: int) -> None:
        with connect(database_url, name="test") as connection:
            barrier.wait()
            settled[number] = settle(connection, batches[number])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(batches))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [each[0].verdict for each in settled]


def test_a_chain_commits_as_a_whole_with_versions_of_its_own(stage: Stage) -> None:
    rows = stage.begun(3)
    a = key(stage, "a")
    chain = [
        ended(rows[0], effects({a: 0}, {a: b"1"})),
        *(ended(r, effects({}, {a: b"%d" % n})) for n, r in enumerate(rows[1:], 2)),
    ]
    assert commit(stage, *chain, is_chain=True) == ["done"] * 3
    assert (stored(stage, "a") or [b""])[0] == b"3"


def test_a_chain_conflicts_as_a_whole(stage: Stage) -> None:
    rows = stage.begun(3)
    a = key(stage, "a")
    commit(stage, ended(rows[0], effects({}, {a: b"0"})))
    chain = [ended(rows[1], effects({a: 0}, {a: b"1"})), ended(rows[2], effects({}, {a: b"2"}))]
    assert commit(stage, *chain, is_chain=True) == ["conflict", "conflict"]
    assert (stored(stage, "a") or [b""])[0] == b"0"


def test_a_chain_that_lost_one_of_its_rows_runs_again_without_it(stage: Stage) -> None:
    rows = stage.begun(2)
    a = key(stage, "a")
    stage.db.execute("delete from outbox where id = %s", [rows[0].id])
    chain = [ended(rows[0], effects({a: 0}, {a: b"1"})), ended(rows[1], effects({}, {a: b"2"}))]
    assert commit(stage, *chain, is_chain=True) == ["lost", "conflict"]
    assert stored(stage, "a") is None


def test_a_changed_key_fires_its_triggers_in_the_same_transaction(stage: Stage) -> None:
    kv_trigger(stage, "things")
    kv_trigger(stage, "th*", ops="update")
    kv_trigger(stage, "other")
    kv_trigger(stage, "*", enabled=False)
    rows = stage.begun(3)
    a = key(stage, "a")
    commit(stage, ended(rows[0], effects({}, {a: b'{"x":1}'})))
    commit(stage, ended(rows[1], effects({}, {a: b'"two"'})))
    commit(stage, ended(rows[2], effects({}, {a: None})))
    told = [(each["op"], each["value"], each["old_value"]) for each in events(stage)]
    assert told == [
        ("insert", {"x": 1}, None),
        ("update", "two", {"x": 1}),
        ("update", "two", {"x": 1}),
        ("delete", None, "two"),
    ]
    assert {(each["collection"], each["key"]) for each in events(stage)} == {("things", "a")}


def test_what_a_trigger_fires_knows_its_cause(stage: Stage) -> None:
    kv_trigger(stage)
    (row,) = stage.begun(trigger_depth=2)
    commit(stage, ended(row, effects({}, {key(stage, "a"): b"1"})))
    found = stage.db.execute(
        "select parent_execution_id, root_execution_id, trigger_depth, source, max_attempts from outbox"
    ).fetchone()
    assert found == (row.id, row.root_execution_id, 3, "kv", 5)


def test_deleting_what_is_absent_fires_nothing(stage: Stage) -> None:
    kv_trigger(stage)
    (row,) = stage.begun()
    commit(stage, ended(row, effects({key(stage, "a"): 0}, {key(stage, "a"): None})))
    assert events(stage) == []


def test_a_queued_message_waits_while_nobody_consumes_its_queue(stage: Stage) -> None:
    stage.db.execute("insert into queues (app_id, name) values (%s, 'mails')", [stage.app.id])
    (row,) = stage.begun()
    commit(stage, ended(row, effects({}, {}, (sent(stage, "queue", "mails", {"n": 1}),))))
    assert stage.one("select state from outbox") == 3
    assert stage.claim() == []
    assert events(stage)[0]["message"] == {"n": 1}


def test_messages_run_in_the_order_in_which_a_run_sent_them(stage: Stage) -> None:
    (row,) = stage.begun()
    several = tuple(sent(stage, "invoke", "script", {"n": n}, script_id=stage.script_id) for n in range(5))
    commit(stage, ended(row, effects({}, {}, several)))
    assert [each["n"] for each in events(stage)] == list(range(5))


def test_a_value_the_database_refuses_is_about_its_run_only(stage: Stage) -> None:
    (row,) = stage.begun()
    with pytest.raises(psycopg.DataError):
        commit(stage, ended(row, effects({}, {KeyId(stage.app.id, "things", "a\0b"): b"1"})))
    assert stage.one("select count(*) from outbox") == 1
