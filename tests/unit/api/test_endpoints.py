"""What an endpoint is made of, and that the description of the API is complete."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

import pytest

from picloud.errors import InvalidInputError
from picloud_web.api import all_endpoints
from picloud_web.api.executions import ExecutionFilters
from picloud_web.api.inputs import Paging, decode_body, read_headers, read_query
from picloud_web.api.keys import NewKey
from picloud_web.api.kv import Conditions
from picloud_web.api.openapi import document
from picloud_web.api.scripts import NewVersion


def _references(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return own.union(*(_references(each) for each in value.values())) if value else own
    return set().union(*(_references(each) for each in value)) if isinstance(value, list) else set()


def test_the_description_is_json_and_every_reference_in_it_leads_somewhere() -> None:
    described = json.loads(json.dumps(document()))
    assert described["openapi"] == "3.1.0"
    for reference in _references(described):
        name = reference.removeprefix("#/components/schemas/")
        assert name in described["components"]["schemas"], reference


def test_operations_have_unique_names_a_summary_and_their_placeholders_as_parameters() -> None:
    names: list[str] = []
    for path, methods in document()["paths"].items():
        for operation in methods.values():
            names.append(operation["operationId"])
            assert operation["summary"].endswith("."), operation["operationId"]
            declared = {each["name"] for each in operation["parameters"] if each["in"] == "path"}
            assert declared == set(re.findall(r"\{(\w+)\}", path)), path
    assert len(names) == len(set(names)) == len(all_endpoints())


def test_headers_that_mean_something_are_described() -> None:
    entry = document()["paths"]["/api/v1/apps/{app}/kv/{collection}/{key}"]
    named = {
        method: [each["name"] for each in operation["parameters"] if each["in"] == "header"]
        for method, operation in entry.items()
    }
    conditions = ["If-Match", "If-None-Match", "X-Request-Id", "X-Audit-Reason"]
    assert named == {"get": ["X-Request-Id", "If-None-Match"], "put": conditions, "delete": conditions}
    assert not any(each.get("required") for each in entry["put"]["parameters"] if each["in"] == "header")


def test_only_the_headers_an_endpoint_knows_are_read() -> None:
    sent = {"if-match": '"7"', "cookie": "x", "authorization": "y"}
    assert read_headers(sent, Conditions) == Conditions(if_match='"7"')
    assert read_headers({}, Conditions) == Conditions()
    with pytest.raises(InvalidInputError, match="If-Match"):
        read_headers({"if-match": "x" * 5_000}, Conditions)


def test_every_schema_says_what_it_is_for() -> None:
    undocumented = [
        name
        for name, schema in document()["components"]["schemas"].items()
        if schema.get("type") == "object" and "description" not in schema
    ]
    assert undocumented == []


def test_every_endpoint_that_reads_a_body_bounds_it() -> None:
    for endpoint in all_endpoints():
        assert (endpoint.body is not None) <= (endpoint.max_body_bytes > 0), endpoint.path
        assert endpoint.max_body_bytes <= 8 * 1024 * 1024


@pytest.mark.parametrize(
    ("parameters", "detail"),
    [
        ({"limit": "ten"}, "limit: expected `int`, got `str`"),
        ({"limit": "1001"}, "limit: expected `int` <= 1000"),
        ({"limit": ["1", "2"]}, "limit: expected `int`, got `array`"),
        ({"status": "null"}, "status: expected a value, got null; leave it out"),
        ({"status": "done"}, "status: invalid enum value 'done'"),
        ({"since": "2026-01-01T00:00:00"}, "since: expected `datetime` with a timezone component"),
        ({"since": "0001-01-01T00:00:00Z"}, "the query: since: the year 1 is too far away"),
        ({"statsu": "dead"}, "the query: object contains unknown field `statsu`"),
    ],
)
def test_a_wrong_parameter_is_named_with_what_was_expected(parameters: dict[str, Any], detail: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        read_query(parameters, ExecutionFilters)
    assert refused.value.message == detail


def test_parameters_that_are_left_out_have_their_defaults() -> None:
    assert read_query({}, Paging) == Paging(limit=50, after=None)


@pytest.mark.parametrize(
    ("body", "into", "detail"),
    [
        (b"{", NewKey, "the body is not JSON: Input data was truncated"),
        (b"\xff", NewKey, "the body is not JSON: JSON is malformed: invalid character (byte 0)"),
        (b"[" * 100_000, NewKey, "the body: expected `object`, got `array`"),
        (b"{}", NewKey, "the body: object missing required field `name`"),
        (b'{"name": ""}', NewKey, "name: expected `str` of length >= 1"),
        (b'{"source": "", "limits": {"max_operations": 0}}', NewVersion, "limits.max_operations: expected `int` >= 1"),
        (b'{"source": "", "limits": {"x": 0}}', NewVersion, "limits: object contains unknown field `x`"),
    ],
)
def test_a_wrong_body_is_refused_with_the_place(body: bytes, into: type, detail: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        decode_body(body, into)
    assert refused.value.message == detail


def test_a_body_nested_too_deeply_is_refused() -> None:
    from picloud_web.api.scripts import Invocation

    with pytest.raises(InvalidInputError, match="not JSON"):
        decode_body(b'{"args": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", Invocation)


def test_a_web_process_starts_without_the_library_that_scripts_call_others_with() -> None:
    # It is loaded when an admin changes what an app may call; until then it would only take memory
    program = (
        "import sys, picloud_web.composition, picloud_web.app; from picloud_web.api import all_endpoints;"
        " assert all_endpoints(); sys.exit('httpx2' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
