"""Who may see one app sees nothing of another: not in lists, not by an id, not by how a refusal is worded."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass

import falcon.testing
import pytest

from picloud.access import AppRole, InstanceRole
from picloud.identity.keys import hash_of
from picloud_web.api import PREFIX, all_endpoints
from picloud_web.api.endpoints import Endpoint
from tests.belongings import belongings
from tests.integration.api.conftest import Api
from tests.seeding import Seeds

pytestmark = pytest.mark.integration

#: In everything that another app has.
WORD = "canary-7f3a"
_NOBODY_S = "019a1b2c-3d4e-7f50-8a6b-7c8d9e0f1a2b"
_NOBODY_S_NUMBER = 800_001

_LISTS = (
    "/apps",
    "/keys",
    "/executions",
    "/abandoned-executions",
    "/logs",
    "/outbox",
    "/dead-letters",
    "/dead-letters/groups",
    "/queues",
)


@dataclass
class Apps:
    """Two apps that have the same, and what may see the first of them.

    Attributes:
        keys: of a member who is its admin, and of an owner, for that app alone.
        ids: of what the second app has: executions, rows and dead letters have ids of one kind.
        numbers: ids of things of the second app and of its people.
    """

    seeds: Seeds
    mine: int
    theirs: int
    keys: dict[str, str]
    ids: list[str]
    numbers: list[int]


@pytest.fixture
def apps(seeds: Seeds) -> Apps:
    for table, first in (("api_keys", 700_001), ("sessions", 710_001), ("routes", 720_001)):  # found again in any text
        seeds.connection.execute(f"alter table {table} alter column id restart with {first}".encode())
    made = {name: seeds.app(name) for name in ("mine", "theirs")}
    ids: dict[str, list[str]] = {name: list(_furnish(seeds, name, app_id)) for name, app_id in made.items()}
    seeds.member("their-admin", {made["theirs"]: AppRole.ADMIN}, app_id=made["theirs"])
    seeds.connection.execute(
        "insert into sessions (principal_id, token_hash, user_agent, expires_at)"
        " values (%s, %s, %s, now() + interval '1 day')",
        (seeds.admin_id, hash_of("token"), WORD),
    )
    numbers = [
        row[0]
        for row in seeds.connection.execute(
            "select id from api_keys where id > 700000 union all select id from sessions"
            " union all select id from routes where app_id = %s",
            (made["theirs"],),
        )
    ]
    keys = {
        "a member": seeds.member("mia", {made["mine"]: AppRole.ADMIN}),
        "an owner's key for one app": seeds.member("olga", role=InstanceRole.OWNER, app_id=made["mine"]),
    }
    return Apps(seeds, made["mine"], made["theirs"], keys, ids["theirs"], numbers)


def _furnish(seeds: Seeds, name: str, app_id: int) -> Iterator[str]:
    """Give an app one of everything; yields the ids."""
    word = WORD if name == "theirs" else "my-own"
    script_id = seeds.script(app_id, f"{word}-script", f'"{word}"')
    seeds.route(app_id, script_id)
    ended = seeds.ended(app_id, script_id, result=("text", word.encode()), logs=f'[{{"message":"{word}"}}]'.encode())
    yield str(ended)
    yield str(seeds.waiting(app_id, script_id, event=f'{{"args":"{word}"}}'.encode(), due_in_seconds=600))
    yield str(seeds.dead(app_id, script_id, event=f'{{"path":"/{word}"}}'.encode()))
    abandoned = seeds.ended(app_id, script_id)
    seeds.connection.execute(
        "insert into abandoned_executions (execution_id, app_id, script_id, reason) values (%s, %s, %s, 'client_gone')",
        (abandoned, app_id, script_id),
    )
    yield str(abandoned)


def _ask(api: Api, key: str, method: str, path: str, body: object = None) -> falcon.testing.Result:
    """Ask without judging the answer: most of these are refused."""
    headers = {"Authorization": f"Bearer {key}", "Last-Event-ID": "1.1.1.completed", "X-Request-Id": "r"}
    path, _, query = path.partition("?")
    result: falcon.testing.Result = api.run(
        api.conductor.simulate_request(method, PREFIX + path, query_string=query, json=body, headers=headers)
    )
    return result


def _body(endpoint: Endpoint) -> object:
    if endpoint.body is None:
        return None
    return {"event": {"path": "/planted"}} if endpoint.operation == "edit_dead_letter" else {}


def test_the_lists_of_all_apps_are_all_here() -> None:
    of_instance = {"/openapi.json", "/me", "/users", "/audit", "/docs"}
    of_instance |= {"/logs/events", "/me/sessions"}  # a stream; and what is of no app
    lists = {each.path for each in all_endpoints() if each.method == "GET" and "{" not in each.path}
    assert {each for each in lists if not each.startswith("/system")} - of_instance == set(_LISTS)


def test_a_list_of_all_apps_shows_what_the_caller_may_see(api: Api, apps: Apps) -> None:
    traces = (WORD, "theirs", "their-admin", *apps.ids)
    for path, (who, key) in itertools.product(_LISTS, apps.keys.items()):
        answer = _ask(api, key, "GET", path)
        assert answer.status_code == 200, answer.text
        assert not [each for each in traces if each in answer.text], f"{who} at {path}: {answer.text}"
        assert answer.json.get("items") or answer.json.get("apps"), f"{who} does not see their own at {path}"
        whole = api.request("GET", path).text
        assert [each for each in traces if each in whole], f"{path}: without this the test could not fail"


def test_a_list_of_another_app_is_refused_as_if_there_were_none(api: Api, apps: Apps) -> None:
    paths = ("/executions", "/outbox", "/dead-letters", "/dead-letters/groups", "/queues")
    for path, key in itertools.product(paths, apps.keys.values()):
        theirs, nobody_s = (_ask(api, key, "GET", f"{path}?app={name}") for name in ("theirs", "nowhere"))
        assert theirs.status_code == 404
        assert theirs.text.replace("theirs", "nowhere") == nobody_s.text


def test_what_is_another_apps_is_answered_as_what_does_not_exist(api: Api, apps: Apps) -> None:
    before = belongings(apps.seeds.connection, apps.theirs)
    keys = apps.seeds.count("api_keys", "revoked_at is null"), apps.seeds.count("sessions")
    asked = 0
    for endpoint in all_endpoints():
        kind = re.search(r"\{id(:\w+)\}", endpoint.path)
        if kind is None:
            continue
        ids = [(each, _NOBODY_S) for each in apps.ids]
        if kind[1] == ":int":
            ids = [(str(each), str(_NOBODY_S_NUMBER)) for each in apps.numbers]
        for who, key in apps.keys.items():
            for one, other in ids:
                asked += 1
                place = endpoint.path.replace("{app}", "mine").replace(kind[0], "{}")
                told = _ask(api, key, endpoint.method, place.format(one), _body(endpoint))
                nothing = _ask(api, key, endpoint.method, place.format(other), _body(endpoint))
                assert told.status_code in {403, 404}, f"{who}: {endpoint.method} {place}: {told.text}"
                assert (told.status, told.text.replace(one, other)) == (nothing.status, nothing.text), place
    assert asked > 200
    assert belongings(apps.seeds.connection, apps.theirs) == before
    assert (apps.seeds.count("api_keys", "revoked_at is null"), apps.seeds.count("sessions")) == keys


def test_another_app_is_answered_as_one_that_does_not_exist(api: Api, apps: Apps) -> None:
    before = belongings(apps.seeds.connection, apps.theirs)
    for endpoint in all_endpoints():
        if not endpoint.path.startswith("/apps/{app}"):
            continue
        values = {"app": "{app}", "id": apps.ids[0] if ":uuid" in endpoint.path else "720002"}
        place = re.sub(r"\{(\w+)(:\w+)?\}", lambda name: values.get(name[1], f"{WORD}-script"), endpoint.path)  # noqa: B023
        for who, key in apps.keys.items():
            told, nothing = (
                _ask(api, key, endpoint.method, place.format(app=name), _body(endpoint))
                for name in ("theirs", "nowhere")
            )
            assert told.status_code in {403, 404}, f"{who}: {endpoint.method} {place}: {told.text}"
            assert told.text.replace("theirs", "nowhere") == nothing.text, f"{who}: {endpoint.method} {place}"
    assert belongings(apps.seeds.connection, apps.theirs) == before


@pytest.mark.parametrize("action", ["replay", "ignore"])
def test_what_is_done_to_all_dead_letters_is_done_to_those_the_caller_may_see(
    api: Api, apps: Apps, action: str
) -> None:
    viewer = apps.seeds.member("victor", {apps.theirs: AppRole.VIEWER})
    before = belongings(apps.seeds.connection, apps.theirs)
    answer = _ask(api, apps.keys["a member"], "POST", f"/dead-letters/{action}", {})
    assert (answer.status_code, answer.json["matched"]) == (200, 1)
    assert belongings(apps.seeds.connection, apps.theirs) == before
    assert _ask(api, viewer, "POST", f"/dead-letters/{action}", {}).json["matched"] == 0, "a viewer looks"
    assert belongings(apps.seeds.connection, apps.theirs) == before
