"""The cases of Rhai's own test suite, through the public API.

The file is not part of this project: it is read from beside the repository and the
tests are skipped where it is absent. Cases with a session share one scope.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import rhai

CASES_FILE = Path(__file__).resolve().parents[3] / "shared" / "rhai_cases.jsonl"

#: `2147483647 + 1` is an overflow only where Rhai is built with `only_i32`.
NEEDS_32_BITS = {"math.rs:43#15"}

LIMIT_SETTINGS = {
    "set_max_string_size": "max_string_bytes",
    "set_max_array_size": "max_array_length",
    "set_max_map_size": "max_map_length",
    "set_max_variables": "max_variables",
    "set_max_functions": "max_functions",
    "set_max_modules": "max_modules",
    "set_max_operations": "max_operations",
}
LANGUAGE_SETTINGS = {
    "set_allow_if_expression": "if_expressions",
    "set_allow_statement_expression": "statement_expressions",
    "set_allow_loop_expressions": "loop_expressions",
    "set_allow_anonymous_fn": "anonymous_functions",
    "set_allow_looping": "loops",
    "set_allow_shadowing": "shadowing",
}


def load_cases() -> list[dict[str, Any]]:
    if not CASES_FILE.exists():
        return []
    return [json.loads(line) for line in CASES_FILE.read_text().splitlines()]


CASES = load_cases()


def engine_for(case: dict[str, Any]) -> rhai.Engine:
    """The engine a case asks for: limits and switches as its Rust test sets them."""
    limits: dict[str, Any] = {}
    language: dict[str, bool] = {}
    options: dict[str, Any] = {"allowed_symbols": case.get("needs") or ()}
    for name, arguments in case["setup"]:
        if arguments is None:
            continue
        if name in LIMIT_SETTINGS:
            # Zero means "not limited" there.
            limits[LIMIT_SETTINGS[name]] = arguments[0] or 1 << 40
        elif name in LANGUAGE_SETTINGS:
            language[LANGUAGE_SETTINGS[name]] = arguments[0]
        elif name == "set_fail_on_invalid_map_property":
            language["missing_properties"] = not arguments[0]
        elif name == "set_strict_variables":
            options["strict_variables"] = arguments[0]
        elif name == "disable_symbol":
            options["disabled_symbols"] = arguments
    return rhai.Engine(limits=rhai.Limits(**limits), language=rhai.Language(**language), **options)


def plain(value: Any) -> Any:
    """An expected value as Python sees it: characters are strings, unit is None."""
    if isinstance(value, dict):
        if set(value) == {"char"}:
            return value["char"]
        if set(value) == {"unit"}:
            return None
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


def perform(case: dict[str, Any], scope: rhai.Scope) -> Any:
    api = case["api"]
    if api.startswith("scope."):
        name, value = case["args"]
        action = {"scope.push": scope.push, "scope.push_constant": scope.push_constant, "scope.set_value": scope.set}
        action[api](name, plain(value))
        return None
    script = engine_for(case).compile(case["script"], expression=api.endswith("expression"), scope=scope)
    return script.run(scope=scope) if api in ("eval", "run", "eval_expression") else None


def check(case: dict[str, Any], scope: rhai.Scope) -> None:
    outcome = case["outcome"]
    if outcome in ("value", "ok"):
        result = perform(case, scope)
        if outcome == "value":
            expected = plain(case["expected"])
            if isinstance(result, bytes):
                result = list(result)
            assert result == expected
            assert isinstance(result, bool) == isinstance(expected, bool)
        return
    if outcome == "error" and case["type"] == "char" and "Output type incorrect" in (case["expected_raw"] or ""):
        result = perform(case, scope)
        wrapped = engine_for(case).compile(f"type_of((|| {{ {case['script']} }}).call())")
        assert wrapped.run() != "char", "the Rust test asks for a character and gets an error"
        assert isinstance(result, str)
        return
    with pytest.raises(rhai.RhaiSyntaxError if outcome == "parse_error" else rhai.RhaiError) as caught:
        perform(case, scope)
    assert not isinstance(caught.value, rhai.RhaiInternalError)
    if case["error"]:
        assert caught.value.kind in (case["error"], case["error"].split("/")[-1])


def sessions() -> list[Any]:
    """Cases by session, since those share a scope; most are a session of their own."""
    grouped: dict[str, list[dict[str, Any]]] = {}
    for case in CASES:
        grouped.setdefault(case.get("session") or case["id"], []).append(case)
    parameters = []
    for name, cases in grouped.items():
        # What an engine built for 32-bit integers answers, a 64-bit one cannot.
        marks = [pytest.mark.skip(reason="asks for a 32-bit engine")] if name in NEEDS_32_BITS else []
        parameters.append(pytest.param(cases, id=name, marks=marks))
    return parameters


@pytest.mark.skipif(not CASES, reason="the cases are not beside the repository")
def test_all_cases_are_there() -> None:
    assert len(CASES) >= 454
    assert sum(bool(case.get("needs")) for case in CASES) == 11


@pytest.mark.parametrize("cases", sessions())
def test_case(cases: list[dict[str, Any]]) -> None:
    scope = rhai.Scope()
    for case in cases:
        check(case, scope)
