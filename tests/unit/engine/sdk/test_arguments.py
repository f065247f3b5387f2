"""Wrong arguments, for every function alike: told with their place, and the script's to handle."""

from __future__ import annotations

import pytest

from tests.unit.engine.sdk.scripts import failure, value

#: A call that hands over a right type and a wrong value, and a part of what is said.
UNUSABLE = [
    ("response::empty(99)", "a status from 200 to 599 is expected, not 99"),
    ('base64::decode("a*b")', "not Base64: '*' at position 1"),
    ('base64::decode("Ä")', "not Base64: 'Ä' at position 0"),
    ('base64::decode("abcde")', "not Base64: it is cut off"),
    ('base64::decode("ab=c")', "`=` in its middle"),
    ('base64::decode_text("/w==")', "not text in UTF-8: see byte 0"),
    ('hash::digest("crc32", "")', "there is no algorithm `crc32`; there are md5, sha1"),
    ('hmac::digest("", "k", "")', "there is no algorithm ``"),
    ('hmac::verify("k", "d", "s", "SHA256")', "there is no algorithm `SHA256`"),
    ("random::int(2, 1)", "2 is greater than 1"),
    ("random::bytes(-1)", "a number from 0 to 1048576 is expected, not -1"),
    ("random::bytes(9223372036854775807)", "a number from 0 to 1048576 is expected"),
    ("random::token(-5)", "not -5"),
    ("random::choice([])", "nothing to choose from"),
    ('time::parse("yesterday")', "'yesterday' is no date; one looks like 2026-07-01T12:00:00Z"),
    ('time::parse("")', "'' is no date"),
    ('time::parse("2026-02-30T00:00:00Z")', "is no date"),
    ('time::parse("Wed, 99 Foo 2026 10:00:00 GMT")', "is no date"),
    ('time::parse("2026-07-01T12:00:00")', "does not say how far it is from UTC: name a zone"),
    ('time::parse("2026-07-01", "Mars/Olympus")', "there is no zone 'Mars/Olympus'; one looks like Europe/Berlin"),
    ('time::parts(0, "../../etc/passwd")', "there is no zone"),
    ('time::parts(0, "Europe")', "there is no zone"),
    ('time::parts(0, "")', "there is no zone"),
    ('let long = "a"; long.pad(1000, "a"); time::parts(0, long)', "there is no zone 'aaaa"),
    ("time::format(9223372036854775807)", "between the years 1 and 9999"),
    ("time::format(-9223372036854775807)", "between the years 1 and 9999"),
    ('time::format(0, #{ pattern: "%Q" })', "there is no %Q; there are %Y %m"),
    ('time::format(0, #{ pattern: "%999999999d" })', "there is no %9"),
    ('time::format(0, #{ pattern: "100%" })', "there is no %;"),
    ('time::format(0, #{ zon: "UTC" })', "there is no option `zon`; there are pattern, zone"),
    ("time::format(0, #{ zone: 1 })", "the option `zone` must be String"),
    ("time::add(0, #{ days: 1.5 })", "the option `days` must be int"),
    ("time::add(0, #{ days: true })", "the option `days` must be int"),
    ("time::add(0, #{ years: 9000 })", "between the years 1 and 9999"),
    ("time::add(0, #{ years: -9223372036854775807 })", "between the years 1 and 9999"),
    ("time::add(0, #{ seconds: 9223372036854775807 })", "between the years 1 and 9999"),
    ('url::parse("http://[::1")', "not an address"),
    ('url::parse("http://a:99999/")', "not an address: Port out of range"),
    ('url::join("http://[", "a")', "not an address"),
    ('url::decode("100%")', "the % at position 3 has no two hex digits"),
    ('url::decode("%ff")', "not text in UTF-8"),
    ("url::query(#{ a: #{} })", "the value of `a` is no text"),
    ("url::query(#{ a: [[1]] })", "the value of `a` is no text"),
    ('let q = "a"; q.pad(3000, "&a"); url::parse_query(q)', "Max number of fields exceeded"),
]

