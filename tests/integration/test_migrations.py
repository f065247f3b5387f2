"""The runner against PostgreSQL: races, refusals, and what a failure leaves behind."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from picloud import migrations
from picloud.errors import SchemaError, UnavailableError
from picloud.migrations import check_schema, migrate, status

pytestmark = pytest.mark.integration

_TWO = {
    "0001_first.sql": "create table first (id integer);\ninsert into first values (1);\n",
    "0002_second.sql": "alter table first add column name text;\n",
}
_CONCURRENT = {
    **_TWO,
    "0003_index.sql": (
        "-- picloud:no-transaction\n"
        "drop index concurrently if exists first_by_name;\n"
        "create index concurrently first_by_name on first (name);\n"
    ),
}


def _release(folder: Path, files: Mapping[str, str] = _TWO) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


def test_each_file_is_applied_once(empty_database_url: str, tmp_path: Path) -> None:
    release = _release(tmp_path)
    assert migrate(empty_database_url, folder=release) == ["0001_first", "0002_second"]
    assert migrate(empty_database_url, folder=release) == []
    with psycopg.connect(empty_database_url) as connection:
        assert connection.execute("select id, name from first").fetchall() == [(1, None)]
    assert status(empty_database_url, folder=release).is_current


def test_only_what_is_new_is_applied(empty_database_url: str, tmp_path: Path) -> None:
    release = _release(tmp_path, {"0001_first.sql": _TWO["0001_first.sql"]})
    migrate(empty_database_url, folder=release)
    _release(tmp_path)
    assert status(empty_database_url, folder=release).pending == ("0002_second",)
    assert migrate(empty_database_url, folder=release) == ["0002_second"]


@pytest.mark.parametrize("files", [_TWO, _CONCURRENT], ids=["in transactions", "with an index built concurrently"])
def test_of_many_starters_exactly_one_applies_each_file(
    empty_database_url: str, tmp_path: Path, files: Mapping[str, str]
) -> None:
    release = _release(tmp_path, files)
    starters = 8
    together = threading.Barrier(starters)

    def start(_: int) -> list[str]:
        together.wait()
        return migrate(empty_database_url, folder=release)

    with ThreadPoolExecutor(starters) as pool:
        applied = [title for titles in pool.map(start, range(starters)) for title in titles]
    assert applied == [name.removesuffix(".sql") for name in files]


def test_an_index_built_concurrently_is_valid_afterwards(empty_database_url: str, tmp_path: Path) -> None:
    migrate(empty_database_url, folder=_release(tmp_path, _CONCURRENT))
    with psycopg.connect(empty_database_url) as connection:
        found = connection.execute("select indisvalid from pg_index where indexrelid = 'first_by_name'::regclass")
        assert found.fetchone() == (True,)


def test_a_schema_newer_than_this_release_is_refused(empty_database_url: str, tmp_path: Path) -> None:
    migrate(empty_database_url, folder=_release(tmp_path / "newer"))
    older = _release(tmp_path / "older", {"0001_first.sql": _TWO["0001_first.sql"]})
    with pytest.raises(SchemaError, match="newer than this release: it has 0002_second") as caught:
        migrate(empty_database_url, folder=older)
    assert caught.value.hint
    with psycopg.connect(empty_database_url) as connection:
        with pytest.raises(SchemaError, match="newer"):
            check_schema(connection, folder=older)
        check_schema(connection, folder=older, accept_newer=True)


def test_a_file_altered_after_it_ran_is_refused(empty_database_url: str, tmp_path: Path) -> None:
    release = _release(tmp_path)
    migrate(empty_database_url, folder=release)
    (release / "0001_first.sql").write_text("create table first (id bigint);\n")
    assert status(empty_database_url, folder=release).altered == ("0001_first",)
    with pytest.raises(SchemaError, match="0001_first changed after"):
        migrate(empty_database_url, folder=release)
    with psycopg.connect(empty_database_url) as connection, pytest.raises(SchemaError, match="0001_first changed"):
        check_schema(connection, folder=release, accept_newer=True)


def test_a_schema_older_than_this_release_is_told_from_one_that_fits(empty_database_url: str, tmp_path: Path) -> None:
    release = _release(tmp_path)
    with psycopg.connect(empty_database_url) as connection:
        with pytest.raises(SchemaError, match="older than this release: 0001_first, 0002_second") as caught:
            check_schema(connection, folder=release)
        assert caught.value.hint == "run `picloud migrate`"
    migrate(empty_database_url, folder=release)
    with psycopg.connect(empty_database_url) as connection:
        check_schema(connection, folder=release)


def test_a_file_that_fails_leaves_nothing_of_itself_and_everything_before_it(
    empty_database_url: str, tmp_path: Path
) -> None:
    broken = {**_TWO, "0002_second.sql": "create table second ();\nselect 1 / 0;\n"}
    release = _release(tmp_path, broken)
    with pytest.raises(SchemaError, match="0002_second failed and was not applied: division by zero"):
        migrate(empty_database_url, folder=release)
    found = status(empty_database_url, folder=release)
    assert [row.title for row in found.applied] == ["0001_first"]
    with psycopg.connect(empty_database_url) as connection:
        assert connection.execute("select to_regclass('second')").fetchone() == (None,)


def test_a_table_that_stays_locked_is_not_waited_for(
    empty_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "_LOCK_TIMEOUT", "50ms")
    first = _release(tmp_path, {"0001_first.sql": _TWO["0001_first.sql"]})
    migrate(empty_database_url, folder=first)
    _release(tmp_path)
    with psycopg.connect(empty_database_url) as reader:
        reader.execute("select * from first")
        with pytest.raises(UnavailableError, match="0002_second: another session holds a lock"):
            migrate(empty_database_url, folder=first)
    assert migrate(empty_database_url, folder=first) == ["0002_second"]


def test_a_server_that_is_not_there_is_an_outage(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="PostgreSQL does not answer"):
        migrate(f"postgresql://nobody@/nothing?host={tmp_path}", folder=_release(tmp_path))


def test_this_release_fits_the_database_it_made(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        check_schema(connection)
    assert migrate(database_url) == []
