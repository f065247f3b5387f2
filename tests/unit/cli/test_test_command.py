"""picloud test: what it prints, and how it exits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.cli.conftest import CommandLine

SHOP = Path(__file__).resolve().parents[3] / "examples" / "shop"


@pytest.fixture
def demo(picloud: CommandLine, tmp_path: Path) -> Path:
    folder = tmp_path / "demo"
    assert picloud("init", str(folder)).exit_code == 0
    return folder


def test_the_tests_of_a_new_folder_pass(picloud: CommandLine, demo: Path) -> None:
    result = picloud("test", str(demo))
    assert result.exit_code == 0, result.output
    assert "ok   tests/hello.rhai::test_whoever_comes_is_greeted" in result.stdout
    assert "3 passed in" in result.stderr


def test_the_tests_of_the_shop_pass(picloud: CommandLine) -> None:
    result = picloud("test", str(SHOP), "--json")
    assert result.exit_code == 0, result.output
    outcomes = [each["outcome"] for each in json.loads(result.stdout)]
    assert set(outcomes) == {"passed"}
    assert len(outcomes) > 5


def test_a_failure_is_shown_with_its_place_its_line_and_its_log(picloud: CommandLine, demo: Path) -> None:
    (demo / "tests" / "bad.rhai").write_text(
        'fn test_bad() {\n    test::request(#{ path: "/hello/Bob" });\n    assert_eq(1, 2);\n}\n'
    )
    result = picloud("test", str(demo), "-k", "BAD")
    assert result.exit_code == 1
    assert "FAIL tests/bad.rhai::test_bad" in result.stdout
    assert f"{demo}/tests/bad.rhai:3:5: assertion failed: 1 is not 2\n    3 |     assert_eq(1, 2);\n" in result.stdout
    assert "INFO   hello: greeting Bob" in result.stdout
    assert "1 failed in" in result.stderr


def test_json_tells_all_of_a_test(picloud: CommandLine, demo: Path) -> None:
    (demo / "tests" / "bad.rhai").write_text("fn test_bad() {\n  print(7); assert(false);\n}\n")
    result = picloud("test", str(demo), "--json", "-k", "bad.rhai")
    assert result.exit_code == 1
    (bad,) = json.loads(result.stdout)
    assert bad.pop("duration_ms") > 0
    assert bad == {
        "file": "tests/bad.rhai",
        "name": "test_bad",
        "outcome": "failed",
        "message": "assertion failed",
        "line": 2,
        "column": 13,
        "logs": [{"script": "test", "level": "info", "message": "7", "fields": None}],
    }


def test_no_tests_are_no_success(picloud: CommandLine, demo: Path) -> None:
    (demo / "tests" / "hello.rhai").unlink()
    result = picloud("test", str(demo))
    assert result.exit_code == 1
    assert f"there are no tests in {demo}/tests" in result.stderr
    assert "fn test_" in result.stderr


def test_a_pattern_that_no_test_has_is_no_success(picloud: CommandLine, demo: Path) -> None:
    result = picloud("test", str(demo), "-k", "nothing")
    assert result.exit_code == 1
    assert "none of 3 tests has 'nothing'" in result.stderr


def test_an_app_that_does_not_check_is_not_tested(picloud: CommandLine, demo: Path) -> None:
    (demo / "scripts" / "hello.rhai").write_text("let = 1;")
    result = picloud("test", str(demo))
    assert result.exit_code == 1
    assert "hello.rhai:1:5" in result.stderr


def test_a_folder_that_is_not_there_is_a_mistake_of_the_command_line(picloud: CommandLine) -> None:
    assert picloud("test", "nowhere").exit_code == 2


def test_tests_are_not_deployed(picloud: CommandLine, demo: Path) -> None:
    (demo / "tests" / "broken.rhai").write_text("let = 1;")
    assert picloud("check", str(demo)).exit_code == 0