#: A call with a wrong type, and what is said of it.
MISTYPED = [
    ("response::text(200, 1)", "i64 (expecting string for argument 2 of response::text)"),
    ("response::bytes(200, [1], 'a')", "array (expecting blob for argument 2 of response::bytes)"),
    ("response::empty(200).with_header('a', ())", "() (expecting string for argument 3 of Response.with_header)"),
    ("log::info(#{})", "map (expecting string for argument 1 of log::info)"),
    ('log::info("a", "b")', "string (expecting map or () for argument 2 of log::info)"),
    ("json::parse(1)", "i64 (expecting string or blob for argument 1 of json::parse)"),
    ("json::parse(ctx)", "expecting string or blob for argument 1 of json::parse"),
    ("base64::encode(1)", "i64 (expecting string or blob for argument 1 of base64::encode)"),
    ("base64::decode(blob())", "blob (expecting string for argument 1 of base64::decode)"),
    ("hash::sha256([1])", "array (expecting string or blob for argument 1 of hash::sha256)"),
    ("hmac::sha256((), 'a')", "() (expecting string or blob for argument 1 of hmac::sha256)"),
    ("random::int(1, 2.0)", "f64 (expecting i64 for argument 2 of random::int)"),
    ("random::choice(#{})", "map (expecting array for argument 1 of random::choice)"),
    ("time::format('0')", "char (expecting i64 for argument 1 of time::format)"),
    ('time::format(0, "UTC")', "string (expecting map or () for argument 2 of time::format)"),
    ("time::add(0, 1)", "i64 (expecting map for argument 2 of time::add)"),
    ("url::query([])", "array (expecting map for argument 1 of url::query)"),
]


#: A hundred items, the rest as it is.
SMALL = {"max_array_length": 100, "max_map_length": 100}


@pytest.mark.parametrize(("call", "said"), UNUSABLE)
def test_a_value_that_cannot_be_used_is_told_with_its_place(call: str, said: str) -> None:
    found = failure(f"let a = 1;\nfn f() {{ {call} }}\nf()")
    assert said in found.message
    assert (found.code, found.line, found.function) == ("script_failed", 2, "f")
    assert found.column is not None


@pytest.mark.parametrize("call", [call for call, _ in UNUSABLE if ";" not in call])
def test_a_script_may_catch_it(call: str) -> None:
    code, message = value(f"try {{ {call}; }} catch (e) {{ return [e.code, e.message]; }}")
    assert code == "invalid_input"
    assert message


@pytest.mark.parametrize(("call", "said"), MISTYPED)
def test_a_wrong_type_is_told_with_its_place(call: str, said: str) -> None:
    found = failure(f"\n  {call}")
    assert f"Data type incorrect: {said}" in found.message or said in found.message
    assert (found.code, found.line) == ("script_failed", 2)
    assert found.column is not None
    assert said in value(f"try {{ {call}; }} catch (e) {{ return e.message; }}")


@pytest.mark.parametrize(
    "call", ["base64::encode()", "hash::sha256()", "time::now(1)", "uuid::v4(1)", "hmac::sha1('a')"]
)
def test_a_wrong_number_of_arguments_is_no_function_that_is_there(call: str) -> None:
    found = failure(call)
    assert f"Function not found: {call.partition('(')[0]}" in found.message
    assert found.line == 1


@pytest.mark.parametrize(
    ("source", "limit"),
    [
        ("base64::encode(text)", "string_bytes"),
        ("base64::decode(letters)", "array_length"),
        ("url::encode(text)", "string_bytes"),
        ("url::query(#{ a: text })", "string_bytes"),
        ("json::stringify([text, text])", "string_bytes"),
        ("json::pretty([[[[[[[[[[[[[[text]]]]]]]]]]]]]])", "string_bytes"),
        ('json::parse("[" + numbers + "1]")', "array_length"),
        ("random::token(1001)", "string_bytes"),
        ("random::bytes(101)", "array_length"),
        ("time::format(0, #{ pattern: weekdays })", "string_bytes"),
        ("url::parse_query(query)", "map_length"),
    ],
)
def test_what_a_function_returns_stays_within_the_limits_too(source: str, limit: str) -> None:
    prelude = """
        let text = ""; text.pad(390, 'ü');
        let numbers = ""; numbers.pad(300, "1,");
        let letters = ""; letters.pad(200, 'a');
        let weekdays = ""; weekdays.pad(300, "%A");
        let query = ""; for i in 0..120 { query += `k${i}&`; }
    """
    for attempt in (source, f"try {{ {source}; }} catch {{ 1 }}"):
        found = failure(prelude + attempt, max_string_bytes=800 if "encode(text)" in source else 1_000, **SMALL)
        assert (found.code, found.limit) == ("sandbox_limit_exceeded", limit)
        assert found.line is not None
