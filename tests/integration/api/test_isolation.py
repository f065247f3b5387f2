"""Below the path of one app, nothing of another app is read or changed, whatever is named."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote
from uuid import UUID

import falcon.testing
import pytest

from picloud_web.api import all_endpoints
from picloud_web.api.endpoints import Endpoint
from tests.belongings import belongings
from tests.integration.api.conftest import Api
from tests.seeded_triggers import create_kv_trigger
from tests.seeding import Seeds

pytestmark = pytest.mark.integration

WORD = "canary-7f3a"


@dataclass
class Theirs:
    """What another app has, each of it holding one word."""

    app_id: int
    script_id: int
    route_id: int
    trigger_id: int
    #: By endpoint: an execution, a row of the outbox and a dead letter have ids of one kind.
    ended: UUID
    waiting: UUID
    dead: UUID

    def ids(self) -> list[str]:
        return [str(each) for each in (self.ended, self.waiting, self.dead)]


@pytest.fixture
def theirs(api: Api, seeds: Seeds) -> Theirs:
    mine = seeds.app("mine")
    seeds.script(mine, "own")
    app_id = seeds.app("theirs")
    script_id = seeds.script(app_id, "library", f'"{WORD}"')
    made = Theirs(
        app_id,
        script_id,
        seeds.route(app_id, script_id),
        create_kv_trigger(seeds, app_id, script_id, name="watch"),
        seeds.ended(app_id, script_id, result=("text", WORD.encode()), logs=f'[{{"message":"{WORD}"}}]'.encode()),
        seeds.waiting(app_id, script_id, event=f'{{"args":"{WORD}"}}'.encode(), due_in_seconds=600),
        seeds.dead(app_id, script_id, event=f'{{"path":"/{WORD}"}}'.encode()),
    )
    seeds.connection.execute("insert into queues (app_id, name) values (%s, 'jobs')", (app_id,))
    api.call("PUT", "/apps/theirs/kv/vault/k", WORD, expect=201)
    api.call("PUT", "/apps/theirs/secrets/TOKEN", {"value": WORD}, expect=201)
    api.post("/apps/theirs/domains", {"domain": "theirs.example.org"}, expect=201)
    return made


def raw(api: Api, method: str, path: str, body: object) -> falcon.testing.Result:
    """Ask without judging the answer: many of these are refused."""
    headers = {"Authorization": f"Bearer {api.key}"}
    result: falcon.testing.Result = api.run(
        api.conductor.simulate_request(method, f"/api/v1{path}", json=body, headers=headers)
    )
    return result


def _values(theirs: Theirs) -> dict[str, list[str]]:
    """What a placeholder of a path could be made to name."""
    names = ["library", "jobs", "watch", "TOKEN", "vault", "theirs.example.org"]
    tricks = [f"../{name}" for name in names] + [f"../../theirs/{name}" for name in names]
    tricks += [f"theirs/{name}" for name in names] + [f"theirs:{name}" for name in names] + ["..", "%", "*", "theirs"]
    names = [quote(name, safe="") for name in [*names, *tricks, str(theirs.script_id), str(theirs.trigger_id)]]
    names += ["../../theirs/scripts/library", "%2e%2e/%2e%2e/theirs/scripts/library", "..%2f..%2ftheirs%2fkv%2fvault"]
    return {
        "uuid": theirs.ids(),
        "int": [str(theirs.route_id), str(theirs.script_id), str(theirs.trigger_id), "1"],
        "path": names,
        "segment": names,
        "": names,
    }


def _paths(path: str, placeholders: list[tuple[str, str | None]], values: dict[str, list[str]]) -> set[str]:
    """The path with each of its placeholders in turn made to name everything, and the others what is there."""
    found: set[str] = set()
    for chosen, kind in placeholders:
        for value in values[kind or ""]:
            filled = path
            for name, other in placeholders:
                text = value if name == chosen else _PLAIN.get(name, values[other or ""][0])
                filled = re.sub(rf"\{{{name}(:\w+)?\}}", lambda _, text=text: text, filled)  # type: ignore[misc]
            found.add(filled)
    return found or {path}


_PLAIN = {"collection": "vault", "key": "k"}


def _bodies(endpoint: Endpoint, theirs: Theirs) -> list[Any]:
    """What could be sent there with an effect."""
    if endpoint.body is None:
        return [None]
    watch = {"op": "insert", "collection": "vault", "key": "k", "value": 1}
    by_tag: dict[str, list[Any]] = {
        "scripts": [{"source": "1"}, {"args": 1}],
        "triggers": [{"enabled": False}, {"kind": "kv", "collection": "*", "script": "library"}],
        "routes": [{"method": "GET", "path": "/x", "script": "library"}],
        "dead letters": [{}, {"event": {"planted": True}}, {"reason": "planted"}],
        "secrets": [{"value": "planted"}],
        "apps": [{"domain": "theirs.example.org"}],
        "emit": [
            {"source": "dead_letter", "event": {"dead_letter_id": str(theirs.dead)}},
            {"source": "kv", "trigger": "watch", "event": watch},
        ],
    }
    return by_tag.get(endpoint.tag, [{}])


def test_no_identifier_leads_into_another_app(api: Api, seeds: Seeds, theirs: Theirs) -> None:
    before = belongings(seeds.connection, theirs.app_id)
    values = _values(theirs)
    asked = 0
    for endpoint in all_endpoints():
        # The app itself is removed and paused by its name alone: there is nothing to mistake
        if not endpoint.path.startswith("/apps/{app}/"):
            continue
        for path in _paths(endpoint.path.replace("{app}", "mine"), endpoint.placeholders[1:], values):
            for body in _bodies(endpoint, theirs):
                answer = raw(api, endpoint.method, path, body)
                asked += 1
                assert WORD not in answer.text, f"{endpoint.method} {path}: {answer.text}"
                assert answer.status_code < 500, f"{endpoint.method} {path}: {answer.text}"
    assert asked > 500
    assert belongings(seeds.connection, theirs.app_id) == before
    assert [arrival.app_id for arrival in api.dispatcher.accepted if arrival.app_id == theirs.app_id] == []


def test_the_same_paths_of_the_app_itself_show_what_it_has(api: Api, theirs: Theirs) -> None:
    # Without this the test above could not fail
    for path in (
        f"/executions/{theirs.ended}",
        f"/executions/{theirs.ended}/logs",
        f"/outbox/{theirs.waiting}",
        f"/dead-letters/{theirs.dead}",
        "/scripts/library",
        "/kv/vault/k",
    ):
        assert WORD in raw(api, "GET", f"/apps/theirs{path}", None).text, path


@pytest.mark.parametrize("kind", ["executions", "outbox", "dead-letters", "logs"])
def test_a_list_of_one_app_cannot_be_asked_about_another(api: Api, theirs: Theirs, kind: str) -> None:
    assert api.get(f"/apps/mine/{kind}")["items"] == []
    if kind != "logs":
        assert api.get(f"/apps/mine/{kind}?app=theirs", expect=400)["code"] == "invalid_input"
        for wish in ("script=library", f"trigger={theirs.trigger_id}", "trigger=watch", f"trigger={theirs.route_id}"):
            assert api.get(f"/apps/mine/{kind}?{wish}")["items"] == []
        assert api.get(f"/apps/mine/{kind}?after={theirs.ended}")["items"] == []


def test_a_chain_through_two_apps_shows_each_only_its_own_part(api: Api, seeds: Seeds, theirs: Theirs) -> None:
    # As when a script of one calls a route of the other, through another server
    mine = seeds.ended(api.get("/apps/mine")["id"], theirs.script_id, root=theirs.ended, depth=1)
    assert [each["id"] for each in api.get(f"/apps/mine/executions/{mine}/tree")["items"]] == [str(mine)]
    whole = {each["id"] for each in api.get(f"/executions/{mine}/tree")["items"]}
    assert whole == {str(mine), str(theirs.ended)}
