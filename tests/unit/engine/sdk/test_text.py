"""json, base64 and url."""

from __future__ import annotations

import base64
import json
import urllib.parse
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.engine.sdk.scripts import failure, run, value


def quoted(text: str) -> str:
    """A literal of Rhai: JSON's, but for how it writes letters beyond the first 65,536."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\x7f")


# json


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ("9223372036854775807", "9223372036854775807"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("1.0", "1.0"),
        ("1e2", "100.0"),
        ('{"b":1,"a":2}', '{"a":2,"b":1}'),
        ('{"a":1,"a":2}', '{"a":2}'),
        ('"\\ud83d\\ude00\\n"', '"😀\\n"'),
        (" [ ] ", "[]"),
    ],
)
def test_a_document_comes_back_as_the_same_values(document: str, expected: str) -> None:
    assert value(f"json::stringify(json::parse({quoted(document)}))") == expected
    assert value(f"json::stringify(json::parse({quoted(document)}.to_blob()))") == expected


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ("9223372036854775808", "JSON: integer beyond 64 bits at byte 0"),
        ("[1e999]", "JSON: number out of range at byte 1"),
        ("{a: 1}", "JSON: expected a key in quotes at byte 1"),
        ("[1,]", "JSON: unexpected character at byte 3"),
        ("", "JSON: unexpected end at byte 0"),
        ("1 2", "JSON: unexpected text after the document at byte 2"),
        ('{"a": log::info("x")}', "JSON: unexpected character at byte 6"),
        ("NaN", "JSON: unexpected character at byte 0"),
    ],
)
def test_what_is_no_json_is_told_with_its_byte(document: str, said: str) -> None:
    source = f"\njson::parse({quoted(document)})"
    found = failure(source)
    assert (found.message, found.line) == (said, 2)
    assert found.column is not None
    assert value(f"try {{ {source}; }} catch (e) {{ return [e.code, e.message]; }}") == ["json_error", said]


def test_bytes_that_are_no_text_are_no_json() -> None:
    found = failure('let bytes = `"ab"`.to_blob(); bytes[2] = 255; json::parse(bytes)')
    assert found.message == "JSON: not UTF-8 at byte 2"


def test_a_document_is_never_executed() -> None:
    result = run("""try { json::parse(`{"a": log::error("run")}`); } catch { } 1""")
    assert (result.failure, result.logs) == (None, None)


def test_a_document_too_deep_is_a_limit_nobody_catches() -> None:
    found = failure('let deep = ""; deep.pad(200, "["); try { json::parse(deep); } catch { 1 }')
    assert (found.code, found.limit) == ("sandbox_limit_exceeded", "value_depth")
    assert found.message == "a value is nested deeper than 128 levels"


@pytest.mark.parametrize("unfit", ["blob(1)", "|x| x", "0.0 / 0.0", "response::empty(204)", "1..2"])
def test_a_value_without_a_json_form_is_told(unfit: str) -> None:
    for function in ("stringify", "pretty"):
        found = failure(f"json::{function}([{unfit}])")
        assert "has no JSON form" in found.message
        assert found.line == 1


def test_pretty_has_a_line_for_each_item() -> None:
    written = value('json::pretty(#{ b: [1, #{}], a: "x" })')
    assert written == json.dumps({"a": "x", "b": [1, {}]}, indent=2)


def test_a_part_of_ctx_is_written_like_any_other_map() -> None:
    assert json.loads(value("json::stringify(ctx)"))["app"] == "shop"


# base64


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=40))
def test_any_bytes_survive_both_alphabets(data: bytes) -> None:
    standard = base64.b64encode(data).decode()
    assert value(f'base64::encode(base64::decode("{standard}"))') == standard
    url_safe = base64.urlsafe_b64encode(data).decode().rstrip("=")
    assert value(f'base64::encode_url(base64::decode("{url_safe}"))') == url_safe


def test_line_ends_and_missing_padding_are_forgiven() -> None:
    assert value('base64::decode("SGVs\\r\\n bG8_Pg")') == b"Hello?>"


def test_text_is_encoded_as_utf_8() -> None:
    assert value('base64::encode("grüß")') == base64.b64encode("grüß".encode()).decode()
    assert value("base64::decode_text('Z' + \"3LDvMOf\")") == "grüß"


# url


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("https://u:p@Example.ORG:8443/a%20b/?q=1&r#top", ["https", "example.org", 8443, "/a%20b/", "q=1&r", "top"]),
        ("HTTP://[2001:DB8::1]/", ["http", "2001:db8::1", None, "/", "", ""]),
        ("/only/path", ["", "", None, "/only/path", "", ""]),
        ("mailto:ada@example.org", ["mailto", "", None, "ada@example.org", "", ""]),
        ("", ["", "", None, "", "", ""]),
    ],
)
def test_an_address_is_taken_apart(address: str, expected: list[Any]) -> None:
    source = f"let u = url::parse({quoted(address)}); [u.scheme, u.host, u.port, u.path, u.query, u.fragment]"
    assert value(source) == expected


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20))
def test_any_text_survives_a_url(text: str) -> None:
    encoded = value(f"url::encode({quoted(text)})")
    assert encoded == urllib.parse.quote(text, safe="")
    assert value(f"url::decode({quoted(encoded)})") == text
    assert value(f"url::parse_query(url::query(#{{ a: {quoted(text)} }})).a") == text


def test_a_query_takes_what_has_one_obvious_text() -> None:
    assert value("url::query(#{ f: 1.5, t: true, i: -1, s: \"\", a: [1, (), 'c'] })") == "a=1&a=c&f=1.5&i=-1&s=&t=true"


def test_a_query_reads_like_that_of_a_request() -> None:
    assert value('url::parse_query("a=1&b=2&b=3&c&d=%20+")') == {"a": "1", "b": ["2", "3"], "c": "", "d": "  "}
