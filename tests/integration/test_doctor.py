"""The doctor finds what is wrong, and only that."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
import redis

from picloud.doctor import Check, run_checks
from picloud.local.master_key import ensure_master_key, load_master_keys
from picloud.local.master_key_rotation import rotate
from picloud.services.vault import master_key_id
from picloud.settings import Settings

pytestmark = pytest.mark.integration


@pytest.fixture
def settings(database_url: str, redis_url: str, tmp_path: Path) -> Settings:
    ensure_master_key(tmp_path / "master.key")
    return Settings(
        data_dir=tmp_path,
        database_url=database_url,
        redis_url=redis_url,
        master_key_file=str(tmp_path / "master.key"),
        history_max_bytes=16 * 1024 * 1024,
    )


def _find(settings: Settings, name: str) -> Check:
    return next(check for check in run_checks(settings) if check.name == name)


def test_nothing_fails_where_nothing_is_wrong(settings: Settings) -> None:
    checks = run_checks(settings)
    assert [check for check in checks if check.status == "fail"] == []
    names = {check.name for check in checks}
    assert {"settings", "python", "disk", "master_key", "postgres", "schema", "clock", "connections", "redis"} <= names


def test_servers_that_do_not_answer_fail_without_a_word_of_their_passwords(settings: Settings) -> None:
    gone = replace(
        settings, database_url="postgresql://me:hushhush@127.0.0.1:1/x", redis_url="redis://:hushhush@127.0.0.1:1/0"
    )
    checks = {check.name: check for check in run_checks(gone)}
    assert checks["postgres"].status == checks["redis"].status == "fail"
    assert "hushhush" not in str(checks)


def test_an_older_schema_fails_with_the_way_out(settings: Settings) -> None:
    with psycopg.connect(settings.database_url) as connection:
        connection.execute("delete from schema_migrations where version > 1")
    found = _find(settings, "schema")
    assert (found.status, found.hint) == ("fail", "run `picloud migrate`")


def test_a_fleet_that_needs_more_connections_than_there_are_is_warned_of(settings: Settings) -> None:
    assert _find(settings, "connections").status == "ok"
    with psycopg.connect(settings.database_url) as connection:
        connection.execute(
            "insert into workers (id, host, pid, threads, takes_sync, release, protocol)"
            " select gen_random_uuid(), 'pi', n, 16, true, '0', 1 from generate_series(1, 20) n"
        )
    found = _find(settings, "connections")
    assert found.status == "warn"
    assert "20 worker process(es)" in found.detail


def test_a_master_key_that_others_may_read_is_warned_of(settings: Settings) -> None:
    Path(settings.master_key_file).chmod(0o644)
    found = _find(settings, "master_key")
    assert (found.status, found.hint) == ("warn", f"chmod 600 {settings.master_key_file}")


def test_a_master_key_that_is_none_fails(settings: Settings) -> None:
    Path(settings.master_key_file).write_bytes(b"short")
    assert _find(settings, "master_key").status == "fail"


def test_a_clock_that_is_off_is_warned_of(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    real = time.time
    assert _find(settings, "clock").status == "ok"
    monkeypatch.setattr(time, "time", lambda: real() - 60)
    found = _find(settings, "clock")
    assert found.status == "warn"
    assert "behind" in found.detail


def test_a_redis_that_evicts_is_warned_of(settings: Settings) -> None:
    with redis.Redis.from_url(settings.redis_url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            assert _find(settings, "redis").status == "warn"
        finally:
            client.config_set("maxmemory-policy", "noeviction")
    assert _find(settings, "redis").status == "ok"


def test_history_that_cannot_fit_the_disk_is_warned_of(settings: Settings) -> None:
    assert _find(settings, "disk").status == "ok"
    assert _find(replace(settings, history_max_bytes=10**15), "disk").status == "warn"


def test_a_key_file_that_does_not_open_what_is_sealed_fails_and_a_rotation_left_half_way_is_warned_of(
    settings: Settings,
) -> None:
    path = Path(settings.master_key_file)
    assert _find(settings, "sealing_key").detail == "nothing is sealed yet"
    with psycopg.connect(settings.database_url, autocommit=True) as connection:
        rotate(connection, path, None, ())
        found = _find(settings, "sealing_key")
        assert (found.status, found.hint) == ("warn", "`picloud master-key retire` ends it")
        new, old = load_master_keys(path)
        path.write_bytes(old + new)
        found = _find(settings, "sealing_key")
        assert found.status == "warn"
        assert found.detail.endswith(f"still has {master_key_id(old).hex()} in front")
        path.write_bytes(new)
        assert _find(settings, "sealing_key").status == "ok"
        path.write_bytes(old)
        found = _find(settings, "sealing_key")
        assert found.status == "fail"
        assert master_key_id(new).hex() in found.detail
