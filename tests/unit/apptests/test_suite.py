"""How tests are found and how they end: assertions, places, messages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from picloud.apptests import Outcome, TestResult, find_tests
from picloud.apptests.comparing import difference, shown
from picloud.engine import check_script
from picloud.engine.sdk import render_definitions

RunApp = Callable[..., list[TestResult]]
Passes = Callable[..., TestResult]
Fails = Callable[..., str]


def test_tests_are_found_in_folders_in_the_order_they_are_written(tmp_path: Path) -> None:
    files = {
        "tests/b.rhai": "fn test_z() {}\nfn helper() {}\nprivate fn test_hidden() {}\nfn test_a() {}",
        "tests/a/deep.rhai": "fn test_deep() {}",
        "tests/.hidden.rhai": "fn test_no() {}",
        "tests/x.d.rhai": "fn test_no() {}",
    }
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    suite = find_tests(tmp_path)
    assert [(each.file, each.name, each.line) for each in suite.tests] == [
        ("tests/a/deep.rhai", "test_deep", 1),
        ("tests/b.rhai", "test_z", 1),
        ("tests/b.rhai", "test_a", 4),
    ]
    assert [each.name for each in suite.matching("B.RHAI::test_")] == ["test_z", "test_a"]


def test_a_file_that_does_not_compile_fails_alone(run_app: RunApp) -> None:
    (result,) = run_app("fn test_it() {\n  let = 1;\n}")
    assert (result.outcome, result.name, result.line, result.column) == (Outcome.FAILED, "", 2, 7)


def test_a_test_with_parameters_is_refused(run_app: RunApp) -> None:
    (result,) = run_app("\nfn test_it(x) {}")
    assert (result.line, result.message) == (2, "test_it has parameters (x); a test has none")


@pytest.mark.parametrize(
    ("statements", "message"),
    [
        ("assert(1 > 2);", "assertion failed"),
        ('assert(1 > 2, "why");', "assertion failed: why"),
        ("assert_eq(1, 2);", "assertion failed: 1 is not 2"),
        ('assert_eq("1", 1, "why");', 'assertion failed: why: "1" is not 1'),
        ("assert_ne([1], [1]);", "assertion failed: both are [1]"),
        ("assert_throws(|| 1);", "assertion failed: nothing was thrown"),
        ('assert_throws(|| { throw "a" }, "b");', 'assertion failed: "b" is not in what was thrown, "a"'),
        ("assert_throws(|| assert(false));", "assertion failed"),
        ('throw #{ message: "own" };', "own"),
    ],
)
def test_an_assertion_that_fails_says_what_was_expected(fails: Fails, statements: str, message: str) -> None:
    assert fails(statements) == message


def test_assertions_that_hold_say_nothing(passes: Passes) -> None:
    passes("""
        assert(true); assert_eq(#{ a: [1, 2.0] }, #{ a: [1.0, 2] }); assert_ne(1, true); assert_ne("1", 1);
        assert_eq(assert_throws(|| { throw #{ message: "own words" } }, "own"), "own words");
        let n = 1; assert_throws(|| { if n == 1 { throw "captured" } });
    """)


def test_a_failure_is_where_the_test_says_it_also_within_functions_of_its_own(run_app: RunApp) -> None:
    first, second, third = run_app(
        "fn test_a() {\n  assert(false);\n}\nfn check(x) {\n    assert_eq(x, 1);\n}\nfn test_b() { check(2); }\n"
        "fn test_c() { [1].for_each(|| assert(false)); }  // no end of line"
    )
    assert (first.line, first.column) == (2, 3)
    assert (second.line, second.column) == (5, 5)
    assert (third.line, third.column) == (8, 31)


def test_a_failure_in_a_script_that_is_imported_says_where_both_are(run_app: RunApp) -> None:
    (result,) = run_app(
        'import "lib/x" as x;\nfn test_it() { x::f(); }', scripts={"lib/x": 'fn f() {\n    throw "deep";\n}'}
    )
    assert (result.line, result.column) == (2, 19)
    assert result.message == "deep\n  in scripts/lib/x.rhai:2:5"


def test_an_error_of_a_run_names_the_imported_script_it_is_in(passes: Passes) -> None:
    result = passes(
        'let error = test::invoke("a", ()).error; assert_eq([error.script, error.line], ["lib/x", 2]);',
        scripts={"a": 'import "lib/x" as x;\nx::f();', "lib/x": 'fn f() {\n    throw "deep";\n}'},
    )
    assert result.logs[0]["message"] == "attempt 1 failed: scripts/lib/x.rhai:2:5: deep"


def test_test_files_share_functions(tmp_path: Path, run_app: RunApp) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "common.rhai").write_text("fn is_one(x) { assert_eq(x, 1); }")
    (result,) = run_app('import "tests/common" as common;\nfn test_it() { common::is_one(2); }')
    assert (result.line, result.message) == (2, "assertion failed: 2 is not 1\n  in tests/common.rhai:1:16")


def test_a_test_without_end_is_stopped(fails: Fails) -> None:
    assert "operations" in fails("loop {}")


def test_a_file_may_have_an_assert_of_its_own(run_app: RunApp) -> None:
    (result,) = run_app("fn assert(x) { 7 }\nfn test_it() { assert(false); assert_eq(assert(1), 7) }")
    assert result.message is None


def test_scripts_of_the_app_see_nothing_of_it(passes: Passes) -> None:
    passes(
        'let run = test::invoke("cheat", ()); assert(run.error.message.contains("test"), run.error.message);',
        scripts={"cheat": 'test::secret("A", "b");'},
    )
    passes('assert_eq(test::invoke("cheat", ()).status, "failed");', scripts={"cheat": "assert(true);"})
    assert "mock_http" not in render_definitions()
    check_script("a", "assert(true);")  # compiles, and fails when it runs


@pytest.mark.parametrize(
    ("left", "right", "path"),
    [
        ({"a": [1, {"b c": 2}]}, {"a": [1, {"b c": 3}]}, '.a[1]["b c"]'),
        ([1], [1, 2], ".len"),
        ({"a": 1}, {}, ".a"),
        (True, 1, ""),
        (b"a", b"b", ""),
        (None, False, ""),
    ],
)
def test_values_differ_where_they_first_do(left: object, right: object, path: str) -> None:
    found = difference(left, right)
    assert found is not None
    assert found.path == path


def test_values_are_shown_as_scripts_write_them() -> None:
    value = {"a": [1, 2.5, None, True], "b c": 'q"', "d": b"\x01"}
    assert shown(value) == '#{ a: [1, 2.5, (), true], "b c": "q\\"", d: blob of 1 bytes 0x01 }'
    assert shown({}) == "#{}"
    assert len(shown("x" * 1_000)) == 301


def test_scripts_that_are_called_like_tests_are_scripts(passes: Passes) -> None:
    passes(
        """
        assert_eq(test::invoke("tests/some", ()).result, "script");
        test::invoke("test", ());
        print("of the test");
        assert_eq(test::logs().map(|line| line.message), ["of the script"]);
        """,
        scripts={"tests/some": '"script"', "test": 'log::info("of the script");'},
    )
