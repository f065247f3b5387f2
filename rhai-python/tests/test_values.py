"""Values and JSON between Python and scripts."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import rhai
from hypothesis import given, settings
from hypothesis import strategies as st

ENGINE = rhai.Engine()
IDENTITY = ENGINE.compile("value", constants=["value"])
PARSED = ENGINE.compile("json::parse(text)")
WRITTEN = ENGINE.compile("json::stringify(value)")

integers = st.integers(-(2**63), 2**63 - 1)
texts = st.text(st.characters(exclude_categories=["Cs"]))
json_values = st.recursive(
    st.none() | st.booleans() | integers | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(texts, inner, max_size=5),
    max_leaves=20,
)
values = st.recursive(
    json_values | st.floats() | st.binary(max_size=50),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(texts, inner, max_size=5),
    max_leaves=10,
)


def same(left: Any, right: Any) -> bool:
    """Equal, of the same types all the way down, NaN equal to itself."""
    if type(left) is not type(right):
        return False
    if isinstance(left, float):
        return (left == right and math.copysign(1, left) == math.copysign(1, right)) or (
            left != left and right != right
        )
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    return bool(left == right)


@settings(max_examples=200, deadline=None)
@given(values)
def test_values_come_back_as_they_went(value: Any) -> None:
    assert same(IDENTITY.run({"value": value}), value)
    assert same(IDENTITY.run(scope={"value": value}), value)


@settings(max_examples=200, deadline=None)
@given(json_values)
def test_json_means_what_python_says(value: Any) -> None:
    document = json.dumps(value).encode()
    assert same(rhai.parse_json(document), value)
    assert same(json.loads(rhai.stringify_json(value)), value)
    assert same(PARSED.run(scope={"text": document.decode()}), value)
    assert same(json.loads(WRITTEN.run(scope={"value": value})), value)


@settings(max_examples=200, deadline=None)
@given(json_values)
def test_json_in_and_out_without_python_objects(value: Any) -> None:
    outcome = IDENTITY.execute({"value": rhai.Json(json.dumps(value).encode())})
    if value is None:
        assert (outcome.kind, outcome.data) == ("unit", b"")
    elif isinstance(value, str):
        assert (outcome.kind, outcome.data.decode()) == ("text", value)
    else:
        assert outcome.kind == "json"
        assert same(json.loads(outcome.data), value)


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=60)
    | texts.map(str.encode)
    | st.text('[]{}",:0123456789.eE+-truefalsn\\u ', max_size=40).map(str.encode)
)
def test_json_is_never_more_liberal_than_python(document: bytes) -> None:
    try:
        parsed = rhai.parse_json(document)
    except rhai.RhaiInputError:
        return
    assert same(parsed, json.loads(document))


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"[1,]",
        b"{1:2}",
        b"NaN",
        b"Infinity",
        b"9223372036854775808",
        b"1e999",
        b'"\\ud800"',
        b"[1] 2",
        b'"\x01"',
        b"\xff",
    ],
)
def test_what_is_not_json_is_refused(document: bytes) -> None:
    with pytest.raises(rhai.RhaiInputError):
        rhai.parse_json(document)
    with pytest.raises(ValueError, match="JSON"):
        IDENTITY.run({"value": rhai.Json(document)})


def test_a_script_can_catch_bad_json() -> None:
    script = ENGINE.compile('try { json::parse("{"); } catch (e) { return [e.kind, e.code, e.retryable, e.message]; }')
    kind, code, is_retryable, message = script.run()
    assert (kind, code, is_retryable) == ("JsonError", "json_error", False)
    assert "byte 1" in message


def test_uncaught_bad_json_is_no_throw() -> None:
    with pytest.raises(rhai.RhaiRuntimeError) as caught:
        ENGINE.compile('\n  json::parse("nope")').run()
    assert not isinstance(caught.value, rhai.RhaiThrow)
    assert (caught.value.kind, caught.value.line, caught.value.column) == ("JsonError", 2, 9)


@pytest.mark.parametrize("expression", ["0.0 / 0.0", "1.0 / 0.0", "[1.0 / 0.0]", "blob(2, 1)", "|x| x", "1..2"])
def test_what_has_no_json_form_is_refused(expression: str) -> None:
    with pytest.raises(rhai.RhaiRuntimeError, match="no JSON form"):
        ENGINE.compile(f"json::stringify({expression})").run()


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, "\ud800", {"a": ["\ud800"]}])
def test_values_that_do_not_fit_cannot_enter(value: Any) -> None:
    with pytest.raises(rhai.RhaiInputError):
        IDENTITY.run({"value": value})


@pytest.mark.parametrize("value", [object(), {1: 2}, {"a": {1, 2}}, 1j, ...])
def test_types_scripts_do_not_know_cannot_enter(value: Any) -> None:
    with pytest.raises(TypeError):
        IDENTITY.run({"value": value})


def test_depth_and_size_are_bounded_on_the_way_in() -> None:
    nested: Any = []
    for _ in range(200):
        nested = [nested]
    cyclic: list[Any] = []
    cyclic.append(cyclic)
    for value in (nested, cyclic):
        with pytest.raises(rhai.RhaiInputError, match="deeper"):
            IDENTITY.run({"value": value})
    small = rhai.Limits(max_value_nodes=10)
    with pytest.raises(rhai.RhaiInputError, match="more than 10"):
        IDENTITY.run({"value": [0] * 10}, limits=small)
    with pytest.raises(rhai.RhaiInputError, match="more than"):
        IDENTITY.run({"value": rhai.Json(b"[0,0,0,0,0,0,0,0,0,0,0]")}, limits=small)


def test_depth_and_size_are_bounded_on_the_way_out() -> None:
    deep = ENGINE.compile("let a = []; for i in 0..200 { a = [a]; } a")
    wide = ENGINE.compile("let a = []; a.pad(100, 1); a")
    for run in (deep.run, deep.execute):
        with pytest.raises(rhai.RhaiLimitError) as caught:
            run()
        assert caught.value.limit == "value_depth"
    for run in (wide.run, wide.execute):
        with pytest.raises(rhai.RhaiLimitError) as caught:
            run(limits=rhai.Limits(max_value_nodes=50))
        assert caught.value.limit == "value_nodes"


@pytest.mark.parametrize(
    ("source", "kind", "data"),
    [
        ("()", "unit", b""),
        ("", "unit", b""),
        ("1", "json", b"1"),
        ("1.5", "json", b"1.5"),
        ("true", "json", b"true"),
        ("[1, (), 'x']", "json", b'[1,null,"x"]'),
        ('#{b: 1, a: "é\\n"}', "json", '{"a":"é\\n","b":1}'.encode()),
        ('"é"', "text", "é".encode()),
        ("'x'", "text", b"x"),
        ("blob(3, 7)", "blob", b"\x07\x07\x07"),
    ],
)
def test_kinds_of_outcome(source: str, kind: str, data: bytes) -> None:
    outcome = ENGINE.compile(source).execute()
    assert (outcome.kind, outcome.data, outcome.host) == (kind, data, None)


def test_ranges_and_functions_leave_as_objects() -> None:
    assert ENGINE.compile("1..5").run() == rhai.Range(1, 5)
    assert ENGINE.compile("1..=5").run() == rhai.Range(1, 5, inclusive=True)
    assert IDENTITY.run({"value": rhai.Range(2, 3)}) == rhai.Range(2, 3)
    closure = ENGINE.compile("|x| x + 1").run()
    assert isinstance(closure, rhai.Function)
    assert closure.name == "closure"
    with pytest.raises(RuntimeError):
        closure(1)
    assert ENGINE.compile("f.call(1)").run(scope={"f": ENGINE.compile('Fn("to_string")').run()}) == "1"


def test_tuples_and_bytes_enter() -> None:
    assert IDENTITY.run({"value": (1, (2,))}) == [1, [2]]
    assert IDENTITY.run({"value": bytearray(b"ab")}) == b"ab"
    assert IDENTITY.run({"value": memoryview(b"ab")}) == b"ab"
    assert IDENTITY.run({"value": [rhai.Json(b'{"a":1}')]}) == [{"a": 1}]
