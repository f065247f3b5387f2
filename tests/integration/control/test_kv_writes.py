"""The functions under every write of a key: locks, versions, what is kept, what is fired, what is swept."""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
import json
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from picloud.control.apps import RemovedApp, remove_app
from picloud.control.kv import write_entry
from picloud.database import record_array
from picloud.errors import NotFoundError
from picloud.services.kv import KvLimits
from tests.seeded_triggers import create_kv_trigger
from tests.seeding import Seeds

pytestmark = pytest.mark.integration

Connection = psycopg.Connection[Any]

PAST = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
FUTURE = dt.datetime(2100, 1, 1, tzinfo=dt.UTC)


class Write(NamedTuple):
    key: str
    value: bytes | None
    collection: str = "c"
    expires_at: dt.datetime | None = None
    run: UUID | None = None


def write(
    connection: Connection,
    app: int,
    key: str,
    value: bytes | None,
    *,
    if_version: int | None = None,
    ttl_ms: int | None = None,
) -> Any:
    """One API write: (is_written, old_version, version, fired)."""
    row = connection.execute(
        "select is_written, old_version, version, fired from kv_write_v1("
        "row(null, %s::int, 'c', %s::text, 1, octet_length(%s::bytea), %s::bigint, null)::kv_write,"
        " %s::bytea, %s::bigint)",
        (app, key, value, ttl_ms, value, if_version),
    ).fetchone()
    assert row is not None
    return row


def apply(connection: Connection, app: int, writes: Sequence[Write]) -> int:
    """Writes of a run, as the end of runs applies them: locked, then applied. How many rows they fired."""
    data = b""
    records: list[tuple[object, ...]] = []
    for each in writes:
        size = None if each.value is None else len(each.value)
        records.append((each.run, app, each.collection, each.key, len(data) + 1, size, None, each.expires_at))
        data += each.value or b""
    array = record_array(records)
    with connection.transaction():
        connection.execute("select kv_lock('{}', %s::text::kv_write[])", (array,))
        row = connection.execute("select kv_apply(%s::text::kv_write[], %s)", (array, data)).fetchone()
    assert row is not None
    return int(row[0])


def kept(connection: Connection, app: int) -> tuple[int, int]:
    """What kv_usage says the app keeps."""
    return _pair(
        connection, "select coalesce(sum(keys), 0), coalesce(sum(bytes), 0) from kv_usage where app_id = %s", app
    )


def really_kept(connection: Connection, app: int) -> tuple[int, int]:
    return _pair(
        connection,
        "select count(*), coalesce(sum(octet_length(key) + octet_length(value)), 0) from kv_entries where app_id = %s",
        app,
    )


def _pair(connection: Connection, statement: Any, app: int) -> tuple[int, int]:
    row = connection.execute(statement, (app,)).fetchone()
    assert row is not None
    return int(row[0]), int(row[1])


def entries(connection: Connection, app: int) -> dict[tuple[str, str], bytes]:
    rows = connection.execute("select collection, key, value from kv_entries where app_id = %s", (app,)).fetchall()
    return {(collection, key): value for collection, key, value in rows}


def fired(connection: Connection, app: int) -> list[Any]:
    """Rows in the order they were written: event, trigger, parent, root, depth."""
    rows = connection.execute(
        "select convert_from(p.event, 'UTF8'), o.trigger_id, o.parent_execution_id, o.root_execution_id,"
        " o.trigger_depth, o.id"
        " from outbox o join payloads p on p.id = o.id and p.day = o.payload_day"
        " where o.app_id = %s and o.source = 'kv' order by o.seq",
        (app,),
    ).fetchall()
    return [(json.loads(event), *rest) for event, *rest in rows]


