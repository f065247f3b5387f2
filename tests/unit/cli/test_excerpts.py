"""The mark below an excerpt stands where it belongs."""

from __future__ import annotations

from pathlib import Path

import pytest

from picloud.cli.excerpts import excerpt
from picloud.manifest import Problem


def shown(folder: Path, line: str, column: int, end_column: int = 0) -> list[str]:
    path = folder / "a.rhai"
    path.write_text(f"first\n{line}\r\nlast")
    found = excerpt(Problem(str(path), 2, column, "wrong", end_column))
    assert found is not None
    return [each.partition("| ")[2] for each in found.split("\n")]


@pytest.mark.parametrize(
    ("line", "column", "end_column", "mark"),
    [
        ("let a = b;", 9, 10, "        ^"),
        ("let a = b;", 9, 0, "        ^"),
        ("let abc = 1;", 5, 8, "    ^^^"),
        ("\tlet a", 6, 7, "\t    ^"),
        ("日本 = x", 6, 7, "       ^"),
        ("日本 = x", 1, 3, "^^^^"),
        # One past the end of the line is where something is missing.
        ("let a", 6, 7, "     ^"),
        ("\x1b[2J = x", 8, 9, "          ^"),
    ],
)
def test_the_mark_is_below_what_is_wrong(tmp_path: Path, line: str, column: int, end_column: int, mark: str) -> None:
    assert shown(tmp_path, line, column, end_column)[1] == mark


def test_no_line_can_take_over_the_terminal(tmp_path: Path) -> None:
    assert shown(tmp_path, "\x1b[2J", 1)[0] == "\\x1b[2J"


def test_of_a_long_line_the_part_around_the_mark_is_shown(tmp_path: Path) -> None:
    line, mark = shown(tmp_path, "a" * 5_000 + "HERE" + "b" * 5_000, 5_001, 5_005)
    assert len(line) <= 102
    assert line[mark.index("^") : mark.index("^") + 4] == "HERE"
    assert mark.strip() == "^^^^"
    assert line[0] == line[-1] == "…"


@pytest.mark.parametrize(("line", "column"), [(0, 0), (9, 1)])
def test_without_a_line_there_is_no_excerpt(tmp_path: Path, line: int, column: int) -> None:
    (tmp_path / "a.rhai").write_text("1")
    assert excerpt(Problem(str(tmp_path / "a.rhai"), line, column, "wrong")) is None
    assert excerpt(Problem(str(tmp_path / "gone.rhai"), 1, 1, "wrong")) is None
