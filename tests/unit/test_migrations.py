"""The files of a release; what is done with them is tested against PostgreSQL."""

from __future__ import annotations

from pathlib import Path

import pytest

from picloud.errors import SchemaError
from picloud.migrations import Migration, _statements, load_migrations


def _write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).write_text("select 1;\n")


def test_the_migrations_of_this_release_are_found_and_start_with_the_spine() -> None:
    assert load_migrations()[0].title == "0001_spine"


def test_files_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    _write(tmp_path, "0002_second.sql", "0001_first.sql")
    assert [each.title for each in load_migrations(tmp_path)] == ["0001_first", "0002_second"]


@pytest.mark.parametrize(
    "names",
    [
        pytest.param((), id="no file at all"),
        pytest.param(("0002_second.sql",), id="does not start with 1"),
        pytest.param(("0001_first.sql", "0003_third.sql"), id="a gap"),
        pytest.param(("0001_first.sql", "0001_other.sql"), id="a number twice"),
        pytest.param(("0001_first.sql", "fix.sql"), id="no number"),
        pytest.param(("0001_first.sql", "0002-second.sql"), id="another separator"),
    ],
)
def test_a_folder_that_could_be_read_in_two_ways_is_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    _write(tmp_path, *names)
    with pytest.raises(SchemaError):
        load_migrations(tmp_path)


def test_only_a_line_of_its_own_switches_the_transaction_off() -> None:
    assert Migration(1, "a", b"-- see picloud:no-transaction\nselect 1;").runs_in_a_transaction
    assert not Migration(1, "a", b"-- why\n-- picloud:no-transaction\nselect 1;").runs_in_a_transaction


def test_statements_end_where_a_semicolon_ends_the_line() -> None:
    sql = b"-- why\nselect 'a;b';  -- not inside\n\n-- next\nselect\n  2;\n-- the end\n"
    assert _statements(sql) == [b"-- why\nselect 'a;b'", b"-- next\nselect\n  2"]