def together(url: str, count: int, work: Callable[[Connection, int], Any]) -> list[Any]:
    """``work`` in so many threads at once, each on a connection of its own."""
    ready = threading.Barrier(count)

    def run(number: int) -> Any:
        with psycopg.connect(url, autocommit=True) as connection:
            ready.wait(timeout=30)
            return work(connection, number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


# What a write says and does


def test_a_write_tells_what_was_there_and_what_is(seeds: Seeds) -> None:
    app, db = seeds.app(), seeds.connection
    _, old, first, _ = write(db, app, "k", b"1")
    assert old == 0
    assert first > 0
    is_written, old, second, _ = write(db, app, "k", b"2")
    assert (is_written, old) == (True, first)
    assert second > first
    assert write(db, app, "k", b"3", if_version=first) == (False, second, second, 0)
    assert write(db, app, "k", b"3", if_version=0) == (False, second, second, 0)
    assert write(db, app, "k", None, if_version=second) == (True, second, 0, 0)
    assert write(db, app, "k", None) == (True, 0, 0, 0)
    assert write(db, app, "k", None, if_version=-1) == (False, 0, 0, 0)
    assert kept(db, app) == (0, 0)


def test_a_key_past_its_time_is_absent_before_it_is_swept(seeds: Seeds) -> None:
    app, db = seeds.app(), seeds.connection
    create_kv_trigger(seeds, app, seeds.script(app))
    apply(db, app, [Write("k", b'"old"', expires_at=PAST)])
    assert write(db, app, "k", b"1", if_version=-1)[0] is False
    assert write(db, app, "k", b"1", if_version=0)[:2] == (True, 0)
    events = [event for event, *_ in fired(db, app)]
    assert [(each["op"], each["value"], each["old_value"]) for each in events] == [
        ("insert", "old", None), ("insert", 1, None),
    ]  # fmt: skip
    assert kept(db, app) == really_kept(db, app) == (1, 2)


def test_deleting_what_is_past_its_time_fires_nothing_and_frees_it(seeds: Seeds) -> None:
    app, db = seeds.app(), seeds.connection
    create_kv_trigger(seeds, app, seeds.script(app), ops=["delete"])
    apply(db, app, [Write("k", b"1", expires_at=PAST)])
    assert write(db, app, "k", None) == (True, 0, 0, 0)
    assert kept(db, app) == really_kept(db, app) == (0, 0)


# What fires


@pytest.mark.parametrize(
    ("collection", "ops", "expected"),
    [
        ("orders:eu", ["insert", "update", "delete"], ["insert", "update", "delete"]),
        ("orders:*", ["delete", "insert"], ["insert", "delete"]),
        ("*", ["update"], ["update"]),
        ("orders", ["insert", "update", "delete"], []),
        ("orders:eu*", ["insert"], ["insert"]),
        ("orders_*", ["insert"], []),
        ("ORDERS:*", ["insert"], []),
    ],
)
def test_a_trigger_fires_for_its_collections_and_operations(
    seeds: Seeds, collection: str, ops: list[str], expected: list[str]
) -> None:
    app, db = seeds.app(), seeds.connection
    other = seeds.app("blog")
    trigger = create_kv_trigger(seeds, app, seeds.script(app), collection, ops)
    create_kv_trigger(seeds, app, seeds.script(app, "off"), is_enabled=False)
    create_kv_trigger(seeds, other, seeds.script(other))
    for value in (b"1", b"2", None, None):
        apply(db, app, [Write("k", value, "orders:eu")])
    found = fired(db, app)
    assert [event["op"] for event, *_ in found] == expected
    assert {each[1] for each in found} <= {trigger}
    assert fired(db, other) == []


def test_each_of_several_writes_of_a_key_fires_with_what_was_before_it(seeds: Seeds) -> None:
    app, db = seeds.app(), seeds.connection
    first = create_kv_trigger(seeds, app, seeds.script(app))
    second = create_kv_trigger(seeds, app, seeds.script(app, "audit"))
    count = apply(
        db,
        app,
        [Write("k", b"1"), Write("j", b"[]"), Write("k", b"2"), Write("k", None), Write("k", None), Write("k", b"3")],
    )
    assert count == 10
    found = fired(db, app)
    assert [(each[0]["key"], each[0]["op"], each[0]["old_value"], each[0]["value"], each[1]) for each in found] == [
        (key, op, old, new, trigger)
        for key, op, old, new in (
            ("k", "insert", None, 1), ("j", "insert", None, []), ("k", "update", 1, 2), ("k", "delete", 2, None),
            ("k", "insert", None, 3),
        )
        for trigger in (first, second)
    ]  # fmt: skip
    versions = [each[0]["version"] for each in found[::2]]
    assert versions == sorted(set(versions))
    assert entries(db, app) == {("c", "k"): b"3", ("c", "j"): b"[]"}
    stored = db.execute("select version from kv_entries where key = 'k'").fetchone()
    assert stored == (versions[-1],)


def test_what_a_run_writes_makes_rows_that_know_their_cause(seeds: Seeds) -> None:
    app, db = seeds.app(), seeds.connection
    script = seeds.script(app)
    create_kv_trigger(seeds, app, script)
    root, run = seeds.waiting(app, script), seeds.waiting(app, script, state="running")
    db.execute("update outbox set root_execution_id = %s, trigger_depth = 3 where id = %s", (root, run))
    apply(db, app, [Write("k", b"1", run=run), Write("j", b"1")])
    by_run, by_nobody = fired(db, app)
    assert by_run[2:5] == (run, root, 4)
    assert by_nobody[2:5] == (None, by_nobody[5], 0)
    row = db.execute(
        "select max_attempts, backoff, backoff_base_ms, backoff_max_ms, backoff_jitter_pct, principal_id, state"
        " from outbox where source = 'kv' limit 1"
    ).fetchone()
    assert row == (4, "linear", 500, 9000, 10, seeds.admin_id, 0)


@pytest.mark.parametrize("name", ['"', "\\", "\\u0000", "}", " } ", "a\tb", "\x7f", "☃😀", "'; drop", "{}", "\x1f"])
def test_an_event_is_json_whatever_the_names_hold(seeds: Seeds, name: str) -> None:
    app, db = seeds.app(), seeds.connection
    create_kv_trigger(seeds, app, seeds.script(app))
    apply(db, app, [Write(name, b'{"}":" "}', name)])
    ((event, *_),) = fired(db, app)
    assert (event["collection"], event["key"], event["value"]) == (name, name, {"}": " "})


# What is kept

_KEYS = st.sampled_from(["a", "b", "ü", "%"])
_VALUES = st.none() | st.sampled_from([b"1", b'"two"', b"[1,2,3]"])
_WRITES = st.lists(
    st.builds(Write, _KEYS, _VALUES, st.sampled_from(["c", "d:x"]), st.sampled_from([None, None, PAST, FUTURE])),
    min_size=1,
    max_size=6,
)
_STEPS = st.lists(_WRITES | st.sampled_from(["sweep", "compact"]), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(steps=_STEPS)
def test_the_store_does_as_a_model_of_it_and_the_books_balance(seeds: Seeds, steps: list[Any]) -> None:
    db = seeds.connection
    db.execute("truncate outbox, payloads")
    db.execute("delete from apps")
    app = seeds.app()
    create_kv_trigger(seeds, app, seeds.script(app), "d:*", ["insert", "delete"])
    model: dict[tuple[str, str], Write] = {}
    expected: list[tuple[str, str, Any, Any]] = []
    for step in steps:
        if step == "sweep":
            db.execute("select kv_sweep(1000)")
            model = {name: each for name, each in model.items() if each.expires_at != PAST}
        elif step == "compact":
            db.execute("select kv_compact_usage()")
            assert seeds.count("kv_usage") <= 1
        else:
            seen = {name: each.value for name, each in model.items() if each.expires_at != PAST}
            for each in step:
                name = each.collection, each.key
                before = seen.get(name)
                op = "insert" if before is None else "delete" if each.value is None else "update"
                if (before or each.value) and each.collection == "d:x" and op != "update":
                    expected.append((each.key, op, before, each.value))
                # Within one call a write is seen by those after it, whatever time it is given.
                if each.value is None:
                    seen.pop(name, None)
                    model.pop(name, None)
                else:
                    seen[name] = each.value
                    model[name] = each
            apply(db, app, step)
        assert entries(db, app) == {name: each.value for name, each in model.items()}
        assert kept(db, app) == really_kept(db, app)
    told = [(event["key"], event["op"], event["old_value"], event["value"]) for event, *_ in fired(db, app)]
    assert told == [(key, op, json.loads(old or b"null"), json.loads(new or b"null")) for key, op, old, new in expected]


def test_writers_at_once_leave_the_books_balanced(seeds: Seeds, database_url: str) -> None:
    app = seeds.app()

    def work(connection: Connection, number: int) -> None:
        for turn in range(30):
            value = None if (turn + number) % 3 == 0 else b"1" * (turn + 1)
            if number % 2:
                write(connection, app, f"k{turn % 5}", value, ttl_ms=1 if turn % 4 == 0 and value else None)
            else:
                batch = [Write(f"k{(turn * step + number) % 5}", value) for step in (1, 2, 3)]
                apply(connection, app, batch if number % 4 else batch[::-1])
            if turn % 10 == 9:
                connection.execute("select kv_sweep(100), kv_compact_usage()")

    together(database_url, 8, work)
    assert kept(seeds.connection, app) == really_kept(seeds.connection, app)
    seeds.connection.execute("select kv_compact_usage()")
    assert kept(seeds.connection, app) == really_kept(seeds.connection, app)
    assert seeds.count("kv_usage") <= 1


def test_an_app_takes_what_it_keeps_along(seeds: Seeds) -> None:
    app, db = seeds.app(), seeds.connection
    write(db, app, "k", b"1")
    db.execute("delete from apps where id = %s", (app,))
    assert (seeds.count("kv_entries"), seeds.count("kv_usage")) == (0, 0)


# Many at once


def test_of_many_who_create_a_key_one_does(seeds: Seeds, database_url: str) -> None:
    app = seeds.app()
    create_kv_trigger(seeds, app, seeds.script(app), ops=["insert"])
    made = together(
        database_url, 8, lambda db, n: [write(db, app, f"k{turn}", b"%d" % n, if_version=0)[0] for turn in range(20)]
    )
    assert [sum(each) for each in zip(*made, strict=True)] == [1] * 20
    assert len(fired(seeds.connection, app)) == 20


def test_no_change_is_lost_between_writers_that_name_the_version_they_read(seeds: Seeds, database_url: str) -> None:
    app = seeds.app()
    create_kv_trigger(seeds, app, seeds.script(app))
    write(seeds.connection, app, "k", b"0")

    def add(connection: Connection, _number: int) -> None:
        done = 0
        while done < 25:
            row = connection.execute("select value, version from kv_entries where app_id = %s", (app,)).fetchone()
            assert row is not None
            done += write(connection, app, "k", b"%d" % (int(row[0]) + 1), if_version=row[1])[0]

    together(database_url, 8, add)
    assert entries(seeds.connection, app) == {("c", "k"): b"200"}
    events = [event for event, *_ in fired(seeds.connection, app)]
    assert sorted(event["value"] for event in events) == list(range(201))
    assert all(event["old_value"] == event["value"] - 1 for event in events if event["value"])
    by_version = sorted(events, key=lambda event: int(event["version"]))
    assert [event["value"] for event in by_version] == list(range(201))


def test_batches_in_opposite_orders_do_not_deadlock(seeds: Seeds, database_url: str) -> None:
    app = seeds.app()

    def work(connection: Connection, number: int) -> None:
        for turn in range(25):
            keys = [f"k{turn}-{each}" for each in range(10)]
            apply(connection, app, [Write(key, b"%d" % number) for key in (keys if number % 2 else keys[::-1])])

    together(database_url, 4, work)
    assert kept(seeds.connection, app) == really_kept(seeds.connection, app)
    # One writer's batch is there as a whole.
    found = entries(seeds.connection, app)
    for turn in range(25):
        assert len({found["c", f"k{turn}-{each}"] for each in range(10)}) == 1


def test_writers_and_the_removal_of_their_app_do_not_block_each_other(seeds: Seeds, database_url: str) -> None:
    app = seeds.app()
    create_kv_trigger(seeds, app, seeds.script(app))
    limits = KvLimits(100, 10_000, 100)

    async def keep_writing(number: int) -> int:
        async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
            for turn in itertools.count():
                try:
                    async with connection.transaction():
                        await write_entry(connection, "shop", "c", f"k{(turn + number) % 3}", b"%d" % turn, limits)
                except NotFoundError:
                    return turn
        raise AssertionError

    async def remove_later() -> RemovedApp:
        async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
            while not seeds.count("outbox"):
                await asyncio.sleep(0)
            async with connection.transaction():
                return await remove_app(connection, "shop")

    async def all_at_once() -> list[Any]:
        return await asyncio.gather(remove_later(), *(keep_writing(number) for number in range(4)))

    removed, *turns = asyncio.run(all_at_once())
    assert removed.cancelled == sum(turns) == seeds.count("executions", "status = 'cancelled'")
    assert (seeds.count("kv_entries"), seeds.count("kv_usage"), seeds.count("outbox")) == (0, 0, 0)


def test_writers_at_one_moment_do_not_pass_the_quota_together(seeds: Seeds, database_url: str) -> None:
    seeds.app()
    limits = KvLimits(max_keys=2, max_bytes=1_000, max_value_bytes=10)

    async def write_one(number: int) -> None:
        async with (
            await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection,
            connection.transaction(),
        ):
            await write_entry(connection, "shop", "c", f"k{number}", b"1", limits)

    async def wait_for_locks(count: int) -> None:
        async with asyncio.timeout(20):
            while seeds.count("pg_stat_activity", "datname = current_database() and wait_event_type = 'Lock'") < count:
                await asyncio.sleep(0)

    async def all_at_once() -> list[BaseException | None]:
        # Given four writers, of whom none can say what it keeps before each has looked at what is kept
        async with await psycopg.AsyncConnection.connect(database_url) as gate:
            await gate.execute("lock table kv_usage in share mode")
            writers = asyncio.gather(*(write_one(number) for number in range(4)), return_exceptions=True)
            await wait_for_locks(4)
            await gate.commit()
        return list(await writers)

    refused = [each for each in asyncio.run(all_at_once()) if each is not None]
    assert [getattr(each, "code", repr(each)) for each in refused] == ["quota_exceeded"] * 2
    assert (seeds.count("kv_entries"), seeds.count("apps")) == (2, 1)


# Sweeping


def test_the_sweep_takes_what_is_past_its_time_the_oldest_first(seeds: Seeds) -> None:
    app, db = seeds.app(), seeds.connection
    create_kv_trigger(seeds, app, seeds.script(app), ops=["delete"])
    apply(db, app, [Write(f"k{day}", b"1", expires_at=PAST + dt.timedelta(days=day)) for day in range(5)])
    apply(db, app, [Write("stays", b"1", expires_at=FUTURE), Write("for ever", b"1")])
    assert _number(db, "select kv_sweep(3)") == 3
    assert sorted(key for _, key in entries(db, app)) == ["for ever", "k3", "k4", "stays"]
    assert _number(db, "select kv_sweep(3)") == 2
    assert _number(db, "select kv_sweep(3)") == 0
    assert kept(db, app) == really_kept(db, app)
    assert fired(db, app) == []


def test_a_key_set_again_while_the_sweep_waits_for_it_stays(seeds: Seeds, database_url: str) -> None:
    app, db = seeds.app(), seeds.connection
    apply(db, app, [Write("k", b"1", expires_at=PAST), Write("j", b"1", expires_at=PAST)])
    with psycopg.connect(database_url, autocommit=True) as sweeper, ThreadPoolExecutor(1) as pool:
        with db.transaction():
            write(db, app, "k", b"2")
            swept = pool.submit(_number, sweeper, "select kv_sweep(10)")
            _wait_until_it_waits(database_url, sweeper.info.backend_pid)
        assert swept.result(timeout=30) == 1
    assert entries(db, app) == {("c", "k"): b"2"}
    assert kept(db, app) == really_kept(db, app)


@pytest.mark.parametrize("work", ["select kv_sweep(10)", "select kv_compact_usage()"])
def test_housekeeping_leaves_an_app_alone_that_somebody_changes(seeds: Seeds, database_url: str, work: str) -> None:
    app, db = seeds.app(), seeds.connection
    blog = seeds.app("blog")
    for each in (app, blog):
        apply(db, each, [Write("k", b"1", expires_at=PAST)])
        apply(db, each, [Write("j", b"1")])
    with psycopg.connect(database_url, autocommit=True) as other, db.transaction():
        db.execute("select from apps where id = %s for update", (app,))
        other.execute("set statement_timeout = '5s'")
        other.execute(work.encode())
        assert other.execute("select count(*) from kv_usage where app_id = %s", (app,)).fetchone() == (2,)
        assert kept(other, app) == really_kept(other, app) == (2, 4)
        assert kept(other, blog) == really_kept(other, blog)
    assert (seeds.count("kv_entries"), seeds.count("kv_usage")) != (4, 4)


def _number(connection: Connection, statement: str) -> int:
    row = connection.execute(statement.encode()).fetchone()
    assert row is not None
    return int(row[0])


def _wait_until_it_waits(url: str, pid: int) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        while not connection.execute("select from pg_locks where pid = %s and not granted", (pid,)).fetchall():
            pass
