"""A manifest that is no TOML: where a person has to look, and what is wrong there."""

from __future__ import annotations

from pathlib import Path

import pytest

from picloud.manifest import examine_manifest


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("name = shop\n", "1:8-12: shop is not a value: a string needs quotes"),
        ("name = “shop”\n", "1:8-14: “shop” is not a value"),
        ("enabled = False\n", "1:11-16: False is not a value: write false"),
        ("a = 1\n  b = 1\n  b = 2\n", "3:3-4: b has a value already"),
        ("[app]\n[ app ]\n", "2:3-6: [app] is there already"),
        ("[a.b]\n[a.b]\n", "2:2-5: [a.b] is there already"),
        ('name = "shop\n', "1:13-14: this string has no closing quote"),
        ("a = [1,\n2\n\n", "2:2-3: unclosed array"),
        ("a = ", "1:4-5: a value is missing"),
        ("a 1\n", "1:3-4: expected '=' after a key in a key/value pair"),
        ("", None),
        ("\r\na = 1\r\nb = x\r\n", "3:5-6: x is not a value: a string needs quotes"),
    ],
)
def test_a_text_that_is_no_toml_is_told_where_and_why(tmp_path: Path, text: str, problem: str | None) -> None:
    path = tmp_path / "picloud.toml"
    path.write_bytes(text.encode())
    found = [f"{each.line}:{each.column}-{each.end_column}: {each.message}" for each in examine_manifest(path)[1]]
    assert found == ([problem] if problem else ["1:1-1: app: missing: expected a table [app]"])


def test_what_is_nested_too_deeply_is_a_problem_and_not_a_crash(tmp_path: Path) -> None:
    path = tmp_path / "picloud.toml"
    path.write_text(f"a = {'[' * 5_000}{']' * 5_000}")
    (problem,) = examine_manifest(path)[1]
    assert problem.message == "arrays or tables are nested too deeply"
