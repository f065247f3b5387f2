"""Requests made to hurt: whatever comes is answered, and nothing of it is PiCloud's own fault (500)."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from picloud.broker import Reply
from picloud_web.api.openapi import document
from tests.integration.api.conftest import Api
from tests.seeding import Seeds

pytestmark = pytest.mark.integration

_REQUESTS = 600
_TEXTS = (
    "", "0", "-1", "99999999999999999999", "a" * 5000, "\0", "☃", "null", "1e400", "2026-01-01T00:00:00Z",
    "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59.999999-14:00", "019a1b2c-3d4e-7f50-8a6b-7c8d9e0f1a2b",
    "'; drop table apps;--", "..", "a/b", "*", ":x", "shop", "orders", "GET", "2147483648", "1.5",
)  # fmt: skip
_ANYTHING: tuple[Any, ...] = (*_TEXTS, None, 1, -1, 2**31, 2**64, 1.5, True, [], {}, [[[]]], {"a": {}})


class _Fuzz:
    """Makes requests that are nearly what the description asks for; the same seed makes the same ones."""

    def __init__(self, seed: int, ids: list[str]) -> None:
        self._random = random.Random(seed)
        self._ids = ids
        self._described = document()

    def requests(self, count: int) -> Iterator[tuple[str, str, str, Any]]:
        operations = [
            (path, *each)
            for path, methods in self._described["paths"].items()
            for each in methods.items()
            if "text/event-stream" not in json.dumps(each)  # goes on until its execution ends, which nothing here does
        ]
        for _ in range(count):
            path, method, operation = self._random.choice(operations)
            body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
            yield (
                method.upper(),
                self._path(path, operation),
                "&".join(self._query(operation)),
                None if body is None else self._value(body),
            )

    def _path(self, path: str, operation: dict[str, Any]) -> str:
        for parameter in operation["parameters"]:
            if parameter["in"] == "path":
                usual = {"app": "shop", "name": "orders", "version": "1", "domain": "shop.example.org"}
                is_uuid = parameter["schema"].get("format") == "uuid"
                value = self._random.choice(self._ids) if is_uuid else usual.get(parameter["name"], "1")
                if self._chance(0.15):
                    value = self._random.choice(_TEXTS) or "x"
                path = path.replace(f"{{{parameter['name']}}}", quote(value, safe=""))
        return path

    def _query(self, operation: dict[str, Any]) -> Iterator[str]:
        for parameter in operation["parameters"]:
            if parameter["in"] == "query" and parameter["name"] != "wait" and self._chance(0.4):
                yield f"{parameter['name']}={quote(str(self._value(parameter['schema'])), safe='')}"

    def _value(self, schema: dict[str, Any]) -> Any:
        if self._chance(0.15):
            return self._random.choice(_ANYTHING)
        if "$ref" in schema:
            return self._value(self._described["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
        if "anyOf" in schema:
            return self._value(self._random.choice(schema["anyOf"]))
        if "enum" in schema:
            return self._random.choice(schema["enum"])
        match schema.get("type"):
            case "object":
                return {
                    name: self._value(each)
                    for name, each in schema.get("properties", {}).items()
                    if name in schema.get("required", ()) or self._chance(0.6)
                } or {self._random.choice(_TEXTS): self._random.choice(_ANYTHING)}
            case "array":
                return [self._value(schema.get("items", {})) for _ in range(self._random.randint(0, 3))]
            case "integer" | "number":
                return self._random.choice((0, 1, -1, 5, 1.5, 2**31, 2**63, 10**30))
            case "boolean":
                return self._chance(0.5)
            case _:
                return self._random.choice(_TEXTS)

    def _chance(self, probability: float) -> bool:
        return self._random.random() < probability


@pytest.mark.parametrize("seed", range(2))
def test_no_request_is_answered_as_an_internal_error(api: Api, seeds: Seeds, seed: int) -> None:
    app = seeds.app()
    script = seeds.script(app)
    ids = [seeds.dead(app, script), seeds.waiting(app, script), seeds.ended(app, script), seeds.worker()]
    headers = {"Authorization": f"Bearer {api.key}"}
    # What a worker says of dry runs too; of those it has more to tell when they succeed.
    api.dispatcher.answer = lambda arrival: Reply(
        arrival.id, "failed", error={"code": "script_failed", "message": "it threw"}
    )
    answered: set[int] = set()
    for method, path, query, body in _Fuzz(seed, [str(each) for each in ids]).requests(_REQUESTS):
        sent = None if body is None else json.dumps(body)
        result = api.run(api.conductor.simulate_request(method, path, query_string=query, body=sent, headers=headers))
        assert result.status_code != 500, f"{method} {path}?{query} {sent}"
        answered.add(result.status_code)
        # The key and the app may have fallen victim to a request that meant them.
        seeds.connection.execute("update api_keys set revoked_at = null where revoked_at is not null")
        seeds.connection.execute(
            "insert into apps (name, created_by) values ('shop', %s) on conflict do nothing", (seeds.admin_id,)
        )
    assert {200, 400, 404} <= answered
